"""The keys in Valkey or Redis. It must not know a key in clear, nor the pepper: it moves records.

::

    apo:k:<id>          one record, see `packing`
    apo:u:<2 letters>   when keys whose ids begin so were last used: the rest of the id → seconds. Small hashes are
                        packed by the store: about 20 bytes a key.
    apo:pepper          which pepper the keys were made with, see `fingerprint`
    apo:version         rises by one with every change
    apo:changes         the channel on which changes are told, see `changes`

In a cluster ``{apo}:`` stands for ``apo:``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from typing import TypeVar

from apostille.base.clock import Clock
from apostille.keys.address import StoreAddress
from apostille.keys.changes import CHANNEL, INTERVAL, VERSION, Event, ask_version, follow
from apostille.keys.connection import CONNECTIONS, LIMIT, StoreConnection
from apostille.keys.errors import DamagedRecord, KeyChanged, KeyExists, KeyNotActive, KeyNotFound
from apostille.keys.fingerprint import PepperCheck, claim, read_fingerprint
from apostille.keys.format import ID_LENGTH, is_id
from apostille.keys.packing import pack_record, unpack_record
from apostille.keys.record import DIGEST_LENGTH, KeyRecord, State
from apostille.keys.scripts import CHANGE, DELETE, LOAD, TOUCH
from apostille.keys.settings import PepperSource
from apostille.model.scopes import Scopes

# How many keys go into one command: the store serves nobody else meanwhile.
BATCH = 500
LARGEST_PAGE = 1000
_BUCKET = 2
_ATTEMPTS = 10

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some of the keys, in no order. `cursor` gives the next page, and is None after the last one.

    A page may be empty and not the last. Keys that are created or deleted meanwhile may be on a page or not; a key
    may be on two.
    """

    records: tuple[KeyRecord, ...]
    damaged: tuple[DamagedRecord, ...]
    cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    retiring: KeyRecord
    successor: KeyRecord


class KeyStore:
    """Every method raises StoreUnavailable when the store gives no answer. An id that can be none is of no key."""

    def __init__(self, connection: StoreConnection, clock: Clock) -> None:
        self._connection, self._clock = connection, clock

    @classmethod
    def at(
        cls, address: StoreAddress, clock: Clock, *, limit: float = LIMIT, connections: int = CONNECTIONS
    ) -> KeyStore:
        """Does not connect yet; see `StoreConnection`."""
        return cls(StoreConnection(address, limit=limit, connections=connections), clock)

    async def close(self) -> None:
        await self._connection.close()

    async def version(self) -> int:
        """How many changes there have been; also a way to see whether the store answers."""
        return await ask_version(self._connection)

    async def put(self, record: KeyRecord) -> KeyRecord:
        """Create a key. Gives the record as it is stored. Raises KeyExists, and ValueError as `pack_record` does."""
        stored = replace(record, revision=1, last_used=None)
        if await self._change((0, stored)) is not None:
            raise KeyExists(record.id)
        return stored

    async def get(self, key_id: str) -> KeyRecord | None:
        """One record, with the time of its last use. Raises DamagedRecord."""
        found = (await self.get_many([key_id])).get(key_id)
        if isinstance(found, DamagedRecord):
            raise found
        return None if found is None else (await self._with_last_use([found]))[0]

    async def get_many(self, ids: Sequence[str]) -> Mapping[str, KeyRecord | DamagedRecord]:
        """The records that there are, without the times of their last use: for those who check keys."""
        found: dict[str, KeyRecord | DamagedRecord] = {}
        for some in _batches(each for each in ids if is_id(each)):
            answers = await self._connection.ask("MGET", *map(self._record, some))
            for each, data in zip(some, answers, strict=True):
                if data is not None:
                    found[each] = _decoded(each, data)
                else:
                    # Else the time would tell which ids exist to those who only guess.
                    unpack_record(_NOBODY.id, _NOBODY_WRITTEN)
        return found

    async def replace(self, record: KeyRecord) -> KeyRecord:
        """Write a changed record, which was read as `record.revision`. Gives it as it is stored.

        Raises KeyChanged when somebody was quicker, KeyNotFound, and ValueError as `pack_record` does.
        """
        stored = replace(record, revision=record.revision + 1, last_used=None)
        await self._change_or_raise((record.revision, stored))
        return replace(stored, last_used=record.last_used)

    async def revoke(self, key_id: str) -> KeyRecord:
        """End a key now, whatever others do to it. Raises KeyNotFound, DamagedRecord, and KeyChanged at last."""
        for _ in range(_ATTEMPTS):
            record = await self.get(key_id)
            if record is None:
                raise KeyNotFound(key_id)
            if record.state is State.REVOKED:
                return record
            try:
                return await self.replace(replace(record, state=State.REVOKED))
            except KeyChanged:
                continue
        raise KeyChanged(key_id)

    async def rotate(self, retiring: KeyRecord, successor: KeyRecord, until: datetime) -> Rotated:
        """Create `successor` and let `retiring`, as it was read, end at `until` or before; both or neither.

        Raises KeyNotActive, KeyExists for the successor, KeyChanged or KeyNotFound for the retiring one.
        """
        if retiring.state is not State.ACTIVE or retiring.successor is not None:
            raise KeyNotActive(retiring.id)
        ends = until if retiring.expires is None else min(until, retiring.expires)
        last = replace(retiring, expires=ends, successor=successor.id, revision=retiring.revision + 1, last_used=None)
        first = replace(successor, revision=1, last_used=None)
        await self._change_or_raise((retiring.revision, last), (0, first))
        return Rotated(retiring=replace(last, last_used=retiring.last_used), successor=first)

    async def delete(self, key_id: str) -> bool:
        """Forget a key, damaged or not. False when there was none."""
        if not is_id(key_id):
            return False
        names = (self._name(VERSION), self._record(key_id), self._uses(key_id))
        return bool(await self._connection.run(DELETE, names, [self._name(CHANNEL)]))

    async def page(self, cursor: str | None = None, *, limit: int = 100) -> Page:
        """About `limit` keys, from 1 to 1000: the store may give a few more, or fewer. Raises ValueError."""
        if not 1 <= limit <= LARGEST_PAGE or (cursor is not None and not (cursor.isascii() and cursor.isdigit())):
            raise ValueError(f"a page has 1 to {LARGEST_PAGE} keys and a cursor that an earlier page gave")
        prefix = self._record("")
        pattern = self._record("?" * ID_LENGTH)
        following, names = await self._connection.scan(int(cursor or 0), pattern, limit)
        ids = dict.fromkeys(name.decode("utf-8", "replace").removeprefix(prefix) for name in names)
        found = await self.get_many(list(ids))
        records = [record for record in found.values() if isinstance(record, KeyRecord)]
        return Page(
            records=tuple(await self._with_last_use(records)),
            damaged=tuple(record for record in found.values() if isinstance(record, DamagedRecord)),
            cursor=str(following) if following else None,
        )

    async def export(self) -> AsyncIterator[KeyRecord | DamagedRecord]:
        """Every key that is there all the time, once or more."""
        cursor: str | None = None
        while True:
            page = await self.page(cursor, limit=BATCH)
            for record in page.records:
                yield record
            for damaged in page.damaged:
                yield damaged
            cursor = page.cursor
            if cursor is None:
                return

    async def load(self, records: Iterable[KeyRecord]) -> tuple[str, ...]:
        """Create many keys, in batches; revisions and times of last use are kept. Gives the ids that there were
        already: those are left alone. Raises ValueError as `pack_record` does, with earlier batches loaded.
        """
        present: list[str] = []
        for some in _batches(records):
            lines = [pack_record(each if each.revision else replace(each, revision=1)) for each in some]
            names = [self._name(VERSION), *(self._record(each.id) for each in some)]
            numbers = await self._connection.run(LOAD, names, [self._name(CHANNEL), *lines])
            there = {some[number - 1].id for number in numbers}
            present += sorted(there)
            await self.touch(
                {each.id: each.last_used for each in some if each.last_used is not None and each.id not in there}
            )
        return tuple(present)

    async def touch(self, used: Mapping[str, datetime]) -> None:
        """Note when keys were last used. Collect them: one call for the keys of some seconds."""
        for some in _batches((each, at) for each, at in used.items() if is_id(each)):
            names = [name for each, _ in some for name in (self._record(each), self._uses(each))]
            await self._connection.run(TOUCH, names, [int(at.timestamp()) for _, at in some])

    def pepper_check(self, source: PepperSource) -> PepperCheck:
        """Whether the keys here were made with this pepper."""
        return PepperCheck(self._connection, source)

    async def fingerprint(self) -> bytes | None:
        """Which pepper the keys were made with; None while nobody has said so."""
        return await read_fingerprint(self._connection)

    async def claim(self, fingerprint: bytes) -> bytes:
        """Say which pepper the keys are made with, unless it has been said. Gives what has been said."""
        return await claim(self._connection, fingerprint)

    def follow(self, *, interval: float = INTERVAL) -> AsyncIterator[Event]:
        """The changes from now on; see `changes.follow`."""
        return follow(self._connection, self._clock, interval=interval)

    def _name(self, rest: str) -> str:
        return self._connection.name(rest)

    def _record(self, key_id: str) -> str:
        return self._name(f"k:{key_id}")

    def _uses(self, key_id: str) -> str:
        return self._name(f"u:{key_id[:_BUCKET]}")

    async def _change(self, *changes: tuple[int, KeyRecord]) -> int | None:
        """None when all was written, else what the script says of the first that does not fit."""
        names = [self._name(VERSION), *(self._record(record.id) for _, record in changes)]
        words: list[str | bytes | int] = [self._name(CHANNEL)]
        for revision, record in changes:
            words += [revision, pack_record(record)]
        return int(await self._connection.run(CHANGE, names, words)) or None

    async def _change_or_raise(self, *changes: tuple[int, KeyRecord]) -> None:
        number = await self._change(*changes)
        if number is None:
            return
        revision, record = changes[abs(number) - 1]
        if number < 0:
            raise KeyNotFound(record.id)
        raise KeyChanged(record.id) if revision else KeyExists(record.id)

    async def _with_last_use(self, records: Sequence[KeyRecord]) -> Sequence[KeyRecord]:
        buckets: dict[str, list[str]] = defaultdict(list)
        for record in records:
            buckets[self._uses(record.id)].append(record.id)
        commands = [("HMGET", bucket, *(each[_BUCKET:] for each in ids)) for bucket, ids in buckets.items()]
        answers = await self._connection.together(commands)
        uses = {
            each: datetime.fromtimestamp(int(at), UTC)
            for ids, times in zip(buckets.values(), answers, strict=True)
            for each, at in zip(ids, times, strict=True)
            # A number of more letters is of no century that a calendar knows.
            if at is not None and at.isdigit() and len(at) <= 11
        }
        return [replace(record, last_used=uses.get(record.id)) for record in records]


# Such a one as people make.
_NOBODY = KeyRecord(
    id="0" * ID_LENGTH,
    env="live",
    consumer="nobody",
    digest=bytes(DIGEST_LENGTH),
    created=datetime(2026, 1, 1, tzinfo=UTC),
    expires=datetime(2027, 1, 1, tzinfo=UTC),
    name="nobody's key",
    labels={"team": "nobody"},
    metadata={"email": "nobody@example.com"},
    scopes=Scopes(methods=("GET",)),
    revision=1,
)
_NOBODY_WRITTEN = pack_record(_NOBODY)


def _decoded(key_id: str, data: bytes) -> KeyRecord | DamagedRecord:
    try:
        return unpack_record(key_id, data)
    except DamagedRecord as error:
        return error


def _batches(every: Iterable[_T]) -> Iterable[list[_T]]:
    rest = iter(every)
    while some := list(islice(rest, BATCH)):
        yield some
