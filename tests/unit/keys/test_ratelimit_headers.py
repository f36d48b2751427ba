from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apostille.keys.periods import bounds_of
from apostille.keys.ratelimit_headers import emit_headers
from apostille.model.limits import Limits, Period, Quota, Rate
from tests.unit.credentials.stand_ins import FakeClock
from tests.unit.keys.limits import MOMENTS, new_subject, rate, refused, take_many, workers
from tests.unit.keys.valkey import Server

EVERY = Limits(
    rate=Rate(per_second=10, burst=20),
    quotas=(
        Quota(requests=30, period=Period.HOUR),
        Quota(requests=40, period=Period.DAY),
        Quota(requests=50, period=Period.MONTH),
    ),
)
LENGTHS = {Period.HOUR: 3600.0, Period.DAY: 86400.0, Period.MONTH: 31 * 86400.0}
POLICY = '"rate";q=20;w=2, "hour";q=30;w=3600, "day";q=40;w=86400, "month";q=50;w=2678400'


def test_every_limit_is_a_policy_and_those_in_the_way_are_named() -> None:
    assert emit_headers(EVERY, LENGTHS, {"rate": 0.05, "day": 43_200.0}) == (
        ("retry-after", "43200"),
        ("ratelimit", '"rate";r=0;t=1, "day";r=0;t=43200'),
        ("ratelimit-policy", POLICY),
    )


@pytest.mark.parametrize(
    ("wait", "seconds"),
    [(0.0, 1), (1.0, 1), (1.0000001, 1), (1.01, 2), (59.2, 60), (1e30, 2_147_483_647)],
)
def test_seconds_are_whole_and_not_too_few(wait: float, seconds: int) -> None:
    assert emit_headers(EVERY, LENGTHS, {"rate": wait})[0] == ("retry-after", str(seconds))


@pytest.mark.parametrize(
    ("limits", "policy"),
    [
        (rate(10, 1), '"rate";q=10;w=1'),
        (rate(10, 100), '"rate";q=100;w=10'),
        (rate(0.01, 1), '"rate";q=1;w=100'),
        (rate(0.5, 1), '"rate";q=1;w=2'),
        (rate(1e-9, 1_000_000_000), '"rate";q=1000000000;w=2147483647'),
    ],
)
def test_a_bucket_is_described_by_what_it_gives_while_it_fills(limits: Limits, policy: str) -> None:
    assert emit_headers(limits, {}, {"rate": 1.0})[2] == ("ratelimit-policy", policy)


async def test_what_a_client_gets(shared_server: Server, clock: FakeClock) -> None:
    subject = new_subject()
    async with workers(shared_server, clock) as (limiter,):
        assert await take_many(limiter, subject, EVERY, 25) == 20
        limited = await refused(limiter, subject, EVERY)
        assert limited.headers == (
            ("retry-after", "1"),
            ("ratelimit", '"rate";r=0;t=1'),
            ("ratelimit-policy", POLICY),
        )
        assert limited.retry_after == 1
        clock.advance(10)
        assert await take_many(limiter, subject, EVERY, 25) == 10
        clock.advance(1.5)
        limited = await refused(limiter, subject, EVERY)
        assert limited.headers == (
            ("retry-after", "3589"),
            ("ratelimit", '"hour";r=0;t=3589'),
            ("ratelimit-policy", POLICY),
        )
        assert limited.retry_after == 3589
        clock.advance(3600)
        assert await take_many(limiter, subject, EVERY, 25) == 10
        assert dict((await refused(limiter, subject, EVERY)).headers)["ratelimit"] == '"day";r=0;t=39589'


@pytest.mark.parametrize(
    ("period", "moment", "first", "following"),
    [
        (Period.HOUR, "2026-05-01T12:34:56.789+00:00", "2026-05-01T12:00:00+00:00", "2026-05-01T13:00:00+00:00"),
        (Period.DAY, "2028-02-28T23:59:59+00:00", "2028-02-28T00:00:00+00:00", "2028-02-29T00:00:00+00:00"),
        (Period.MONTH, "2028-02-29T23:59:59+00:00", "2028-02-01T00:00:00+00:00", "2028-03-01T00:00:00+00:00"),
        (Period.MONTH, "2026-12-31T23:59:59+00:00", "2026-12-01T00:00:00+00:00", "2027-01-01T00:00:00+00:00"),
        (Period.MONTH, "2026-05-31T23:30:00-02:00", "2026-06-01T00:00:00+00:00", "2026-07-01T00:00:00+00:00"),
    ],
)
def test_periods_are_of_the_calendar_in_utc(period: Period, moment: str, first: str, following: str) -> None:
    found = [
        datetime.fromtimestamp(each, UTC).isoformat() for each in bounds_of(period, datetime.fromisoformat(moment))
    ]
    assert found == [first, following]


@given(MOMENTS, st.sampled_from(Period))
def test_a_period_holds_its_moment_and_the_next_one_follows(moment: datetime, period: Period) -> None:
    first, following = bounds_of(period, moment)
    assert first <= moment.timestamp() < following
    assert bounds_of(period, datetime.fromtimestamp(first, UTC)) == (first, following)
    assert bounds_of(period, datetime.fromtimestamp(following, UTC))[0] == following
