"""The calendar of quotas, in UTC. Pure. The script of `counters` has the same calendar, in Lua."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import assert_never

from apostille.model.limits import Period


def bounds_of(period: Period, moment: datetime) -> tuple[float, float]:
    """When the period that holds `moment` begins and when the next one does, in seconds of the epoch."""
    hour = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    day = hour.replace(hour=0)
    match period:
        case Period.HOUR:
            first, following = hour, hour + timedelta(hours=1)
        case Period.DAY:
            first, following = day, day + timedelta(days=1)
        case Period.MONTH:
            first = day.replace(day=1)
            # 31 days after a first of a month it is the next month, and early in it.
            following = (first + timedelta(days=31)).replace(day=1)
        case _:
            assert_never(period)
    return first.timestamp(), following.timestamp()
