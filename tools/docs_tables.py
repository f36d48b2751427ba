"""Tables of the manual, and the notes that stand in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Notes = Mapping[str, Any]  # Any: the tree of notes.yaml


class Incomplete(Exception):
    """The code has a name that notes.yaml does not explain."""


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(_cell(cell) for cell in line)} |\n" for line in lines)


def _cell(value: object) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")


def noted(notes: Notes, part: str, names: Iterable[str]) -> Mapping[str, Any]:
    """The notes of a part for these names, in the order of the notes."""
    found: Mapping[str, Any] = notes[part]
    wanted = set(names)
    if wanted - set(found):
        raise Incomplete(f"notes.yaml, {part}: missing {sorted(wanted - set(found))}")
    return {name: note for name, note in found.items() if name in wanted}
