"""Names and sizes of files, and what must not be written in them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FORBIDDEN = {"common", "helper", "helpers", "legacy", "manager", "misc", "new", "old", "types", "util", "utils"}
# What the field itself calls these things.
PROPER = {"sigv4", "sigv4a", "aws_sigv4"}
MAX_LINES = 500
# Put together here, so that this file does not name them either.
MACHINE = re.compile(
    r"(?<![\w.-])/(?:work|root|home/\w+)/"
    r"|\.py"
    r"env\b|\.libr"
    r"ary\b|\.\./shar"
    r"ed/|/tmp/(?:bash|house)"
)


def committed() -> list[Path]:
    """What is in git or would be with the next commit; in a tree without git, what is no product of a tool."""
    listing = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode == 0:
        found = [ROOT / name for name in listing.stdout.split("\0") if name]
    else:
        found = [
            path
            for path in ROOT.rglob("*")
            if not {".venv", ".stubs", "__pycache__"} & set(path.relative_to(ROOT).parts) and path.is_file()
        ]
    return sorted(path for path in found if path.is_file())


def modules() -> list[Path]:
    return [path for path in committed() if path.suffix == ".py"]


def forbidden_name(stem: str) -> bool:
    return stem not in PROPER and (stem in FORBIDDEN or re.fullmatch(r"v\d+|.*[a-z_]\d", stem) is not None)


def test_modules_and_packages_are_nouns_of_the_domain() -> None:
    source = ROOT / "src" / "apostille"
    named = [path.relative_to(source) for path in modules() if path.is_relative_to(source)]
    assert named
    assert [str(path) for path in named if any(forbidden_name(part) for part in path.with_suffix("").parts)] == []


@pytest.mark.parametrize("stem", ["utils", "v2", "listeners2", "types"])
def test_padding_and_history_are_no_names(stem: str) -> None:
    assert forbidden_name(stem)


def test_no_module_is_longer_than_a_sitting() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in modules()}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES} == {}


def test_every_module_of_ours_says_what_it_is() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in modules()
        if path.is_relative_to(ROOT / "src") and not path.read_text().startswith(('"""', 'r"""'))
    ]
    assert silent == []


def test_no_file_names_a_machine() -> None:
    named = []
    for path in committed():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            if MACHINE.search(line):
                named.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert named == []


@pytest.mark.parametrize(("text", "found"), [("see /" + "work/a.md", True), ("docs/root/api.rst", False)])
def test_only_paths_from_the_root_are_a_machine(text: str, found: bool) -> None:
    assert bool(MACHINE.search(text)) is found
