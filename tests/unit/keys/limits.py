"""What the tests of limits share: workers at one store, under a clock that only the test moves."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from hypothesis import strategies as st

from apostille.keys.connection import StoreConnection
from apostille.keys.limiter import Granted, Limited, Limiter, LimiterBounds
from apostille.model.limits import Limits, Period, Quota, Rate
from tests.unit.credentials.stand_ins import FakeClock
from tests.unit.keys.valkey import Server

BOUNDS = LimiterBounds(tidy=None, patience=30.0, retry=0.5)

MOMENTS = st.floats(86_400.0, 13_569_465_600.0).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
"""From 1970 to 2400."""

_NUMBERS = itertools.count()


def new_subject() -> str:
    """The tests of one run share a server."""
    return f"k:{next(_NUMBERS):012}"


def rate(per_second: float, burst: int) -> Limits:
    return Limits(rate=Rate(per_second=per_second, burst=burst))


def quota(requests: int, period: Period = Period.DAY) -> Limits:
    return Limits(quotas=(Quota(requests=requests, period=period),))


def limiter_at(connection: StoreConnection, clock: FakeClock, bounds: LimiterBounds = BOUNDS) -> Limiter:
    return Limiter(connection, clock, bounds, store_now=lambda: clock.now().timestamp())


@asynccontextmanager
async def workers(server: Server, clock: FakeClock, number: int = 1) -> AsyncIterator[list[Limiter]]:
    async with server.raw() as connection:
        limiters = [limiter_at(connection, clock) for _ in range(number)]
        yield limiters
        for limiter in limiters:
            await limiter.close()


async def take_many(limiter: Limiter, subject: str, limits: Limits, number: int) -> int:
    """One after the other; how many were admitted."""
    taken = [await limiter.take(subject, limits) for _ in range(number)]
    return sum(isinstance(each, Granted) for each in taken)


async def take_at_once(limiter: Limiter, subject: str, limits: Limits, number: int) -> int:
    taken = await asyncio.gather(*(limiter.take(subject, limits) for _ in range(number)))
    return sum(isinstance(each, Granted) for each in taken)


async def refused(limiter: Limiter, subject: str, limits: Limits) -> Limited:
    taken = await limiter.take(subject, limits)
    assert isinstance(taken, Limited)
    return taken
