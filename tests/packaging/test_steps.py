"""Every built-in step comes with its tests and its page."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path
from typing import Any

import pytest

from apostille import steps
from apostille.sdk import StepKind
from apostille.steps import STEPS

ROOT = Path(__file__).resolve().parents[2]
NAMES = [kind.name for kind in STEPS]
MODULES = {
    found.name: importlib.import_module(f"apostille.steps.{found.name}")
    for found in pkgutil.iter_modules(steps.__path__)
}


def kebab(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()


def test_no_two_steps_share_a_name_or_a_config() -> None:
    assert NAMES
    assert len(set(NAMES)) == len(NAMES)
    assert len({kind.config for kind in STEPS}) == len(STEPS)


def test_every_kind_that_is_written_is_listed() -> None:
    written = [value for module in MODULES.values() for value in vars(module).values() if isinstance(value, StepKind)]
    assert sorted(kind.name for kind in written) == sorted(NAMES)


@pytest.mark.parametrize("kind", STEPS, ids=NAMES)
def test_the_step_has_unit_tests(kind: StepKind[Any, Any]) -> None:
    (module,) = (name for name, module in MODULES.items() if kind in vars(module).values())
    tests = ROOT / "tests" / "unit" / "steps" / f"test_{module}.py"
    assert tests.is_file(), f"{kind.name} needs {tests.relative_to(ROOT)}"
    assert "def test_" in tests.read_text()


@pytest.mark.parametrize("name", NAMES)
def test_the_step_has_a_page_with_an_example(name: str) -> None:
    page = ROOT / "docs" / "tasks" / f"step-{kebab(name)}.md"
    assert page.is_file(), f"{name} needs {page.relative_to(ROOT)}"
    assert f"{name}:" in page.read_text(), f"{page.relative_to(ROOT)} shows no example of {name}"
