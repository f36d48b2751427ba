"""Keys as the command line shows them. What comes from the gateway is written so that no terminal obeys it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from apostille.cli.output import print_note, print_result

# Any: JSON.
Json = Mapping[str, Any]

_COLUMNS = ("KEY", "CONSUMER", "NAME", "STATE", "EXPIRES", "LAST USED", "LABELS")


def clean(value: object) -> str:
    """Without line feeds, tabs, and what a terminal takes for a command."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in str(value))


def print_keys(keys: Iterable[Json]) -> None:
    """A table on a terminal; elsewhere a line for each key, with tabs in between and no head."""
    rows = [_row(key) for key in keys]
    if not sys.stdout.isatty():
        for row in rows:
            print_result("\t".join(row))
        return
    if not rows:
        return
    widths = [max(len(row[column]) for row in [_COLUMNS, *rows]) for column in range(len(_COLUMNS))]
    for row in [_COLUMNS, *rows]:
        print_result("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_key(key: Json) -> None:
    """One key, a line for each thing that is known of it."""
    for name, value in key.items():
        print_result(f"{name:<10} {clean(_written(value))}")


def note_key(key: Json) -> None:
    """What belongs to a key that has just been printed, where it disturbs nobody."""
    ends = f"until {key['expires']}" if key["expires"] else "for ever"
    print_note(f"{key['id']} for {clean(key['consumer'])}, valid {ends}; this is the only time that the key is shown")


def print_json_list(pages: Iterable[Json]) -> None:
    """One document of many pages, written as they come."""
    damaged: list[object] = []
    cursor, separator = None, ""
    print_result('{"items": [')
    for page in pages:
        for key in page["items"]:
            print_result(separator + json.dumps(key))
            separator = ","
        damaged += page["damaged"]
        cursor = page["nextCursor"]
    print_result(f'], "damaged": {json.dumps(damaged)}, "nextCursor": {json.dumps(cursor)}}}')


def _row(key: Json) -> Sequence[str]:
    labels = ",".join(f"{name}={value}" for name, value in key["labels"].items())
    cells = (key["id"], key["consumer"], key["name"], key["state"], key["expires"], key["lastUsed"], labels)
    return tuple(clean("-" if cell in (None, "") else cell) for cell in cells)


def _written(value: object) -> object:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
