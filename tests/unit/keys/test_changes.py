from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from apostille.base.clock import SystemClock
from apostille.keys.changes import Blind, Changed, Event, Missed, Seeing
from apostille.keys.store import KeyStore
from tests.unit.credentials.stand_ins import START
from tests.unit.keys.valkey import Server, make_record

INTERVAL = 0.05
PATIENCE = 20.0


class Feed:
    def __init__(self, events: AsyncIterator[Event]) -> None:
        self._events = events

    async def next(self) -> Event:
        async with asyncio.timeout(PATIENCE):
            return await anext(self._events)

    async def until(self, kind: type[Event]) -> Event:
        while True:
            event = await self.next()
            if isinstance(event, kind):
                return event

    async def next_but_sight(self) -> Event:
        while True:
            event = await self.next()
            if not isinstance(event, Seeing):
                return event


@asynccontextmanager
async def feed(store: KeyStore) -> AsyncIterator[Feed]:
    events = store.follow(interval=INTERVAL)
    try:
        yield Feed(events)
    finally:
        await events.aclose()  # type: ignore[attr-defined]


async def test_the_feed_begins_by_saying_that_it_has_seen_nothing_yet(server: Server) -> None:
    async with server.opened() as store, feed(store) as changes:
        before = SystemClock().monotonic()
        assert await changes.next() == Missed()
        sight = await changes.next()
        assert isinstance(sight, Seeing)
        assert before <= sight.at <= SystemClock().monotonic()


async def test_each_change_is_told_with_its_id(server: Server) -> None:
    async with server.opened() as store, feed(store) as changes:
        await changes.until(Seeing)
        stored = await store.put(make_record())
        assert await changes.next_but_sight() == Changed(id=stored.id)
        later = make_record()
        await store.rotate(stored, later, START)
        assert [await changes.next_but_sight() for _ in range(2)] == [Changed(id=stored.id), Changed(id=later.id)]
        await store.revoke(later.id)
        await store.delete(stored.id)
        assert [await changes.next_but_sight() for _ in range(2)] == [Changed(id=later.id), Changed(id=stored.id)]
        await store.touch({later.id: START})
        await store.load([make_record(), make_record()])
        assert await changes.next_but_sight() == Missed()


async def test_sight_is_confirmed_again_and_again(server: Server) -> None:
    async with server.opened() as store, feed(store) as changes:
        sights = [await changes.until(Seeing) for _ in range(4)]
        times = [sight.at for sight in sights if isinstance(sight, Seeing)]
        assert times == sorted(set(times))


async def test_a_gap_in_the_numbers_is_a_missed_message(server: Server) -> None:
    async with server.opened() as store, server.raw() as raw, feed(store) as changes:
        await changes.until(Seeing)
        record = make_record()
        await raw.command("INCRBY", "apo:version", 3)
        await raw.command("PUBLISH", "apo:changes", f"3 {record.id}")
        assert await changes.next_but_sight() == Missed()
        await changes.until(Seeing)
        await store.put(record)
        assert await changes.next_but_sight() == Changed(id=record.id)


async def test_a_message_that_never_comes_is_missed_by_the_version(server: Server) -> None:
    async with server.opened() as store, server.raw() as raw, feed(store) as changes:
        await changes.until(Seeing)
        await raw.command("INCR", "apo:version")
        assert await changes.next_but_sight() == Missed()
        # It has subscribed anew.
        await changes.until(Seeing)
        stored = await store.put(make_record())
        assert await changes.next_but_sight() == Changed(id=stored.id)


async def test_a_store_that_went_back_in_time_is_noticed(server: Server) -> None:
    async with server.opened() as store, server.raw() as raw, feed(store) as changes:
        await raw.command("SET", "apo:version", 10)
        await changes.until(Seeing)
        await raw.command("SET", "apo:version", 7)
        assert await changes.next_but_sight() == Missed()


async def test_what_somebody_else_says_on_the_channel_is_not_believed(server: Server) -> None:
    async with server.opened() as store, server.raw() as raw, feed(store) as changes:
        await changes.until(Seeing)
        for said in ("", "x", "1", "١ " + "a" * 12, "1 apo:version", b"\xff\x00"):
            await raw.command("PUBLISH", "apo:changes", said)
            assert await changes.next_but_sight() == Missed()
        stored = await store.put(make_record())
        assert await changes.next_but_sight() == Changed(id=stored.id)


async def test_a_follower_is_blind_while_the_store_is_down_and_sees_again_after(server: Server) -> None:
    async with server.opened() as store, feed(store) as changes:
        await changes.until(Seeing)
        server.kill()
        blind = await changes.next_but_sight()
        assert isinstance(blind, Blind)
        assert isinstance(await changes.next_but_sight(), Blind)
        server.start()
        await changes.until(Seeing)
        stored = await store.put(make_record())
        assert await changes.next_but_sight() == Changed(id=stored.id)


async def test_what_changed_while_blind_is_missed(server: Server) -> None:
    async with server.opened() as store, feed(store) as changes:
        stored = await store.put(make_record())
        await changes.until(Seeing)
        server.kill()
        assert isinstance(await changes.next_but_sight(), Blind)
        server.start()
        # Another client of the same store: the feed may be back before or after it.
        async with server.opened() as other:
            await other.revoke(stored.id)
        while isinstance(event := await changes.next_but_sight(), Blind):
            pass
        assert event in (Missed(), Changed(id=stored.id))


async def test_two_followers_are_told_the_same(server: Server) -> None:
    async with server.opened() as store, feed(store) as one, feed(store) as two:
        await one.until(Seeing)
        await two.until(Seeing)
        stored = await store.put(make_record())
        assert await one.next_but_sight() == await two.next_but_sight() == Changed(id=stored.id)
