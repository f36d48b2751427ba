"""Durations as people write them: ``1.5s``, ``1h30m``, ``250ms``."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal

_UNITS = {
    "h": Decimal(3_600_000_000),
    "m": Decimal(60_000_000),
    "s": Decimal(1_000_000),
    "ms": Decimal(1_000),
    "us": Decimal(1),
    "µs": Decimal(1),
    "ns": Decimal("0.001"),
}
_PART = re.compile(r"(\d+(?:\.\d+)?|\.\d+)(h|ms|m|s|us|µs|ns)")
_MAX_HOURS = 24 * 365 * 10


def parse_duration(text: str) -> timedelta:
    """Read Go's form (``1h30m``), of which proto JSON's (``1.5s``) is a part.

    Raises ValueError, with a text for people, when it is not a duration, is negative or longer than ten years.
    """
    position, total = 0, Decimal(0)
    for part in _PART.finditer(text):
        if part.start() != position:
            break
        total += Decimal(part.group(1)) * _UNITS[part.group(2)]
        position = part.end()
    if not text or position != len(text):
        raise ValueError(f"{text!r} is not a duration; write for example 250ms, 1.5s or 1h30m")
    if total > _MAX_HOURS * _UNITS["h"]:
        raise ValueError(f"{text!r} is longer than ten years")
    return timedelta(microseconds=int(total))
