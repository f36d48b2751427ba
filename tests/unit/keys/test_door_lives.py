"""Lives of keys as a worker sees them: whatever is done to keys and store, its door says what a simple model says."""

from __future__ import annotations

import asyncio
import secrets
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    multiple,
    precondition,
    rule,
)

from apostille.keys.cache import KeyCache
from apostille.keys.changes import Seeing
from apostille.keys.connection import StoreConnection
from apostille.keys.desk import KeyDesk
from apostille.keys.door import KeyDoor
from apostille.keys.errors import KeyNotActive, KeyNotFound
from apostille.keys.fingerprint import PepperCheck
from apostille.keys.format import KeyParts, new_key, parse_key
from apostille.keys.limiter import Limiter
from apostille.keys.orders import Issued, Order
from apostille.keys.outcome import Holder, Why
from apostille.keys.settings import PepperSource
from apostille.keys.store import KeyStore
from apostille.model.scopes import NOTHING, Asked
from tests.unit.credentials.stand_ins import FakeClock
from tests.unit.keys.valkey import PEPPER, Server, make_key, server_in

SECONDS = st.integers(0, 100).map(lambda seconds: timedelta(seconds=seconds))
ASKED = Asked(method="GET", host="api.example.com", path="/orders")
# Of real seconds, between looks of the feed at the version.
_INTERVAL = 0.005
_T = TypeVar("_T")


@dataclass
class Life:
    """`shown`: whether the worker has read the key since it was last changed."""

    parts: KeyParts
    created: datetime
    not_before: datetime | None
    expires: datetime | None
    revoked: bool = False
    replaced: bool = False
    exists: bool = True
    shown: bool = False

    def is_good(self, now: datetime) -> bool:
        begun = self.not_before is None or now >= self.not_before
        return self.exists and not self.revoked and begun and (self.expires is None or now < self.expires)


class Worker:
    """A door and its feed, as `opening` puts them together, with a clock that stands still."""

    def __init__(self, server: Server, clock: FakeClock) -> None:
        self._connection = StoreConnection(server.embedded.address)
        self._store = KeyStore(self._connection, clock)
        self._cache = KeyCache(self._store.get_many, clock)
        self._limiter = Limiter(self._connection, clock, store_now=lambda: clock.now().timestamp())
        pepper = PepperCheck(self._connection, PepperSource(PEPPER))
        self.door = KeyDoor(
            cache=self._cache, pepper=pepper, limiter=self._limiter, used=lambda _key, _at: None, clock=clock
        )
        self._seen = asyncio.Condition()
        self._sights = 0
        self._following = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        async for event in self._store.follow(interval=_INTERVAL):
            self._cache.apply(event)
            if isinstance(event, Seeing):
                async with self._seen:
                    self._sights += 1
                    self._seen.notify_all()

    async def catch_up(self) -> None:
        """Until nothing that has changed before now is untold: the next sight may have begun earlier."""
        async with self._seen:
            wanted = self._sights + 2
            await asyncio.wait_for(self._seen.wait_for(lambda: self._sights >= wanted), 10.0)

    async def close(self) -> None:
        self._following.cancel()
        await asyncio.gather(self._following, return_exceptions=True)
        await self._limiter.close()
        await self._cache.close()
        await self._connection.close()


class Lives(RuleBasedStateMachine):
    keys: Bundle[KeyParts] = Bundle("keys")

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(prefix="ap-")
        self._server = server_in(Path(self._folder.name))
        self._server.start()
        self._is_up = True
        self._runner = asyncio.Runner()
        self._clock = FakeClock()
        self._lives: dict[str, Life] = {}
        self._worker = self._runner.run(self._start())

    async def _start(self) -> Worker:
        worker = Worker(self._server, self._clock)
        await worker.catch_up()
        return worker

    def teardown(self) -> None:
        self._runner.run(self._worker.close())
        self._runner.close()
        self._server.kill()
        self._folder.cleanup()

    @precondition(lambda self: self._is_up)
    @rule(target=keys, begins=st.none() | SECONDS, lasts=st.none() | SECONDS)
    def create(self, begins: timedelta | None, lasts: timedelta | None) -> KeyParts | MultipleResults[KeyParts]:
        now = self._clock.now()
        not_before, expires = (None if each is None else now + each for each in (begins, lasts))
        order = Order(consumer="alice", not_before=not_before, expires=expires)
        try:
            issued = self._do(lambda desk: desk.create(order, actor="test"))
        except ValueError:
            assert expires is not None
            assert expires <= max(now, not_before or now)
            return multiple()
        return self._begin(issued, not_before, expires)

    @precondition(lambda self: self._is_up)
    @rule(target=keys, parts=keys, grace=SECONDS)
    def rotate(self, parts: KeyParts, grace: timedelta) -> KeyParts | MultipleResults[KeyParts]:
        life, now = self._lives[parts.id], self._clock.now()
        try:
            issued = self._do(lambda desk: desk.rotate(parts.id, grace, actor="test"))
        except KeyNotFound:
            assert not life.exists
            return multiple()
        except KeyNotActive:
            assert life.revoked or life.replaced
            return multiple()
        assert life.exists
        assert not life.revoked
        assert not life.replaced
        expires = None if life.expires is None else now + (life.expires - life.created)
        life.expires = now + grace if life.expires is None else min(life.expires, now + grace)
        life.replaced, life.shown = True, False
        return self._begin(issued, life.not_before, expires)

    @precondition(lambda self: self._is_up)
    @rule(parts=keys)
    def revoke(self, parts: KeyParts) -> None:
        life = self._lives[parts.id]
        # What is revoked already is not changed again.
        life.shown = life.shown and life.revoked
        self._do(lambda desk: desk.revoke(parts.id, actor="test"))
        life.revoked = True

    @precondition(lambda self: self._is_up)
    @rule(parts=consumes(keys))
    def delete(self, parts: KeyParts) -> None:
        self._do(lambda desk: desk.delete(parts.id, actor="test"))
        life = self._lives[parts.id]
        life.exists = life.shown = False
        self._show(life)

    @rule(passing=SECONDS)
    def time_passes(self, passing: timedelta) -> None:
        self._clock.advance(passing.total_seconds())

    @precondition(lambda self: self._is_up)
    @rule()
    def kill(self) -> None:
        self._server.kill()
        self._is_up = False

    @precondition(lambda self: not self._is_up)
    @rule()
    def start(self) -> None:
        self._server.start()
        self._is_up = True
        self._runner.run(self._worker.catch_up())

    @rule(parts=keys)
    def show(self, parts: KeyParts) -> None:
        self._show(self._lives[parts.id])

    @rule()
    def show_each(self) -> None:
        for life in self._lives.values():
            self._show(life)

    @rule(parts=keys)
    def show_another_secret(self, parts: KeyParts) -> None:
        digits = bytes(map("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz".index, parts.id))
        forged = new_key(parts.env, lambda count: (digits + secrets.token_bytes(count))[:count])
        assert forged.id == parts.id
        assert self._open(forged.key.reveal()) is (Why.UNKNOWN if self._is_up else Why.UNAVAILABLE)
        life = self._lives[parts.id]
        life.shown = life.shown or (life.exists and self._is_up)

    @rule()
    def show_an_unknown_key(self) -> None:
        assert self._open(make_key().key.reveal()) is (Why.UNKNOWN if self._is_up else Why.UNAVAILABLE)

    def _begin(self, issued: Issued, not_before: datetime | None, expires: datetime | None) -> KeyParts:
        parts = parse_key(issued.key.reveal())
        assert parts is not None
        self._lives[parts.id] = Life(parts, self._clock.now(), not_before, expires)
        return parts

    def _show(self, life: Life) -> None:
        life.shown = life.shown or (life.exists and self._is_up)
        if not self._is_up and not life.shown:
            expected: Why | None = Why.UNAVAILABLE
        else:
            expected = None if life.is_good(self._clock.now()) else Why.UNKNOWN
        assert self._open(life.parts.key.reveal()) is expected

    def _open(self, key: str) -> Why | None:
        answer = self._runner.run(self._worker.door.open(key, ASKED, NOTHING))
        return None if isinstance(answer, Holder) else answer.why

    def _do(self, deed: Callable[[KeyDesk], Awaitable[_T]]) -> _T:
        async def do() -> _T:
            # Connections of its own: another process does it.
            async with self._server.opened() as store:
                desk = KeyDesk(store, PepperSource(PEPPER), self._clock, secrets.token_bytes, lambda _line: None)
                done = await deed(desk)
            await self._worker.catch_up()
            return done

        return self._runner.run(do())


TestDoorLives = Lives.TestCase
TestDoorLives.settings = settings(max_examples=15, stateful_step_count=25)
