"""Links lead somewhere, generated parts are up to date, and nothing in a page is an example that nobody runs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, anchors_of, blocks_of, links_of, name_of, prose_of

OURS = {"tasks", "reference", "explain"}
GENERATOR = ROOT / "tools" / "docs.py"


def generate(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(GENERATOR), *arguments], capture_output=True, text=True, check=False, cwd=ROOT
    )


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_of_ours_leads_somewhere(page: Path) -> None:
    dead = []
    for link in links_of(page):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            dead.append(link)
    assert dead == []


def test_links_are_seen_and_headings_are_anchors() -> None:
    page = ROOT / "docs" / "tasks" / "step-api-key-auth.md"
    assert "../reference/resources.md#apikeyauth" in links_of(page)
    assert "when-it-is-wrong" in anchors_of(page)
    assert "apostille-run" in anchors_of(ROOT / "docs" / "reference" / "cli.md")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_fence_is_closed_and_of_a_known_kind(page: Path) -> None:
    fences = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("```")]
    assert len(fences) == 2 * len(blocks_of(page))
    known = {"", "yaml", "yaml wrong", "python", "console", "text", "json", "mermaid"}
    assert {block.kind for block in blocks_of(page)} <= known


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent.name in OURS], ids=name_of)
def test_there_is_one_sentence_on_a_line(page: Path) -> None:
    prose = re.sub(r"<!-- generated.*?<!-- end -->", "", prose_of(page), flags=re.DOTALL)
    crowded = [line for line in prose.splitlines() if re.search(r"^(?![|\-\d ]).*\w[.:?]? ?[.?] [A-Z]", line)]
    assert crowded == []


def test_generated_parts_are_what_the_code_says() -> None:
    done = generate("--check")
    assert done.returncode == 0, done.stderr


def test_a_generated_part_that_was_edited_is_found_and_mended(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    page = tmp_path / "docs" / "reference" / "metrics.md"
    good = page.read_text(encoding="utf-8")
    page.write_text(good.replace("| `apostille_up`", "| `apostille_down`"), encoding="utf-8")
    found = generate("--check", "--docs", str(tmp_path / "docs"))
    assert found.returncode == 1
    assert "metrics.md" in found.stderr
    assert generate("--docs", str(tmp_path / "docs")).returncode == 0
    assert page.read_text(encoding="utf-8") == good


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("  api_key_missing_or_invalid:", "answers"),
        ("  NotBuilt:", "reasons"),
        ("  upstream_us:", "access_log"),
        ("  bypassed:", "decision_log"),
        ("  DirectResponse:", "fields"),
    ],
)
def test_a_name_without_an_explanation_is_an_error(tmp_path: Path, line: str, part: str) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    notes = tmp_path / "docs" / "reference" / "notes.yaml"
    text = notes.read_text(encoding="utf-8")
    assert line in text
    notes.write_text(text.replace(line, line.replace(":", "x:")), encoding="utf-8")
    done = generate("--check", "--docs", str(tmp_path / "docs"))
    assert done.returncode == 1
    assert part in done.stderr
