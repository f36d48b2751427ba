"""Lives of keys: whatever is done to them, in any order, the store says what a simple model says."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from apostille.keys.errors import KeyNotActive, KeyNotFound
from apostille.keys.format import KeyParts
from apostille.keys.record import KeyRecord, Verdict, judge
from apostille.keys.store import KeyStore
from tests.unit.credentials.stand_ins import FakeClock
from tests.unit.keys.valkey import PEPPER, make_key, make_record, server_in, verify

SECONDS = st.integers(0, 100).map(lambda seconds: timedelta(seconds=seconds))


@dataclass
class Life:
    not_before: datetime | None = None
    expires: datetime | None = None
    revoked: bool = False
    successor: str | None = None
    last_used: datetime | None = None
    exists: bool = True

    def verdict(self, now: datetime) -> Verdict:
        if not self.exists:
            return Verdict.WRONG_SECRET
        if self.revoked:
            return Verdict.REVOKED
        if self.not_before is not None and now < self.not_before:
            return Verdict.NOT_YET_VALID
        if self.expires is not None and now >= self.expires:
            return Verdict.EXPIRED
        return Verdict.ACCEPTED


class Lives(RuleBasedStateMachine):
    keys: Bundle[KeyParts] = Bundle("keys")

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(prefix="ap-")
        self._server = server_in(Path(self._folder.name))
        self._server.start()
        self._runner = asyncio.Runner()
        self._clock = FakeClock()
        self._store: KeyStore = self._server.store()
        self._lives: dict[str, tuple[KeyParts, Life]] = {}

    def teardown(self) -> None:
        self._runner.run(self._store.close())
        self._runner.close()
        self._server.kill()
        self._folder.cleanup()

    @rule(target=keys, begins=st.none() | SECONDS, lasts=st.none() | SECONDS)
    def create(self, begins: timedelta | None, lasts: timedelta | None) -> KeyParts:
        now, parts = self._clock.now(), make_key()
        life = Life(not_before=None if begins is None else now + begins, expires=None if lasts is None else now + lasts)
        record = make_record(parts, not_before=life.not_before, expires=life.expires)
        self._runner.run(self._store.put(record))
        self._lives[parts.id] = parts, life
        return parts

    @rule(target=keys, parts=keys, grace=SECONDS)
    def rotate(self, parts: KeyParts, grace: timedelta) -> KeyParts:
        life, later, until = self._lives[parts.id][1], make_key(), self._clock.now() + grace
        self._lives[later.id] = later, Life(exists=False)
        record = self._runner.run(self._store.get(parts.id))
        assert (record is not None) is life.exists
        if record is None:
            return later
        try:
            self._runner.run(self._store.rotate(record, make_record(later), until))
        except KeyNotActive:
            assert life.revoked or life.successor is not None
            return later
        assert not life.revoked
        assert life.successor is None
        life.successor = later.id
        life.expires = until if life.expires is None else min(life.expires, until)
        self._lives[later.id] = later, Life()
        return later

    @rule(parts=keys)
    def revoke(self, parts: KeyParts) -> None:
        life = self._lives[parts.id][1]
        try:
            self._runner.run(self._store.revoke(parts.id))
        except KeyNotFound:
            assert not life.exists
        else:
            assert life.exists
            life.revoked = True

    @rule(parts=consumes(keys))
    def delete(self, parts: KeyParts) -> None:
        life = self._lives[parts.id][1]
        assert self._runner.run(self._store.delete(parts.id)) is life.exists
        self._lives[parts.id] = parts, Life(exists=False)

    @rule(parts=keys)
    def use(self, parts: KeyParts) -> None:
        self._runner.run(self._store.touch({parts.id: self._clock.now()}))
        self._lives[parts.id][1].last_used = self._clock.now()

    @rule(passing=SECONDS)
    def time_passes(self, passing: timedelta) -> None:
        self._clock.advance(passing.total_seconds())

    @rule(gently=st.booleans())
    def restart(self, gently: bool) -> None:
        if gently:
            self._server.stop()
        else:
            self._server.kill()
        self._server.start()
        # A client that lived on may find its connection dead, and says so for a change: that is tested elsewhere.
        self._runner.run(self._store.close())
        self._store = self._server.store()

    @invariant()
    def the_store_says_what_the_model_says(self) -> None:
        found = self._runner.run(self._store.get_many(list(self._lives)))
        assert {key_id: self._verdict(found, parts) for key_id, (parts, _) in self._lives.items()} == {
            key_id: life.verdict(self._clock.now()) for key_id, (_, life) in self._lives.items()
        }
        page = self._runner.run(self._store.page(limit=1000))
        assert page.cursor is None
        assert {record.id: (record.last_used, record.successor) for record in page.records} == {
            key_id: (life.last_used, life.successor) for key_id, (_, life) in self._lives.items() if life.exists
        }

    def _verdict(self, found: object, parts: KeyParts) -> Verdict:
        assert isinstance(found, dict)
        record = found.get(parts.id)
        if record is None:
            return judge(None, PEPPER.digest(parts.key), self._clock.now())
        assert isinstance(record, KeyRecord)
        return verify(record, parts.key, PEPPER, self._clock.now())


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=15, stateful_step_count=20)
