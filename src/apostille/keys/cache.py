"""What one worker remembers of keys. It must not know where records come from, nor verify anything.

Ids that do not exist are not remembered: who asks for thousands of them drives out no key that does, and each question
takes as long as the one before. One event loop owns it: there are no locks.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never

from apostille.base.clock import Clock
from apostille.keys.changes import Blind, Changed, Event, Missed, Seeing
from apostille.keys.errors import DamagedRecord, StoreUnavailable
from apostille.keys.record import KeyRecord

Fetch = Callable[[Sequence[str]], Awaitable[Mapping[str, KeyRecord | DamagedRecord]]]

_BATCH = 256
# How often a read is begun again because the key changed under it.
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheBounds:
    """How much is remembered and for how long, in seconds.

    `stale`: keys that are known go on for so long while the store is down. `blind`: after so long without a sight of
    the changes every key is read again before it counts; that is also how often it is read again from then on.
    `retry`: between two questions to a store that is down.
    """

    known_keys: int = 100_000
    stale: float = 3600.0
    blind: float = 5.0
    retry: float = 1.0


@dataclass(slots=True, kw_only=True)
class _Known:
    """`checked`: when it was read; `era`: how often changes had been missed by then."""

    record: KeyRecord
    checked: float
    era: int


class KeyCache:
    """Feed it the events of `KeyStore.follow`; without them it takes itself for blind, and is right.

    Raises what `get` says for keys it cannot answer for; it never says that a key is unknown because the store is.
    """

    def __init__(self, fetch: Fetch, clock: Clock, bounds: CacheBounds | None = None) -> None:
        """`fetch` is `KeyStore.get_many`."""
        self._fetch, self._clock = fetch, clock
        self._bounds = bounds or CacheBounds()
        self._known: OrderedDict[str, _Known] = OrderedDict()
        # Seconds of the monotonic clock: up to here there is no change that we have not been told.
        self._seen = -math.inf
        # A new era begins when changes were missed: what was read in an earlier one is proven up to its end only.
        self._era = 0
        self._ends: dict[int, float] = {}
        self._is_empty_era = True
        self._down: StoreUnavailable | None = None
        self._retry_at = -math.inf
        self._reading: dict[str, asyncio.Future[KeyRecord | None]] = {}
        self._waiting: dict[str, asyncio.Future[KeyRecord | None]] = {}
        self._reader: asyncio.Task[None] | None = None
        self._nobodies = map(str, itertools.count(10**11))

    def __len__(self) -> int:
        """How many keys are known."""
        return len(self._known)

    def is_blind(self) -> bool:
        """Whether changes may have gone unseen for too long."""
        return self._clock.monotonic() - self._seen > self._bounds.blind

    def peek(self, key_id: str) -> KeyRecord | None:
        """The record, when it is known and needs no look into the store. For the many requests that need not wait."""
        found = self._known.get(key_id)
        if found is None or not self._is_fresh(found):
            return None
        self._known.move_to_end(key_id)
        return found.record

    async def get(self, key_id: str) -> KeyRecord | None:
        """The record, or None when there is no such key.

        Raises StoreUnavailable when nobody can tell, and DamagedRecord.
        """
        for _ in range(_ATTEMPTS):
            record = self.peek(key_id)
            if record is not None:
                return record
            if self._down is not None:
                reading = self._read(key_id) if self._may_retry() else None
                if reading is None or self._may_go_on(key_id):
                    return self._stale(key_id, self._down)
            try:
                return await asyncio.shield(self._read(key_id))
            except StoreUnavailable as error:
                return self._stale(key_id, error)
            except _Outdated:
                continue
        return self._stale(key_id, StoreUnavailable("the key changes faster than it can be read"))

    async def miss(self) -> None:
        """Ask the store for a key that does not exist. Takes as long as `get` of another such key, and raises as that.

        For an id that is known, when the secret is wrong: the time must not tell.
        """
        # Each time another one: who asks for a key that is being read already waits for less.
        nobody = next(self._nobodies)
        if self._down is None:
            try:
                await asyncio.shield(self._read(nobody))
            except _Outdated:
                pass
            else:
                return
        await self.get(nobody)

    def apply(self, event: Event) -> None:
        """Believe what the feed of changes says."""
        match event:
            case Changed(id=key_id):
                self._known.pop(key_id, None)
                self._forget_reading(key_id)
            case Missed():
                self._begin_era()
                for key_id in tuple(self._reading):
                    self._forget_reading(key_id)
            case Seeing(at=at):
                self._seen = max(self._seen, at)
                self._down = None
            case Blind():
                # Whether the store can be read is another matter: it is found out by reading.
                pass
            case _:
                assert_never(event)

    async def close(self) -> None:
        """Ends reading; who waits gets StoreUnavailable."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        for future in (*self._reading.values(), *self._waiting.values()):
            _fail(future, StoreUnavailable("closed"))
        self._reading, self._waiting = {}, {}

    def _is_fresh(self, found: _Known) -> bool:
        return found.era == self._era and self._clock.monotonic() - self._proven(found) <= self._bounds.blind

    def _proven(self, found: _Known) -> float:
        """Until when the record is known to have been right."""
        return max(found.checked, self._seen if found.era == self._era else self._ends.get(found.era, -math.inf))

    def _begin_era(self) -> None:
        # Many changes at once are told many times: an era that nothing was read in needs no end.
        if self._is_empty_era:
            return
        self._ends[self._era] = self._seen
        self._era += 1
        self._is_empty_era = True
        oldest = self._clock.monotonic() - self._bounds.stale
        self._ends = {era: end for era, end in self._ends.items() if end >= oldest}

    def _may_go_on(self, key_id: str) -> bool:
        found = self._known.get(key_id)
        return found is not None and self._clock.monotonic() - self._proven(found) <= self._bounds.stale

    def _stale(self, key_id: str, error: StoreUnavailable) -> KeyRecord:
        if not self._may_go_on(key_id):
            raise StoreUnavailable(error.cause)
        self._known.move_to_end(key_id)
        return self._known[key_id].record

    def _may_retry(self) -> bool:
        """One request finds out whether the store is back, now and then; known keys do not even wait for that."""
        now = self._clock.monotonic()
        if now < self._retry_at:
            return False
        self._retry_at = now + self._bounds.retry
        return True

    def _read(self, key_id: str) -> asyncio.Future[KeyRecord | None]:
        future = self._reading.get(key_id) or self._waiting.get(key_id)
        if future is None:
            future = asyncio.get_running_loop().create_future()
            # Who asked may be gone when the answer comes.
            future.add_done_callback(_look_at)
            self._waiting[key_id] = future
        if self._reader is None or self._reader.done():
            self._reader = asyncio.get_running_loop().create_task(self._run(), name="keys: read")
        return future

    async def _run(self) -> None:
        """Reads what is waited for, all at once: under load the requests of one turn share one command."""
        while self._waiting:
            for key_id in list(self._waiting)[:_BATCH]:
                self._reading[key_id] = self._waiting.pop(key_id)
            # What is read is right for this moment, not for the later one when it has come.
            at = self._clock.monotonic()
            try:
                found = await self._fetch(list(self._reading))
            except StoreUnavailable as error:
                self._down, self._retry_at = error, self._clock.monotonic() + self._bounds.retry
                for future in (*self._reading.values(), *self._waiting.values()):
                    _fail(future, error)
                self._reading, self._waiting = {}, {}
                return
            except Exception as error:  # noqa: BLE001 - those who wait must not do so for ever
                for future in self._reading.values():
                    _fail(future, StoreUnavailable(type(error).__name__))
                self._reading = {}
                continue
            self._down = None
            reading, self._reading = self._reading, {}
            for key_id, future in reading.items():
                self._learn(key_id, future, found.get(key_id), at)

    def _learn(
        self,
        key_id: str,
        future: asyncio.Future[KeyRecord | None],
        found: KeyRecord | DamagedRecord | None,
        at: float,
    ) -> None:
        if isinstance(found, KeyRecord):
            self._known[key_id] = _Known(record=found, checked=at, era=self._era)
            self._is_empty_era = False
            self._known.move_to_end(key_id)
            if len(self._known) > self._bounds.known_keys:
                self._known.popitem(last=False)
            future.set_result(found)
            return
        self._known.pop(key_id, None)
        if found is None:
            future.set_result(None)
        else:
            future.set_exception(found)

    def _forget_reading(self, key_id: str) -> None:
        """What is being read may be what was there before the change: it must not be learnt."""
        future = self._reading.pop(key_id, None)
        if future is not None:
            _fail(future, _Outdated())


class _Outdated(Exception):
    """The key changed while it was read."""


def _fail(future: asyncio.Future[KeyRecord | None], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


def _look_at(future: asyncio.Future[KeyRecord | None]) -> None:
    if not future.cancelled():
        future.exception()
