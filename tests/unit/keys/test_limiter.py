"""Limits at a store that answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from apostille.keys.connection import Script, StoreConnection
from apostille.keys.limiter import GRANTED, Granted, Limited, Limiter, subject_of
from apostille.model.limits import UNLIMITED, Limits, Period, Quota, Rate, Share
from tests.unit.credentials.stand_ins import FakeClock
from tests.unit.keys.limits import (
    BOUNDS,
    limiter_at,
    new_subject,
    quota,
    rate,
    refused,
    take_at_once,
    take_many,
    workers,
)
from tests.unit.keys.valkey import Server


class Watched(StoreConnection):
    """A real connection that tells how often it was used, and may hold answers back."""

    def __init__(self, server: Server) -> None:
        super().__init__(server.embedded.address)
        self.asked: list[tuple[str, ...]] = []
        self.answers = asyncio.Event()
        self.answers.set()
        self.answered = asyncio.Semaphore(0)

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[str | bytes | int]) -> object:
        self.asked.append(tuple(keys))
        found = await super().run(script, keys, arguments)
        self.answered.release()
        await self.answers.wait()
        return found


@pytest.fixture
async def watched(shared_server: Server) -> AsyncIterator[Watched]:
    connection = Watched(shared_server)
    yield connection
    await connection.close()


@pytest.fixture
async def limiter(watched: Watched, clock: FakeClock) -> AsyncIterator[Limiter]:
    limiter = limiter_at(watched, clock)
    yield limiter
    await limiter.close()


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_bucket_gives_its_burst_at_once_and_then_what_is_refilled(
    limiter: Limiter, clock: FakeClock, at_once: bool
) -> None:
    subject, limits = new_subject(), rate(10, 25)
    take = take_at_once if at_once else take_many
    assert await take(limiter, subject, limits, 40) == 25
    clock.advance(0.05)
    assert await take(limiter, subject, limits, 5) == 0
    clock.advance(0.06)
    assert await take(limiter, subject, limits, 5) == 1
    clock.advance(1.0)
    assert await take(limiter, subject, limits, 50) == 10
    clock.advance(1e6)
    assert await take(limiter, subject, limits, 50) == 25


async def test_a_slow_bucket_and_a_fast_one(limiter: Limiter, clock: FakeClock) -> None:
    slow, fast = new_subject(), new_subject()
    assert await take_many(limiter, slow, rate(1 / 60, 1), 3) == 1
    assert await take_at_once(limiter, fast, rate(1e6, 20_000), 20_001) == 20_000
    clock.advance(59)
    assert await take_many(limiter, slow, rate(1 / 60, 1), 3) == 0
    clock.advance(1)
    assert await take_many(limiter, slow, rate(1 / 60, 1), 3) == 1


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("requests", [1, 2, 17, 1000])
async def test_a_quota_ends_exactly(limiter: Limiter, clock: FakeClock, requests: int, at_once: bool) -> None:
    subject, limits = new_subject(), quota(requests)
    take = take_at_once if at_once else take_many
    assert await take(limiter, subject, limits, requests) == requests
    assert await take(limiter, subject, limits, 10) == 0
    clock.advance(5)
    assert await take(limiter, subject, limits, 10) == 0


@pytest.mark.parametrize("number", [2, 3])
async def test_workers_together_admit_a_quota_and_no_more(shared_server: Server, clock: FakeClock, number: int) -> None:
    subject, limits = new_subject(), quota(1000, Period.MONTH)
    async with workers(shared_server, clock, number) as limiters:
        admitted = sum(await asyncio.gather(*(take_many(each, subject, limits, 1500) for each in limiters)))
        assert 800 <= admitted <= 1000
        # What one of them held comes back when its lease is over.
        for _ in range(5):
            clock.advance(31)
            for each in limiters:
                await each.tidy()
                admitted += await take_many(each, subject, limits, 100)
        assert admitted == 1000


async def test_closing_gives_back_what_was_not_used(shared_server: Server, clock: FakeClock) -> None:
    subject, limits = new_subject(), quota(500)
    admitted = 0
    for _ in range(20):
        async with workers(shared_server, clock) as (limiter,):
            admitted += await take_many(limiter, subject, limits, 10)
    async with workers(shared_server, clock) as (limiter,):
        assert admitted == 200
        assert await take_many(limiter, subject, limits, 400) == 300


async def test_a_hot_subject_needs_the_store_for_few_of_its_requests(
    limiter: Limiter, watched: Watched, clock: FakeClock
) -> None:
    subject = new_subject()
    limits = Limits(rate=Rate(per_second=1000, burst=2000), quotas=(Quota(requests=10**6, period=Period.DAY),))
    waited = 0
    for _ in range(10_000):
        clock.advance(0.002)
        if limiter.take_now(subject, limits) is None:
            waited += 1
            assert await limiter.take(subject, limits) is GRANTED
        # An answer comes within the time of a few requests.
        await limiter._answered()
    assert len(watched.asked) <= 60
    assert waited <= 5


async def test_a_subject_that_comes_now_and_then_needs_the_store_now_and_then(
    limiter: Limiter, watched: Watched, clock: FakeClock
) -> None:
    subject, limits = new_subject(), quota(10_000)
    for _ in range(100):
        clock.advance(1.0)
        assert await limiter.take(subject, limits) is GRANTED
    assert len(watched.asked) <= 20


async def test_those_who_ask_at_once_share_one_round_trip(limiter: Limiter, watched: Watched) -> None:
    subjects, limits = [new_subject() for _ in range(50)], quota(100)
    taken = await asyncio.gather(*(limiter.take(subject, limits) for subject in subjects * 10))
    assert taken == [GRANTED] * 500
    assert [sorted(asked) for asked in watched.asked] == [[f"apo:l:{subject}" for subject in subjects]]


async def test_those_who_come_while_the_store_is_asked_are_served_too(limiter: Limiter, watched: Watched) -> None:
    subject, limits = new_subject(), quota(3)
    watched.answers.clear()
    first = asyncio.create_task(limiter.take(subject, limits))
    await watched.answered.acquire()
    others = [asyncio.create_task(limiter.take(subject, limits)) for _ in range(5)]
    watched.answers.set()
    assert await first is GRANTED
    assert sorted(isinstance(each, Granted) for each in await asyncio.gather(*others)) == [False] * 3 + [True] * 2
    assert len(watched.asked) == 2


async def test_who_gives_up_waiting_takes_nothing(limiter: Limiter, watched: Watched) -> None:
    subject, limits = new_subject(), quota(2)
    watched.answers.clear()
    tasks = [asyncio.create_task(limiter.take(subject, limits)) for _ in range(3)]
    await watched.answered.acquire()
    tasks[0].cancel()
    await asyncio.gather(tasks[0], return_exceptions=True)
    watched.answers.set()
    assert await asyncio.gather(*tasks[1:]) == [GRANTED, GRANTED]
    assert isinstance(await limiter.take(subject, limits), Limited)


async def test_a_refusal_needs_no_store(limiter: Limiter, watched: Watched, clock: FakeClock) -> None:
    subject, limits = new_subject(), quota(5)
    await take_many(limiter, subject, limits, 5)
    asked = len(watched.asked)
    assert await take_many(limiter, subject, limits, 1000) == 0
    assert len(watched.asked) == asked
    clock.advance(1.0)
    assert await take_many(limiter, subject, limits, 1000) == 0
    assert len(watched.asked) == asked + 1


async def test_a_refused_request_is_charged_to_no_limit(limiter: Limiter, clock: FakeClock) -> None:
    subject = new_subject()
    limits = Limits(rate=Rate(per_second=1, burst=2), quotas=(Quota(requests=4, period=Period.DAY),))
    for _ in range(2):
        assert await take_many(limiter, subject, limits, 10) == 2
        clock.advance(10)
    assert await take_many(limiter, subject, limits, 10) == 0


BORDERS = [
    (Period.HOUR, "2026-05-01T12:59:59+00:00", 1),
    (Period.DAY, "2026-05-01T23:59:59+00:00", 1),
    (Period.DAY, "2026-12-31T23:59:59+00:00", 1),
    (Period.MONTH, "2026-04-30T23:59:59+00:00", 1),
    (Period.MONTH, "2026-12-31T23:59:59+00:00", 1),
    (Period.MONTH, "2027-02-28T23:59:59+00:00", 1),
    (Period.MONTH, "2028-02-28T23:59:59+00:00", 86401),
    (Period.MONTH, "2028-02-29T23:59:59+00:00", 1),
    (Period.MONTH, "2100-02-28T23:59:59+00:00", 1),
    (Period.MONTH, "2000-02-28T23:59:59+00:00", 86401),
]


@pytest.mark.parametrize(("period", "before", "seconds"), BORDERS)
async def test_a_period_ends_with_the_calendar(
    limiter: Limiter, clock: FakeClock, period: Period, before: str, seconds: int
) -> None:
    subject, limits = new_subject(), quota(50, period)
    clock.moment = datetime.fromisoformat(before)
    assert await take_many(limiter, subject, limits, 60) == 50
    limited = await refused(limiter, subject, limits)
    assert limited.retry_after == seconds
    clock.advance(seconds - 0.5)
    assert await take_many(limiter, subject, limits, 10) == 0
    clock.advance(0.5)
    assert await take_many(limiter, subject, limits, 60) == 50


async def test_a_lease_ends_with_its_period_and_is_not_given_back_to_the_next(
    shared_server: Server, clock: FakeClock
) -> None:
    subject, limits = new_subject(), quota(1000, Period.HOUR)
    clock.moment = datetime(2026, 5, 1, 12, 59, 58, tzinfo=UTC)
    async with workers(shared_server, clock, 2) as (limiter, other):
        await take_many(limiter, subject, limits, 30)
        assert limiter.take_now(subject, limits) is GRANTED
        clock.advance(2)
        assert limiter.take_now(subject, limits) is None
        assert await take_many(limiter, subject, limits, 300) == 300
        await limiter.close()
        assert await take_many(other, subject, limits, 1000) == 700


async def test_a_lease_is_not_given_back_to_the_next_period_though_the_clock_of_the_store_jumps(
    shared_server: Server, clock: FakeClock
) -> None:
    subject, limits = new_subject(), quota(10_000, Period.HOUR)
    async with workers(shared_server, clock, 2) as (limiter, other):
        await take_many(limiter, subject, limits, 30)
        clock.moment += timedelta(hours=1)
        assert await take_many(other, subject, quota(9000, Period.HOUR), 100) == 100
        # The next lease is of the next period, while the one before is not used up.
        while (holding := limiter._recent[subject]).ahead is None:
            assert limiter.take_now(subject, limits) is GRANTED
            await limiter._answered()
        assert holding.lease.left > 0
        clock.advance(31)
        await limiter.tidy()
        await other.close()
        async with shared_server.raw() as raw:
            assert await raw.ask("HGET", f"apo:l:{subject}", "hour:n") == b"100"


async def test_several_quotas_hold_together(limiter: Limiter, clock: FakeClock) -> None:
    limits = Limits(
        quotas=(
            Quota(requests=10, period=Period.HOUR),
            Quota(requests=15, period=Period.DAY),
            Quota(requests=18, period=Period.MONTH),
        )
    )
    subject = new_subject()
    clock.moment = datetime(2026, 5, 1, 22, 0, tzinfo=UTC)
    admitted = []
    for _ in range(4):
        admitted.append(await take_many(limiter, subject, limits, 20))
        clock.advance(3600)
    assert admitted == [10, 5, 3, 0]


async def test_changed_limits_count_at_the_next_request(limiter: Limiter, clock: FakeClock) -> None:
    subject = new_subject()
    assert await take_many(limiter, subject, quota(10), 20) == 10
    assert await take_many(limiter, subject, quota(30), 40) == 20
    assert await take_many(limiter, subject, quota(5), 5) == 0
    assert await take_many(limiter, subject, UNLIMITED, 5) == 5
    assert await take_many(limiter, subject, quota(31), 5) == 1
    assert await take_many(limiter, subject, rate(1, 7), 10) == 7
    assert await take_many(limiter, subject, rate(1, 10), 10) == 3


async def test_a_limit_that_is_lowered_is_kept_though_a_lease_was_taken_by_the_old_one(limiter: Limiter) -> None:
    subject = new_subject()
    assert await take_many(limiter, subject, quota(10_000), 200) == 200
    assert limiter.take_now(subject, quota(10_000)) is GRANTED
    assert await take_many(limiter, subject, quota(100), 10) == 0


async def test_limits_that_are_equal_need_not_be_the_same_object(limiter: Limiter, watched: Watched) -> None:
    subject = new_subject()
    await take_many(limiter, subject, quota(10_000), 100)
    asked = len(watched.asked)
    for _ in range(3):
        assert limiter.take_now(subject, quota(10_000)) is GRANTED
    assert len(limiter) == 1
    assert len(watched.asked) <= asked + 1


async def test_keys_of_a_consumer_with_different_limits_are_each_held_to_their_own(limiter: Limiter) -> None:
    subject = new_subject()
    admitted = {10: 0, 30: 0}
    for _ in range(40):
        for requests in admitted:
            admitted[requests] += await limiter.take(subject, quota(requests)) is GRANTED
    assert admitted[10] + admitted[30] == 30
    assert 1 <= admitted[10] <= 10


async def test_no_limits_need_no_memory(limiter: Limiter, watched: Watched) -> None:
    for limits in (UNLIMITED, Limits(share=Share.CONSUMER)):
        assert limiter.take_now(new_subject(), limits) is GRANTED
    assert len(limiter) == 0
    assert watched.asked == []


def test_who_counts_together() -> None:
    assert subject_of("abc", "alice", UNLIMITED) == "k:abc"
    assert subject_of("abc", "alice", Limits(share=Share.CONSUMER)) == "c:alice"


HOSTILE = [
    "a b",
    "a\u00a0b",
    "{other}",
    "}{",
    "é",
    "日本語",
    "🙂",
    "*",
    "../../x",
    "a:b",
    "'\"; return 1 --",
    "x" * 10_000,
    "k:000000000000",
]


async def test_consumers_of_any_name_count_apart(limiter: Limiter, watched: Watched) -> None:
    limits = replace(quota(1), share=Share.CONSUMER)
    subjects = [subject_of("id", consumer, limits) for consumer in HOSTILE]
    assert await asyncio.gather(*(limiter.take(subject, limits) for subject in subjects)) == [GRANTED] * len(HOSTILE)
    for subject in subjects:
        assert isinstance(await limiter.take(subject, limits), Limited)
    names = {name for asked in watched.asked for name in asked}
    assert len(names) == len(HOSTILE)
    for name in names:
        assert name.startswith("apo:l")
        assert name.isascii()
        assert name.isprintable()
        assert " " not in name
        assert len(name) <= 90


async def test_a_counter_expires_with_its_periods_and_its_bucket(
    limiter: Limiter, watched: Watched, clock: FakeClock
) -> None:
    day, bucket = new_subject(), new_subject()
    await limiter.take(day, quota(10))
    await limiter.take(bucket, rate(0.5, 10))
    assert 12 * 3600 - 60 < await watched.ask("TTL", f"apo:l:{day}") <= 12 * 3600 + 1
    assert 0 < await watched.ask("PTTL", f"apo:l:{bucket}") <= 2001
    # A key of the same consumer with less to remember does not shorten it.
    await limiter.take(day, rate(0.5, 10))
    assert await watched.ask("TTL", f"apo:l:{day}") > 12 * 3600 - 60


async def test_the_clock_of_the_store_counts_where_none_is_given(watched: Watched) -> None:
    clock = FakeClock(datetime(1999, 1, 1, tzinfo=UTC))
    limiter = Limiter(watched, clock, BOUNDS)
    subject = new_subject()
    assert await take_many(limiter, subject, quota(3, Period.MONTH), 5) == 3
    seconds, _ = await watched.ask("TIME")
    (start,) = await watched.ask("HMGET", f"apo:l:{subject}", "month:s")
    assert datetime.fromtimestamp(int(start), UTC).day == 1
    assert int(start) <= int(seconds) < int(start) + 31 * 86400
    await limiter.close()


async def test_a_clock_that_is_set_back_over_a_border_does_not_begin_the_period_again(
    limiter: Limiter, clock: FakeClock
) -> None:
    subject, limits = new_subject(), quota(10, Period.HOUR)
    clock.moment = datetime(2026, 5, 1, 13, 0, 1, tzinfo=UTC)
    assert await take_many(limiter, subject, limits, 10) == 10
    for _ in range(3):
        clock.moment = datetime(2026, 5, 1, 12, 59, 58, tzinfo=UTC)
        clock.seconds += 10
        assert await take_many(limiter, subject, limits, 5) == 0
        clock.moment = datetime(2026, 5, 1, 13, 0, 2, tzinfo=UTC)
        clock.seconds += 10
        assert await take_many(limiter, subject, limits, 5) == 0


async def test_idle_subjects_are_forgotten_once_they_have_given_back(
    limiter: Limiter, watched: Watched, clock: FakeClock
) -> None:
    subjects, limits = [new_subject() for _ in range(300)], quota(1000)
    for subject in subjects:
        await take_many(limiter, subject, limits, 30)
    assert len(limiter) == 300
    for _ in range(3):
        clock.advance(31)
        await limiter.tidy()
    assert len(limiter) == 0
    assert limiter._recent == {}
    for subject in subjects[::50]:
        assert await watched.ask("HGET", f"apo:l:{subject}", "day:n") == b"30"


async def test_what_is_not_used_is_given_back_by_itself(watched: Watched, clock: FakeClock) -> None:
    limiter = limiter_at(watched, clock, replace(BOUNDS, tidy=0.001))
    subject, limits = new_subject(), quota(1000)
    await take_many(limiter, subject, limits, 30)
    asked = len(watched.asked)
    for _ in range(asked):
        await watched.answered.acquire()
    clock.advance(31)
    async with asyncio.timeout(20):
        await watched.answered.acquire()
    assert await watched.ask("HGET", f"apo:l:{subject}", "day:n") == b"30"
    await limiter.close()


async def test_of_too_many_subjects_those_that_come_no_more_go_and_lose_nothing(
    watched: Watched, clock: FakeClock
) -> None:
    limiter = limiter_at(watched, clock, replace(BOUNDS, subjects=50))
    limits, busy = quota(1000), new_subject()
    subjects = [new_subject() for _ in range(500)]
    for subject in subjects:
        assert await take_many(limiter, subject, limits, 3) == 3
        assert await limiter.take(busy, limits) is GRANTED
        clock.advance(1.0)
    assert len(limiter) == 50
    await limiter.close()
    for subject in subjects[::50]:
        assert await watched.ask("HGET", f"apo:l:{subject}", "day:n") == b"3"
    assert await watched.ask("HGET", f"apo:l:{busy}", "day:n") == b"500"


async def test_a_rate_is_kept_and_reached_by_workers_together(shared_server: Server, clock: FakeClock) -> None:
    subject, limits = new_subject(), rate(100, 100)
    async with workers(shared_server, clock, 4) as limiters:
        begun, admitted = clock.monotonic(), 0
        for _ in range(300):
            clock.advance(0.01)
            for each in limiters:
                admitted += await take_many(each, subject, limits, 2)
        passed = clock.monotonic() - begun
        assert 0.9 * 100 * passed <= admitted <= 100 + 100 * (passed + 1)
