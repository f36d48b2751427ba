"""Where keys are made, changed and ended. Plain values in and out: it must not know HTTP, nor who checks keys.

Every change, and every attempt at one, gives one line for the audit.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol, TypeVar, cast

from apostille.base.clock import Clock
from apostille.base.secrets import SecretText
from apostille.keys.errors import (
    DamagedRecord,
    KeyChanged,
    KeyExists,
    KeyNotActive,
    KeyNotFound,
    StoreUnavailable,
)
from apostille.keys.format import PREFIX, Chance, KeyParts, new_key
from apostille.keys.record import KeyRecord, Pepper, State, to_second
from apostille.keys.store import KeyStore, Page
from apostille.keys.transfer import Imported, export_lines, import_lines
from apostille.model.limits import UNLIMITED, Limits
from apostille.model.scopes import EVERYTHING, NOTHING, Scopes

ENV = "live"
_PAGE = 100
# How many keys are looked at for one page of those that were asked for: the store has others to serve.
_MOST_LOOKED_AT = 10_000
_ATTEMPTS = 5

_T = TypeVar("_T")


class Action(StrEnum):
    CREATE = "create"
    UPDATE = "update"
    ROTATE = "rotate"
    REVOKE = "revoke"
    DELETE = "delete"
    IMPORT = "import"
    EXPORT = "export"


class Outcome(StrEnum):
    """`UNKNOWN`: the store gave no answer; the change may have been made. `PARTLY`: it ended before its end."""

    DONE = "done"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    PARTLY = "partly"


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


class _Same(StrEnum):
    SAME = "as it is"


SAME: Final = _Same.SAME


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is to be another: whole fields of `KeyRecord`. What is `SAME` stays."""

    name: str | _Same = SAME
    consumer: str | _Same = SAME
    labels: Mapping[str, str] | _Same = SAME
    metadata: Mapping[str, str] | _Same = SAME
    scopes: Scopes | _Same = SAME
    limits: Limits | _Same = SAME
    not_before: datetime | None | _Same = SAME
    expires: datetime | None | _Same = SAME

    def applied(self, record: KeyRecord) -> KeyRecord:
        """Raises ValueError where the outcome cannot be a record."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return _sound(replace(record, **{name: value for name, value in fields.items() if value is not SAME}))


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


class ReadsPepper(Protocol):
    def read(self) -> Pepper:
        """Raises KeysError, with advice, when there is none."""
        ...


class KeyDesk:
    """Methods raise what `KeyStore` says, and ValueError, with a text for people, for what cannot be a record.

    After StoreUnavailable it is unknown whether a change was made. A key that was being created then is of no use: its
    secret is lost. `actor` goes into the audit.
    """

    def __init__(
        self,
        store: KeyStore,
        pepper: ReadsPepper,
        clock: Clock,
        chance: Chance,
        audit: Callable[[AuditLine], None],
    ) -> None:
        self._store, self._pepper, self._clock, self._chance, self._audit = store, pepper, clock, chance, audit

    async def create(self, order: Order, *, actor: str) -> Issued:
        parts, digest = self._new(order.env)
        now = to_second(self._clock.now())
        if order.expires is not None and order.expires <= now:
            raise ValueError(f"the key would have expired at {_written(order.expires)} already; write a later time")
        record = _sound(
            KeyRecord(
                id=parts.id,
                env=order.env,
                consumer=order.consumer,
                digest=digest,
                created=now,
                name=order.name,
                labels=order.labels,
                metadata=order.metadata,
                scopes=order.scopes,
                limits=order.limits,
                not_before=order.not_before,
                expires=order.expires,
            )
        )
        stored = await self._audited(Action.CREATE, actor, self._store.put(record), parts.shown, order.consumer)
        return Issued(record=stored, key=parts.key)

    async def get(self, key_id: str) -> KeyRecord:
        """Raises KeyNotFound and DamagedRecord."""
        record = await self._store.get(key_id)
        if record is None:
            raise KeyNotFound(key_id)
        return record

    async def page(self, wanted: Wanted = EVERY, cursor: str | None = None, *, limit: int = _PAGE) -> Page:
        """About `limit` of the keys that are wanted; fewer, and perhaps none, where they are rare: the cursor goes on.

        Damaged records are shown whatever is wanted: nobody can tell what they were. Raises ValueError as
        `KeyStore.page` does.
        """
        page = await self._store.page(cursor, limit=limit)
        records, damaged = [each for each in page.records if wanted.fits(each)], [*page.damaged]
        looked_at = limit
        while page.cursor is not None and len(records) < limit and looked_at < _MOST_LOOKED_AT:
            page = await self._store.page(page.cursor, limit=limit)
            records += [each for each in page.records if wanted.fits(each)]
            damaged += page.damaged
            looked_at += limit
        return Page(records=tuple(records), damaged=tuple(damaged), cursor=page.cursor)

    async def update(self, key_id: str, change: Change, *, actor: str, revision: int | None = None) -> KeyRecord:
        """Change what is said of a key. `revision`: only when that is its present one, else KeyChanged is raised."""
        record = await self._read(Action.UPDATE, key_id, actor)
        for attempt in range(_ATTEMPTS):
            self._expect(Action.UPDATE, record, revision, actor)
            changed = change.applied(record)
            try:
                return await self._audited(
                    Action.UPDATE,
                    actor,
                    self._store.replace(changed),
                    record.shown,
                    changed.consumer,
                    ignored=() if revision is not None or attempt == _ATTEMPTS - 1 else (KeyChanged,),
                )
            except KeyChanged:
                if revision is not None or attempt == _ATTEMPTS - 1:
                    raise
                record = await self._read(Action.UPDATE, key_id, actor)
        raise KeyChanged(key_id)

    async def rotate(
        self,
        key_id: str,
        grace: timedelta,
        *,
        actor: str,
        revision: int | None = None,
        expires: datetime | None | _Same = SAME,
    ) -> Issued:
        """Make a successor that may do the same; the old key ends after `grace`, or when it would have ended anyway.

        The successor lives as long as the old key was given to live, counted anew, unless `expires` says otherwise.
        Raises KeyNotActive, KeyNotFound, and KeyChanged also where `revision` is not the present one.
        """
        if grace < timedelta(0):
            raise ValueError("a grace is not negative; write 0s for none")
        record = await self._read(Action.ROTATE, key_id, actor)
        self._expect(Action.ROTATE, record, revision, actor)
        now = to_second(self._clock.now())
        if expires is SAME:
            expires = None if record.expires is None else now + (record.expires - record.created)
        if expires is not None and expires <= now:
            raise ValueError(
                f"the successor would have expired at {_written(expires)} already; write a later time for it"
            )
        parts, digest = self._new(record.env)
        successor = _sound(
            replace(
                record,
                id=parts.id,
                digest=digest,
                created=now,
                expires=expires,
                last_used=None,
                state=State.ACTIVE,
                successor=None,
                revision=0,
            )
        )
        rotated = await self._audited(
            Action.ROTATE,
            actor,
            self._store.rotate(record, successor, to_second(now + grace)),
            record.shown,
            record.consumer,
            f"successor {successor.shown}",
        )
        return Issued(record=rotated.successor, key=parts.key, retiring=rotated.retiring)

    async def revoke(self, key_id: str, *, actor: str) -> KeyRecord:
        """End a key for good. It stays known. Raises KeyNotFound and DamagedRecord."""
        record = await self._read(Action.REVOKE, key_id, actor)
        return await self._audited(Action.REVOKE, actor, self._store.revoke(key_id), record.shown, record.consumer)

    async def delete(self, key_id: str, *, actor: str) -> None:
        """Forget a key, damaged or not, with all that is known of it. Raises KeyNotFound."""
        shown, consumer = key_id, None
        try:
            record = await self._read(Action.DELETE, key_id, actor)
            shown, consumer = record.shown, record.consumer
        except DamagedRecord:
            pass
        if not await self._audited(Action.DELETE, actor, self._store.delete(key_id), shown, consumer):
            raise KeyNotFound(key_id)

    async def load(self, lines: AsyncIterable[bytes], *, actor: str) -> Imported:
        """Import what `export` gave; keys that are there already are left alone. Raises as `import_lines` does."""
        try:
            report = await import_lines(self._store, lines)
        except BaseException as error:
            self._note(Action.IMPORT, Outcome.PARTLY, actor, note=type(error).__name__)
            raise
        counts = f"{report.created} created, {report.same} there already, {report.different} there and different"
        self._note(Action.IMPORT, Outcome.DONE, actor, note=counts)
        return report

    async def export(self, damaged: Callable[[DamagedRecord], None], *, actor: str) -> AsyncIterator[bytes]:
        """The lines of `export_lines`. They hold digests of keys."""
        count, outcome = 0, Outcome.PARTLY
        try:
            async for line in export_lines(self._store, damaged):
                yield line
                count += 1
            outcome = Outcome.DONE
        finally:
            # Neither the first line nor the last is a key.
            self._note(Action.EXPORT, outcome, actor, note=f"{max(0, count - (2 if outcome is Outcome.DONE else 1))} keys")

    def _new(self, env: str) -> tuple[KeyParts, bytes]:
        parts = new_key(env, self._chance)
        return parts, self._pepper.read().digest(parts.key)

    async def _read(self, action: Action, key_id: str, actor: str) -> KeyRecord:
        try:
            return await self.get(key_id)
        except KeyNotFound as error:
            self._note(action, Outcome.REFUSED, actor, key_id, note=type(error).__name__)
            raise

    def _expect(self, action: Action, record: KeyRecord, revision: int | None, actor: str) -> None:
        if revision is not None and revision != record.revision:
            self._note(action, Outcome.REFUSED, actor, record.shown, record.consumer, KeyChanged.__name__)
            raise KeyChanged(record.id)

    async def _audited(
        self,
        action: Action,
        actor: str,
        change: Awaitable[_T],
        key: str,
        consumer: str | None,
        note: str = "",
        *,
        ignored: tuple[type[Exception], ...] = (),
    ) -> _T:
        try:
            result = await change
        except ignored:
            raise
        except (KeyChanged, KeyExists, KeyNotActive, KeyNotFound, DamagedRecord, ValueError) as error:
            self._note(action, Outcome.REFUSED, actor, key, consumer, type(error).__name__)
            raise
        except BaseException as error:
            cause = error.cause if isinstance(error, StoreUnavailable) else type(error).__name__
            self._note(action, Outcome.UNKNOWN, actor, key, consumer, cause)
            raise
        self._note(action, Outcome.DONE, actor, key, consumer, note)
        return result

    def _note(
        self,
        action: Action,
        outcome: Outcome,
        actor: str,
        key: str | None = None,
        consumer: str | None = None,
        note: str = "",
    ) -> None:
        self._audit(
            AuditLine(
                when=self._clock.now(),
                action=action,
                outcome=outcome,
                actor=actor,
                key=key,
                consumer=consumer,
                note=note,
            )
        )


def _sound(record: KeyRecord) -> KeyRecord:
    if record.not_before is not None and record.expires is not None and record.expires <= record.not_before:
        raise ValueError(
            f"the key would expire at {_written(record.expires)}, before it is valid at {_written(record.not_before)}"
        )
    return record


def _written(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
