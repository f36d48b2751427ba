"""What is asked of the desk of keys, and what it gives: plain values, for those who need no store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from enum import Enum
from typing import Final

from apostille.base.secrets import SecretText
from apostille.keys.record import KeyRecord
from apostille.model.limits import UNLIMITED, Limits
from apostille.model.scopes import EVERYTHING, NOTHING, Scopes

# The environment of a key where none is named.
ENV = "live"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A key that is to be made; the fields are those of `KeyRecord`."""

    consumer: str
    env: str = ENV
    name: str = ""
    labels: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    metadata: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    scopes: Scopes = EVERYTHING
    limits: Limits = UNLIMITED
    not_before: datetime | None = None
    expires: datetime | None = None


class Same(Enum):
    """Stands for what a field is already, where None is a value."""

    SAME = "same"


SAME: Final = Same.SAME


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is to be another: whole fields of `KeyRecord`. What is `SAME` stays."""

    name: str | Same = SAME
    consumer: str | Same = SAME
    labels: Mapping[str, str] | Same = SAME
    metadata: Mapping[str, str] | Same = SAME
    scopes: Scopes | Same = SAME
    limits: Limits | Same = SAME
    not_before: datetime | Same | None = SAME
    expires: datetime | Same | None = SAME

    def applied(self, record: KeyRecord) -> KeyRecord:
        """Raises ValueError where the outcome cannot be a record."""
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        return replace(record, **{name: value for name, value in given.items() if value is not SAME})


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which keys a page is to show: those of a consumer, with all of the labels."""

    consumer: str | None = None
    labels: Mapping[str, str] = field(default_factory=lambda: NOTHING)

    def fits(self, record: KeyRecord) -> bool:
        return (self.consumer is None or record.consumer == self.consumer) and all(
            record.labels.get(label) == value for label, value in self.labels.items()
        )


EVERY = Wanted()


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A new key in clear: it is shown once and kept nowhere. `retiring`: the key that it replaces."""

    record: KeyRecord
    key: SecretText
    retiring: KeyRecord | None = None
