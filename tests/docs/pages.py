"""What stands in a page: its fenced blocks, its headings, its links."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))

_FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
_LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")


@dataclass(frozen=True, slots=True)
class Block:
    """`kind`: all words after the opening fence, such as ``yaml wrong``."""

    kind: str
    text: str


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks_of(page: Path) -> tuple[Block, ...]:
    return tuple(Block(match[1].strip(), match[2]) for match in _FENCE.finditer(page.read_text(encoding="utf-8")))


def prose_of(page: Path) -> str:
    """Without fenced blocks, and without code in the line, which may look like a link."""
    return re.sub(r"`[^`\n]*`", "", _FENCE.sub("", page.read_text(encoding="utf-8")))


def links_of(page: Path) -> tuple[str, ...]:
    return tuple(_LINK.findall(prose_of(page)))


def anchors_of(page: Path) -> frozenset[str]:
    """As GitHub makes them of headings: lower case, spaces to dashes, everything else but letters and digits gone."""
    found: dict[str, int] = {}
    anchors = set()
    for heading in _HEADING.findall(_FENCE.sub("", page.read_text(encoding="utf-8"))):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        kept = "".join(char for char in plain if char in " -_" or unicodedata.category(char)[0] in "LN")
        anchor = kept.replace(" ", "-")
        seen = found.get(anchor, 0)
        found[anchor] = seen + 1
        anchors.add(f"{anchor}-{seen}" if seen else anchor)
    return frozenset(anchors)
