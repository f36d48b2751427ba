"""Where words go: results to standard output, everything else to standard error.

Nothing here writes colour, so NO_COLOR needs no attention and output is the same in a pipe as on a terminal.
"""

from __future__ import annotations

import json
import sys
from enum import StrEnum


class Format(StrEnum):
    """What ``-o`` takes where there is a machine format."""

    TEXT = "text"
    JSON = "json"


def print_result(text: str) -> None:
    """A line of what was asked for. Flushed, because the reader of a pipe may be waiting for it."""
    print(text, flush=True)


def print_json(value: object) -> None:
    """One document, keys in the order given, None as null."""
    print_result(json.dumps(value, indent=2, ensure_ascii=False))


def print_note(text: str) -> None:
    """Progress, hints and warnings."""
    print(text, file=sys.stderr, flush=True)


def print_error(text: str) -> None:
    print_note(f"apostille: {text}")
