"""Limits while the store is down, hangs or is damaged, and when it is back."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from apostille.base.clock import SystemClock
from apostille.keys.connection import Script, StoreConnection
from apostille.keys.limiter import GRANTED, Limited, Limiter
from apostille.model.limits import Limits, Period, Quota, Rate
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


class Counted(StoreConnection):
    """A real connection; `asked`: how often the store was asked, in vain or not."""

    asked = 0

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[str | bytes | int]) -> object:
        self.asked += 1
        return await super().run(script, keys, arguments)


@pytest.fixture
async def connection(server: Server) -> AsyncIterator[Counted]:
    connection = Counted(server.embedded.address)
    yield connection
    await connection.close()


@pytest.fixture
async def limiter(connection: Counted, clock: FakeClock) -> AsyncIterator[Limiter]:
    limiter = limiter_at(connection, clock)
    yield limiter
    await limiter.close()


async def counted(server: Server, subject: str, period: Period = Period.DAY) -> int:
    async with server.raw() as raw:
        return int(await raw.ask("HGET", f"apo:l:{subject}", f"{period}:n"))


async def recover(limiter: Limiter, clock: FakeClock) -> None:
    """Until everything is told; a client may find once that its connection is dead."""
    for _ in range(3):
        clock.advance(BOUNDS.retry)
        await limiter.tidy()
    assert limiter.trouble is None


@pytest.mark.parametrize("is_killed", [True, False])
async def test_counters_survive_a_restart_of_the_store(server: Server, clock: FakeClock, is_killed: bool) -> None:
    subject, limits = new_subject(), quota(1000)
    bucket = new_subject()
    async with workers(server, clock, 2) as (limiter, other):
        assert await take_many(limiter, subject, limits, 300) == 300
        assert await take_many(other, subject, limits, 100) == 100
        assert await take_many(limiter, bucket, rate(1, 100), 100) == 100
    if is_killed:
        server.kill()
    else:
        # As every installation has it.
        server.stop()
        server.argv = server.embedded.argv
    server.start()
    async with workers(server, clock) as (limiter,):
        assert await take_many(limiter, subject, limits, 1000) == 600
        clock.advance(2)
        assert await take_many(limiter, bucket, rate(1, 100), 100) == 2


async def test_while_the_store_is_down_the_rest_that_is_known_is_admitted_and_charged_later(
    server: Server, limiter: Limiter, clock: FakeClock
) -> None:
    subject, limits = new_subject(), quota(100)
    assert await take_many(limiter, subject, limits, 60) == 60
    server.kill()
    assert await take_many(limiter, subject, limits, 60) == 40
    limited = await refused(limiter, subject, limits)
    assert dict(limited.headers)["ratelimit"] == '"day";r=0;t=43200'
    server.start()
    await recover(limiter, clock)
    assert await counted(server, subject) == 100
    assert await take_many(limiter, subject, limits, 5) == 0


async def test_too_much_is_admitted_as_many_times_as_there_are_workers_at_most(
    server: Server, clock: FakeClock
) -> None:
    subject, limits = new_subject(), quota(100)
    async with workers(server, clock, 3) as limiters:
        server.kill()
        for _ in range(3):
            for each in limiters:
                await take_many(each, subject, limits, 60)
        server.start()
        for each in limiters:
            await recover(each, clock)
        assert await counted(server, subject) == 300
        for each in limiters:
            assert await take_many(each, subject, limits, 5) == 0


async def test_a_bucket_goes_on_alone_and_is_empty_at_worst_when_the_store_is_back(
    server: Server, limiter: Limiter, clock: FakeClock
) -> None:
    subject, limits = new_subject(), rate(1, 10)
    server.kill()
    assert await take_many(limiter, subject, limits, 20) == 10
    for _ in range(100):
        clock.advance(1)
        assert await take_many(limiter, subject, limits, 5) == 1
    assert (await refused(limiter, subject, limits)).retry_after == 1
    server.start()
    await recover(limiter, clock)
    async with workers(server, clock) as (other,):
        # It was empty, and time went on.
        assert await take_many(other, subject, limits, 5) == 1
        clock.advance(3)
        assert await take_many(other, subject, limits, 5) == 3


async def test_a_bucket_that_was_not_used_alone_has_nothing_charged(
    server: Server, limiter: Limiter, clock: FakeClock
) -> None:
    subject, limits = new_subject(), rate(1, 10)
    server.kill()
    assert await take_many(limiter, subject, limits, 4) == 4
    clock.advance(2)
    server.start()
    await recover(limiter, clock)
    async with workers(server, clock) as (other,):
        assert await take_many(other, subject, limits, 20) == 9


async def test_a_period_that_begins_during_an_outage_begins(server: Server, limiter: Limiter, clock: FakeClock) -> None:
    subject, limits = new_subject(), quota(50, Period.HOUR)
    clock.moment = datetime(2026, 5, 1, 12, 59, 0, tzinfo=UTC)
    assert await take_many(limiter, subject, limits, 10) == 10
    server.kill()
    assert await take_many(limiter, subject, limits, 60) == 40
    clock.advance(60)
    assert await take_many(limiter, subject, limits, 20) == 20
    server.start()
    await recover(limiter, clock)
    assert await counted(server, subject, Period.HOUR) == 20


async def test_what_was_taken_alone_in_a_period_that_is_over_is_not_charged_to_the_next(
    server: Server, limiter: Limiter, clock: FakeClock
) -> None:
    subject, limits = new_subject(), quota(50, Period.HOUR)
    server.kill()
    assert await take_many(limiter, subject, limits, 60) == 50
    clock.advance(3600)
    server.start()
    await recover(limiter, clock)
    assert await take_many(limiter, subject, limits, 60) == 50


async def test_buckets_of_many_workers_that_went_on_alone_make_one_empty_bucket(
    server: Server, clock: FakeClock
) -> None:
    subject, limits = new_subject(), rate(1, 10)
    async with workers(server, clock, 3) as limiters:
        server.kill()
        for each in limiters:
            assert await take_many(each, subject, limits, 20) == 10
        server.start()
        for each in limiters:
            await recover(each, clock)
        clock.advance(2)
        assert 2 <= await take_many(limiters[0], subject, limits, 20) <= 7


async def test_a_lease_that_is_over_when_the_store_goes_down_counts_as_not_used(
    server: Server, limiter: Limiter, clock: FakeClock
) -> None:
    subject, limits = new_subject(), quota(1000)
    assert await take_many(limiter, subject, limits, 25) == 25
    server.kill()
    clock.advance(31)
    assert await take_many(limiter, subject, limits, 1100) == 975


async def test_a_wall_clock_that_is_behind_begins_no_period_a_second_time(
    server: Server, connection: Counted, clock: FakeClock
) -> None:
    subject, limits = new_subject(), quota(50, Period.HOUR)
    clock.moment = datetime(2026, 5, 1, 12, 50, 0, tzinfo=UTC)
    ahead = Limiter(connection, clock, BOUNDS, store_now=lambda: clock.now().timestamp() + 300)
    assert await take_many(ahead, subject, limits, 40) == 40
    server.kill()
    clock.advance(301)
    assert await take_many(ahead, subject, limits, 60) == 10
    clock.advance(300)
    assert await take_many(ahead, subject, limits, 60) == 50
    await ahead.close()


async def test_a_store_that_is_down_is_asked_now_and_then_and_only_the_first_wait_for_it(
    server: Server, limiter: Limiter, connection: Counted, clock: FakeClock
) -> None:
    subjects, limits = [new_subject() for _ in range(100)], quota(1000)
    server.kill()
    assert await limiter.take(subjects[0], limits) is GRANTED
    assert connection.asked == 1
    for subject in subjects:
        assert limiter.take_now(subject, limits) is GRANTED
    assert connection.asked == 1
    assert limiter.trouble is not None
    for number in range(2, 5):
        clock.advance(BOUNDS.retry)
        for subject in subjects:
            assert limiter.take_now(subject, limits) is GRANTED
        await limiter._answered()
        assert connection.asked == number


async def test_a_store_that_is_back_is_found_without_a_request(
    server: Server, limiter: Limiter, clock: FakeClock
) -> None:
    subject, limits = new_subject(), quota(1000)
    server.kill()
    assert await take_many(limiter, subject, limits, 5) == 5
    server.start()
    await recover(limiter, clock)
    assert await counted(server, subject) == 5


async def test_a_store_that_hangs_is_waited_for_once(server: Server, connection: Counted, clock: FakeClock) -> None:
    limiter = limiter_at(connection, clock, replace(BOUNDS, patience=0.05))
    subject, limits = new_subject(), quota(1000)
    os.kill(server.pid, signal.SIGSTOP)
    try:
        assert await take_at_once(limiter, subject, limits, 50) == 50
        for _ in range(50):
            assert limiter.take_now(subject, limits) is GRANTED
        assert connection.asked == 1
    finally:
        os.kill(server.pid, signal.SIGCONT)
    limiter = limiter_at(connection, clock)
    await take_many(limiter, subject, limits, 1)
    assert limiter.trouble is None


async def test_a_damaged_counter_harms_no_other_and_its_own_subject_little(
    server: Server, limiter: Limiter, connection: Counted, clock: FakeClock
) -> None:
    damaged, others, limits = new_subject(), [new_subject() for _ in range(10)], quota(5)
    await connection.command("SET", f"apo:l:{damaged}", "x")
    taken = await asyncio.gather(*(limiter.take(subject, limits) for subject in (*others, damaged)))
    assert taken == [GRANTED] * 11
    assert limiter.trouble is None
    assert await take_many(limiter, damaged, limits, 10) == 4
    await connection.command("DEL", f"apo:l:{damaged}")
    clock.advance(1)
    await limiter.tidy()
    assert await counted(server, damaged) == 5
    for subject in others:
        assert await counted(server, subject) == 1


async def test_nonsense_in_a_counter_counts_for_nothing(limiter: Limiter, connection: Counted) -> None:
    subject = new_subject()
    limits = Limits(rate=Rate(per_second=1, burst=5), quotas=(Quota(requests=9, period=Period.DAY),))
    await connection.command("HSET", f"apo:l:{subject}", "d", "x", "at", "", "day:s", "y", "day:n", "z")
    assert await take_many(limiter, subject, limits, 10) == 5


async def test_after_closing_this_worker_limits_alone(limiter: Limiter) -> None:
    subject, limits = new_subject(), quota(5)
    assert await take_many(limiter, subject, limits, 2) == 2
    await limiter.close()
    assert await take_many(limiter, subject, limits, 5) == 3
    assert isinstance(limiter.take_now(subject, limits), Limited)


async def test_who_waits_while_it_is_closed_is_answered(limiter: Limiter) -> None:
    subjects, limits = [new_subject() for _ in range(300)], quota(5)
    waiting = [asyncio.create_task(limiter.take(subject, limits)) for subject in subjects]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    await limiter.close()
    assert await asyncio.gather(*waiting) == [GRANTED] * 300


async def test_closing_a_limiter_whose_store_is_down_does_not_fail(
    server: Server, limiter: Limiter, clock: FakeClock
) -> None:
    assert await take_many(limiter, new_subject(), quota(100), 30) == 30
    server.kill()
    await limiter.close()


async def test_the_store_is_killed_under_load_and_nobody_notices(server: Server) -> None:
    """In real time. What is asked when it is killed may be charged twice, and is never forgotten."""
    subjects, limits = [new_subject() for _ in range(20)], quota(1_000_000_000, Period.MONTH)
    admitted = dict.fromkeys(subjects, 0)
    target, is_reached, is_over = 0, asyncio.Event(), False

    async def use(limiter: Limiter) -> None:
        while not is_over:
            if sum(admitted.values()) >= target:
                is_reached.set()
            for subject in subjects:
                assert await limiter.take(subject, limits) is GRANTED
                admitted[subject] += 1
            await asyncio.sleep(0)

    async def until(number: int) -> None:
        nonlocal target
        target = sum(admitted.values()) + number
        is_reached.clear()
        await is_reached.wait()

    async with server.raw() as connection:
        bounds = replace(BOUNDS, retry=0.0)
        limiters = [Limiter(connection, SystemClock(), bounds) for _ in range(3)]
        using = [asyncio.create_task(use(limiter)) for limiter in limiters]
        for _ in range(3):
            await until(5000)
            await asyncio.to_thread(server.kill)
            await until(5000)
            await asyncio.to_thread(server.start)
        await until(5000)
        is_over = True
        await asyncio.gather(*using)
        for limiter in limiters:
            while any(holding.is_owing() for holding in limiter._holdings.values()):
                await limiter.tidy()
            await limiter.close()
        assert sum(admitted.values()) >= 35_000
        for subject, number in admitted.items():
            assert int(await connection.ask("HGET", f"apo:l:{subject}", "month:n")) >= number
