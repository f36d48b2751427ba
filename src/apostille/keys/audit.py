"""What is written down of every change of keys. It must not know where it is written to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from apostille.base.clock import Clock
from apostille.keys.errors import DamagedRecord, KeyChanged, KeyExists, KeyNotActive, KeyNotFound, StoreUnavailable

# What is said before anything was changed.
_REFUSALS = (DamagedRecord, KeyChanged, KeyExists, KeyNotActive, KeyNotFound, ValueError)


class Action(StrEnum):
    CREATE = "create"
    UPDATE = "update"
    ROTATE = "rotate"
    REVOKE = "revoke"
    DELETE = "delete"
    IMPORT = "import"
    EXPORT = "export"


class Outcome(StrEnum):
    """`REFUSED`, `FAILED`: nothing was changed.

    `UNKNOWN`: it ended on the way; all of it may have been done, a part or nothing.
    """

    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLine:
    """Who did what to which key. `key` is ``apo_<env>_<id>``, or the id alone where no more is known.

    `actor` is whom the caller of the desk takes it for. `note` is a cause, a successor or a count.
    """

    when: datetime
    action: Action
    outcome: Outcome
    actor: str
    key: str | None = None
    consumer: str | None = None
    note: str = ""


@dataclass(slots=True, kw_only=True)
class Entry:
    """What becomes known of a change while it is made."""

    key: str | None = None
    consumer: str | None = None
    note: str = ""
    begun: bool = False

    def begin(self, key: str | None, consumer: str | None) -> None:
        """From now on the store may have been changed."""
        self.key, self.consumer, self.begun = key, consumer, True


class Journal:
    def __init__(self, clock: Clock, write: Callable[[AuditLine], None]) -> None:
        self._clock, self._write = clock, write

    @contextmanager
    def entry(self, action: Action, actor: str, key: str | None = None) -> Iterator[Entry]:
        """One line for what is done inside, when it is over, however it ends."""
        entry = Entry(key=key)
        outcome = Outcome.DONE
        try:
            yield entry
        except _REFUSALS as error:
            outcome, entry.note = Outcome.REFUSED, type(error).__name__
            raise
        except BaseException as error:
            outcome = Outcome.UNKNOWN if entry.begun else Outcome.FAILED
            entry.note = error.cause if isinstance(error, StoreUnavailable) else type(error).__name__
            raise
        finally:
            self._write(
                AuditLine(
                    when=self._clock.now(),
                    action=action,
                    outcome=outcome,
                    actor=actor,
                    key=entry.key,
                    consumer=entry.consumer,
                    note=entry.note,
                )
            )
