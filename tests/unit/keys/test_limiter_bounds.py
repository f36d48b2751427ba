"""Whatever is taken by whom and whenever, and whatever the store does: the bounds that the limiter states are kept."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apostille.keys.connection import Script, StoreConnection
from apostille.keys.counters import NOTHING, Ask, Counters
from apostille.keys.errors import StoreUnavailable
from apostille.keys.leases import lifetime_of
from apostille.keys.limiter import Limiter
from apostille.keys.periods import bounds_of
from apostille.model.limits import Limits, Period, Quota, Rate
from tests.unit.credentials.stand_ins import FakeClock
from tests.unit.keys.limits import MOMENTS, limiter_at, new_subject, quota, take_at_once, take_many
from tests.unit.keys.valkey import Server

WORKERS = 3


class Losing(StoreConnection):
    """A real connection that loses questions, or answers, as the test wants it."""

    loses_questions = False
    loses_answers = False

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[str | bytes | int]) -> object:
        if self.loses_questions:
            raise StoreUnavailable("lost")
        found = await super().run(script, keys, arguments)
        if self.loses_answers:
            raise StoreUnavailable("lost")
        return found


@dataclass(frozen=True, kw_only=True)
class Step:
    """`is_closed`: the worker is replaced by a new one, after what it does. `loses`: question or answer, or nothing."""

    worker: int
    seconds: float
    requests: int
    at_once: bool
    tidies: bool
    is_closed: bool
    loses: str = ""


RATES = st.builds(
    Rate, per_second=st.sampled_from([0.01, 0.3, 1.0, 7.0, 50.0, 400.0]), burst=st.sampled_from([1, 2, 10, 100, 1000])
)
QUOTAS = st.lists(
    st.builds(Quota, requests=st.sampled_from([1, 3, 40, 333, 2000]), period=st.sampled_from(Period)),
    unique_by=lambda each: each.period,
    max_size=3,
).map(tuple)
LIMITS = st.builds(Limits, rate=st.none() | RATES, quotas=QUOTAS).filter(lambda each: each.rate or each.quotas)
SECONDS = st.sampled_from([0.0, 0.0, 0.001, 0.02, 0.3, 0.999, 1.5, 9.0, 31.0, 1700.0, 90_000.0])


def steps(loses: st.SearchStrategy[str]) -> st.SearchStrategy[list[Step]]:
    often, seldom = st.sampled_from([False, True]), st.sampled_from([False] * 7 + [True])
    return st.lists(
        st.builds(
            Step,
            worker=st.integers(0, WORKERS - 1),
            seconds=SECONDS,
            requests=st.sampled_from([0, 1, 1, 2, 5, 30, 200]),
            at_once=often,
            tidies=often,
            is_closed=seldom,
            loses=loses,
        ),
        min_size=1,
        max_size=25,
    )


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


class Life:
    """Three workers, and when each request was admitted."""

    def __init__(self, connection: Losing, limits: Limits, start: datetime) -> None:
        self.connection, self.limits, self.subject = connection, limits, new_subject()
        self.clock = FakeClock(start)
        self.limiters = [self._limiter() for _ in range(WORKERS)]
        self.admitted: list[tuple[float, int]] = []

    def _limiter(self) -> Limiter:
        return limiter_at(self.connection, self.clock)

    async def live(self, step: Step) -> None:
        self.connection.loses_questions = step.loses == "question"
        self.connection.loses_answers = step.loses == "answer"
        self.clock.advance(step.seconds)
        limiter = self.limiters[step.worker]
        take = take_at_once if step.at_once else take_many
        number = await take(limiter, self.subject, self.limits, step.requests)
        self.admitted.append((self.clock.now().timestamp(), number))
        if step.tidies:
            await limiter.tidy()
        if step.is_closed:
            await limiter.close()
            self.limiters[step.worker] = self._limiter()

    async def end(self) -> int:
        """Everything is given back and every bucket full again; how many are then admitted at once."""
        self.connection.loses_questions = self.connection.loses_answers = False
        for _ in range(3):
            self.clock.advance(31)
            for limiter in self.limiters:
                await limiter.tidy()
        if self.limits.rate is not None:
            self.clock.advance((self.limits.rate.burst + 2) / self.limits.rate.per_second)
        number = 0
        while more := await take_at_once(self.limiters[0], self.subject, self.limits, 500):
            number += more
        self.admitted.append((self.clock.now().timestamp(), number))
        for limiter in self.limiters:
            await limiter.close()
        return number

    def of_period(self, period: Period) -> Counter[float]:
        found: Counter[float] = Counter()
        for at, number in self.admitted:
            found[bounds_of(period, datetime.fromtimestamp(at, UTC))[0]] += number
        return found


@settings(max_examples=80)
@given(limits=LIMITS, done=steps(st.just("")), days=st.integers(0, 800))
def test_never_too_much_and_in_the_end_not_too_little(
    shared_server: Server, runner: asyncio.Runner, limits: Limits, done: list[Step], days: int
) -> None:
    async def live() -> None:
        life = Life(Losing(shared_server.embedded.address), limits, datetime(2027, 1, 1, 23, 59, 30, tzinfo=UTC))
        life.clock.moment += timedelta(days=days)
        for step in done:
            await life.live(step)
        last = await life.end()
        await life.connection.close()
        now = life.clock.now()
        rest = [limits.rate.burst] if limits.rate else []
        for each in limits.quotas:
            admitted = life.of_period(each.period)
            assert max(admitted.values()) <= each.requests
            rest.append(each.requests - (admitted[bounds_of(each.period, now)[0]] - last))
        assert last == min(rest)
        if limits.rate is not None:
            assert_rate(limits.rate, life.admitted)

    runner.run(live())


def assert_rate(rate: Rate, admitted: list[tuple[float, int]]) -> None:
    for first, (start, _) in enumerate(admitted):
        number = 0
        for at, more in admitted[first:]:
            number += more
            assert number <= rate.burst + rate.per_second * (at - start + lifetime_of(rate)) + 1e-3


@settings(max_examples=80)
@given(limits=LIMITS, done=steps(st.sampled_from(["", "", "question", "answer"])))
def test_a_store_that_loses_questions_and_answers_makes_nobody_admit_without_bound(
    shared_server: Server, runner: asyncio.Runner, limits: Limits, done: list[Step]
) -> None:
    async def live() -> None:
        life = Life(Losing(shared_server.embedded.address), limits, datetime(2027, 1, 1, 10, 0, tzinfo=UTC))
        # In each outage each worker, and each that replaces one, may have forgotten what it knew.
        workers = WORKERS + sum(step.is_closed for step in done)
        outages = sum(
            bool(step.loses) and not before
            for step, before in zip(done, ["", *(step.loses for step in done)], strict=False)
        )
        for step in done:
            await life.live(step)
        await life.end()
        for each in limits.quotas:
            assert max(life.of_period(each.period).values()) <= (1 + workers * outages) * each.requests
        await life.connection.close()

    runner.run(live())


@settings(max_examples=60)
@given(done=steps(st.sampled_from(["", "question", "answer"])))
def test_what_was_admitted_without_the_store_is_charged_in_the_end(
    shared_server: Server, runner: asyncio.Runner, done: list[Step]
) -> None:
    async def live() -> None:
        limits = quota(1_000_000, Period.MONTH)
        life = Life(Losing(shared_server.embedded.address), limits, datetime(2027, 1, 1, 10, 0, tzinfo=UTC))
        for step in done:
            # A worker that ends while the store is down takes with it what it had not told.
            await life.live(Step(**{**vars(step), "seconds": min(step.seconds, 100.0), "is_closed": False}))
        for _ in range(3):
            life.connection.loses_questions = life.connection.loses_answers = False
            life.clock.advance(31)
            for limiter in life.limiters:
                await limiter.tidy()
        admitted = sum(number for _, number in life.admitted)
        counted = int(await life.connection.ask("HGET", f"apo:l:{life.subject}", "month:n") or 0)
        assert admitted == sum(step.requests for step in done)
        assert counted >= admitted
        if not any(step.loses for step in done):
            assert counted == admitted
        for limiter in life.limiters:
            await limiter.close()
        await life.connection.close()

    runner.run(live())


@given(moment=MOMENTS)
def test_the_calendar_of_the_script_is_that_of_python(
    shared_server: Server, runner: asyncio.Runner, moment: datetime
) -> None:
    async def ask() -> None:
        connection = StoreConnection(shared_server.embedded.address)
        limits = Limits(quotas=tuple(Quota(requests=9, period=period) for period in Period))
        ask = Ask(name=f"l:{new_subject()}", limits=limits, need=1, ahead=0, taken=0.0, settled=(NOTHING,) * 3)
        answers = await Counters(connection, moment.timestamp).charge([ask])
        await connection.close()
        (answer,) = answers.answers
        assert answer is not None
        assert [(each.start, each.end) for each in answer.counted] == [bounds_of(period, moment) for period in Period]

    runner.run(ask())
