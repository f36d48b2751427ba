"""Manifests, and short ways to parse one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from apostille.resources.parse import ParsedFile, parse_file

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def seed() -> dict[str, str]:
    """The worked example's files, by name."""
    return {path.name: path.read_text(encoding="utf-8") for path in sorted((DATA / "seed").glob("*.yaml"))}


@pytest.fixture(scope="session")
def parse() -> Callable[[str], ParsedFile]:
    def parse_text(text: str) -> ParsedFile:
        return parse_file("file.yaml", text, 0)

    return parse_text
