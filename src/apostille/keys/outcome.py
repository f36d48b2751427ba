"""What comes of a key that was shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from apostille.model.scopes import NOTHING, Dimension


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Whom the key stands for. `key`: what stands for it in logs. `metadata`: the record's."""

    consumer: str
    key: str
    metadata: Mapping[str, str] = field(default_factory=lambda: NOTHING)


class Why(StrEnum):
    """UNKNOWN: no such key, or not any more, or not here; callers are not told which. NOT_FOR: not for what is asked.
    UNAVAILABLE: nobody can tell."""

    UNKNOWN = "unknown"
    NOT_FOR = "not for"
    LIMITED = "limited"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """`cause` is for the log. `consumer`, `key`: known once the key was verified. `dimension`: what it is not for.
    `headers`: when to come again, for a caller who came too often."""

    why: Why
    cause: str
    consumer: str | None = None
    key: str | None = None
    dimension: Dimension | None = None
    headers: tuple[tuple[str, str], ...] = ()
