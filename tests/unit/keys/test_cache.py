from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace

import pytest

from apostille.keys.cache import CacheBounds, KeyCache
from apostille.keys.changes import Blind, Changed, Missed, Seeing
from apostille.keys.errors import DamagedRecord, StoreUnavailable
from apostille.keys.format import is_id
from apostille.keys.record import KeyRecord, State
from apostille.keys.store import KeyStore
from tests.unit.credentials.stand_ins import FakeClock
from tests.unit.keys.valkey import Server, make_key, make_record

BOUNDS = CacheBounds(known_keys=3, stale=100.0, blind=5.0, retry=1.0)


class Watched:
    """A real store, of which the test sees what it is asked, and may hold an answer back."""

    def __init__(self, store: KeyStore) -> None:
        self.store = store
        self.asked: list[tuple[str, ...]] = []
        self.answers = asyncio.Event()
        self.answers.set()
        self.answered = asyncio.Semaphore(0)

    async def __call__(self, ids: Sequence[str]) -> Mapping[str, KeyRecord | DamagedRecord]:
        self.asked.append(tuple(ids))
        try:
            found = await self.store.get_many(ids)
        finally:
            self.answered.release()
        await self.answers.wait()
        return found


@pytest.fixture
async def watched(server: Server) -> AsyncIterator[Watched]:
    async with server.opened() as store:
        yield Watched(store)


@pytest.fixture
async def cache(watched: Watched, clock: FakeClock) -> AsyncIterator[KeyCache]:
    cache = KeyCache(watched, clock, BOUNDS)
    cache.apply(Missed())
    cache.apply(Seeing(at=clock.monotonic()))
    yield cache
    await cache.close()


async def test_a_known_key_is_read_once(cache: KeyCache, watched: Watched) -> None:
    stored = await watched.store.put(make_record())
    assert cache.peek(stored.id) is None
    for _ in range(3):
        assert await cache.get(stored.id) == stored
    assert cache.peek(stored.id) == stored
    assert watched.asked == [(stored.id,)]


async def test_those_who_ask_at_once_share_one_question(cache: KeyCache, watched: Watched) -> None:
    stored = [await watched.store.put(make_record()) for _ in range(3)]
    found = await asyncio.gather(*(cache.get(record.id) for record in stored * 10))
    assert found == stored * 10
    assert watched.asked == [tuple(record.id for record in stored)]


async def test_each_question_in_vain_is_one_of_its_own(cache: KeyCache, watched: Watched) -> None:
    await asyncio.gather(cache.miss(), cache.miss(), cache.miss())
    await cache.miss()
    asked = [key_id for ids in watched.asked for key_id in ids]
    assert len(set(asked)) == len(asked) == 4
    assert all(is_id(each) for each in asked)
    assert len(cache) == 0


async def test_a_question_in_vain_finds_out_that_the_store_is_down_and_that_it_is_back(
    cache: KeyCache, watched: Watched, server: Server, clock: FakeClock
) -> None:
    server.kill()
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await cache.miss()
    server.start()
    clock.advance(1.0)
    await cache.miss()


async def test_while_changes_are_seen_a_key_needs_no_second_look(
    cache: KeyCache, watched: Watched, clock: FakeClock
) -> None:
    stored = await watched.store.put(make_record())
    for _ in range(100):
        assert await cache.get(stored.id) == stored
        clock.advance(4.0)
        cache.apply(Seeing(at=clock.monotonic()))
    assert len(watched.asked) == 1


async def test_a_change_drops_the_key_at_once(cache: KeyCache, watched: Watched) -> None:
    stored = await watched.store.put(make_record())
    await cache.get(stored.id)
    revoked = await watched.store.revoke(stored.id)
    cache.apply(Changed(id=stored.id))
    assert cache.peek(stored.id) is None
    assert await cache.get(stored.id) == revoked


async def test_what_was_read_before_the_change_is_not_learnt_after_it(cache: KeyCache, watched: Watched) -> None:
    stored = await watched.store.put(make_record())
    for event in (Changed(id=stored.id), Missed()):
        watched.answers.clear()
        asking = asyncio.create_task(cache.get(stored.id))
        await watched.answered.acquire()
        changed = await watched.store.replace(stored)
        cache.apply(event)
        watched.answers.set()
        assert await asking == changed
        assert cache.peek(stored.id) == changed
        cache.apply(Changed(id=stored.id))
        stored = changed
        await watched.answered.acquire()


async def test_an_unknown_id_costs_a_question_each_time(cache: KeyCache, watched: Watched) -> None:
    record = make_record()
    for _ in range(3):
        assert await cache.get(record.id) is None
    assert len(watched.asked) == 3
    stored = await watched.store.put(record)
    assert await cache.get(record.id) == stored


@pytest.mark.parametrize("missed", [True, False])
async def test_a_key_that_was_created_is_known_at_once(cache: KeyCache, watched: Watched, missed: bool) -> None:
    record = make_record()
    assert await cache.get(record.id) is None
    stored = await watched.store.put(record)
    cache.apply(Missed() if missed else Changed(id=record.id))
    assert await cache.get(record.id) == stored


async def test_thousands_of_made_up_ids_drive_out_no_key(cache: KeyCache, watched: Watched) -> None:
    stored = [await watched.store.put(make_record()) for _ in range(3)]
    for record in stored:
        await cache.get(record.id)
    for found in await asyncio.gather(*(cache.get(make_key().id) for _ in range(1000))):
        assert found is None
    assert [cache.peek(record.id) for record in stored] == stored
    assert len(cache) == 3


async def test_of_too_many_keys_the_one_that_nobody_asked_for_longest_goes(cache: KeyCache, watched: Watched) -> None:
    stored = [await watched.store.put(make_record()) for _ in range(4)]
    for record in (*stored[:3], stored[0], stored[3]):
        await cache.get(record.id)
    assert len(cache) == 3
    assert [cache.peek(record.id) is not None for record in stored] == [True, False, True, True]


async def test_after_missed_changes_every_key_is_read_again(cache: KeyCache, watched: Watched) -> None:
    stored = await watched.store.put(make_record())
    await cache.get(stored.id)
    revoked = await watched.store.revoke(stored.id)
    cache.apply(Missed())
    assert cache.peek(stored.id) is None
    assert await cache.get(stored.id) == revoked
    assert cache.peek(stored.id) == revoked


async def test_who_is_blind_for_five_seconds_reads_every_key_again(
    cache: KeyCache, watched: Watched, clock: FakeClock
) -> None:
    stored = await watched.store.put(make_record())
    await cache.get(stored.id)
    cache.apply(Blind(cause="ConnectionError"))
    revoked = await watched.store.revoke(stored.id)
    clock.advance(5.0)
    assert not cache.is_blind()
    assert await cache.get(stored.id) == stored
    clock.advance(0.1)
    assert cache.is_blind()
    assert await cache.get(stored.id) == revoked
    clock.advance(4.0)
    await cache.get(stored.id)
    assert len(watched.asked) == 2
    clock.advance(2.0)
    await cache.get(stored.id)
    assert len(watched.asked) == 3


async def test_sight_that_comes_back_without_a_miss_saves_the_reading(
    cache: KeyCache, watched: Watched, clock: FakeClock
) -> None:
    stored = await watched.store.put(make_record())
    await cache.get(stored.id)
    clock.advance(60.0)
    assert cache.peek(stored.id) is None
    cache.apply(Seeing(at=clock.monotonic()))
    assert cache.peek(stored.id) == stored


async def test_without_a_feed_the_cache_takes_itself_for_blind(watched: Watched, clock: FakeClock) -> None:
    cache = KeyCache(watched, clock, BOUNDS)
    assert cache.is_blind()
    stored = await watched.store.put(make_record())
    assert await cache.get(stored.id) == stored
    clock.advance(5.1)
    assert cache.peek(stored.id) is None
    await cache.close()


async def test_while_the_store_is_down_known_keys_go_on_for_their_time(
    cache: KeyCache, watched: Watched, server: Server, clock: FakeClock
) -> None:
    stored = await watched.store.put(make_record())
    await cache.get(stored.id)
    server.kill()
    for _ in range(10):
        clock.advance(10.0)
        assert await cache.get(stored.id) == stored
    clock.advance(0.1)
    with pytest.raises(StoreUnavailable):
        await cache.get(stored.id)


async def test_while_the_store_is_down_an_unknown_key_is_not_called_unknown(
    cache: KeyCache, watched: Watched, server: Server
) -> None:
    unknown = make_key().id
    assert await cache.get(unknown) is None
    server.kill()
    for key_id in (unknown, make_key().id):
        with pytest.raises(StoreUnavailable):
            await cache.get(key_id)


async def test_a_store_that_is_down_is_asked_once_in_a_while_and_known_keys_do_not_wait_for_it(
    cache: KeyCache, watched: Watched, server: Server, clock: FakeClock
) -> None:
    stored = await watched.store.put(make_record())
    await cache.get(stored.id)
    server.kill()
    clock.advance(6.0)
    assert await cache.get(stored.id) == stored
    asked = len(watched.asked)
    for _ in range(20):
        assert await cache.get(stored.id) == stored
    assert len(watched.asked) == asked
    clock.advance(1.0)
    watched.answers.clear()
    while watched.answered.locked() is False:
        await watched.answered.acquire()
    assert await asyncio.wait_for(cache.get(stored.id), 5) == stored
    await watched.answered.acquire()
    assert len(watched.asked) == asked + 1


async def test_a_store_that_is_back_is_used_again(
    cache: KeyCache, watched: Watched, server: Server, clock: FakeClock
) -> None:
    stored = await watched.store.put(make_record())
    server.kill()
    with pytest.raises(StoreUnavailable):
        await cache.get(stored.id)
    server.start()
    with pytest.raises(StoreUnavailable):
        await cache.get(stored.id)
    clock.advance(1.0)
    assert await cache.get(stored.id) == stored


async def test_a_sight_of_the_store_ends_the_waiting(cache: KeyCache, watched: Watched, server: Server) -> None:
    stored = await watched.store.put(make_record())
    server.kill()
    with pytest.raises(StoreUnavailable):
        await cache.get(stored.id)
    server.start()
    cache.apply(Seeing(at=0.0))
    assert await cache.get(stored.id) == stored


async def test_a_key_that_was_revoked_before_the_store_went_down_does_not_go_on(
    cache: KeyCache, watched: Watched, server: Server
) -> None:
    stored = await watched.store.put(make_record())
    await cache.get(stored.id)
    await watched.store.revoke(stored.id)
    cache.apply(Changed(id=stored.id))
    server.kill()
    with pytest.raises(StoreUnavailable):
        await cache.get(stored.id)


async def test_after_missed_changes_a_key_goes_on_from_when_it_was_last_proven(
    cache: KeyCache, watched: Watched, server: Server, clock: FakeClock
) -> None:
    stored = await watched.store.put(make_record())
    await cache.get(stored.id)
    clock.advance(500.0)
    cache.apply(Seeing(at=clock.monotonic()))
    cache.apply(Missed())
    server.kill()
    clock.advance(99.0)
    assert await cache.get(stored.id) == stored
    clock.advance(2.0)
    with pytest.raises(StoreUnavailable):
        await cache.get(stored.id)


async def test_missed_changes_by_the_thousand_are_not_remembered_one_by_one(
    cache: KeyCache, watched: Watched, clock: FakeClock
) -> None:
    stored = await watched.store.put(make_record())
    await cache.get(stored.id)
    for _ in range(10_000):
        cache.apply(Missed())
    assert len(cache._ends) == 1
    for _ in range(20):
        await cache.get(stored.id)
        clock.advance(60.0)
        cache.apply(Seeing(at=clock.monotonic()))
        cache.apply(Missed())
    assert len(cache._ends) <= 3


async def test_a_damaged_record_is_neither_known_nor_unknown(
    cache: KeyCache, watched: Watched, server: Server, clock: FakeClock
) -> None:
    stored = await watched.store.put(make_record())
    await cache.get(stored.id)
    async with server.raw() as raw:
        await raw.command("APPEND", f"apo:k:{stored.id}", "x")
        cache.apply(Changed(id=stored.id))
        for _ in range(3):
            with pytest.raises(DamagedRecord, match=stored.id):
                await cache.get(stored.id)
        assert len(watched.asked) == 4
        await watched.store.delete(stored.id)
    clock.advance(3.0)
    assert await cache.get(stored.id) is None


async def test_who_gives_up_asking_harms_nobody(cache: KeyCache, watched: Watched) -> None:
    stored = await watched.store.put(make_record())
    watched.answers.clear()
    impatient = asyncio.create_task(cache.get(stored.id))
    patient = asyncio.create_task(cache.get(stored.id))
    await watched.answered.acquire()
    impatient.cancel()
    watched.answers.set()
    assert await patient == stored
    with pytest.raises(asyncio.CancelledError):
        await impatient


async def test_closing_tells_those_who_wait(watched: Watched, clock: FakeClock) -> None:
    cache = KeyCache(watched, clock, BOUNDS)
    watched.answers.clear()
    asking = asyncio.create_task(cache.get(make_key().id))
    await watched.answered.acquire()
    await cache.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        await asking


async def test_a_fault_in_reading_leaves_nobody_waiting(clock: FakeClock) -> None:
    async def broken(ids: Sequence[str]) -> Mapping[str, KeyRecord | DamagedRecord]:
        raise RuntimeError("a fault")

    cache = KeyCache(broken, clock, BOUNDS)
    with pytest.raises(StoreUnavailable, match="RuntimeError"):
        await cache.get(make_key().id)
    await cache.close()


async def test_the_cache_of_one_worker_follows_the_changes_of_another(server: Server, clock: FakeClock) -> None:
    async with server.opened() as store, server.opened() as other:
        stored = await other.put(make_record())
        cache = KeyCache(store.get_many, clock, replace(BOUNDS, blind=1e9))
        following = store.follow(interval=0.05)
        async with asyncio.timeout(20):
            while not isinstance(event := await anext(following), Seeing):
                cache.apply(event)
            assert await cache.get(stored.id) == stored
            await other.revoke(stored.id)
            while not isinstance(event := await anext(following), Changed):
                cache.apply(event)
            cache.apply(event)
        found = await cache.get(stored.id)
        assert found is not None
        assert found.state is State.REVOKED
        await following.aclose()  # type: ignore[attr-defined]
        await cache.close()
