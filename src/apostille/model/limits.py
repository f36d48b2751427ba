"""How much a key may be used. Pure: it says what is allowed and counts nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

_MOST = 1_000_000_000


class Period(StrEnum):
    """Periods of the calendar, in UTC."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


class Share(StrEnum):
    """Who counts together: each key for itself, or all keys of a consumer."""

    KEY = "key"
    CONSUMER = "consumer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A token bucket: `per_second` requests in the long run, `burst` at once. Raises ValueError when it allows none."""

    per_second: float
    burst: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.per_second) and 0 < self.per_second <= _MOST):
            raise ValueError(f"a rate of {self.per_second!r} requests a second cannot be kept; write a number above 0")
        if not 1 <= self.burst <= _MOST:
            raise ValueError(f"a burst of {self.burst!r} requests cannot be kept; write 1 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """At most `requests` in each `period`. Raises ValueError when it allows none."""

    requests: int
    period: Period

    def __post_init__(self) -> None:
        if not 1 <= self.requests <= _MOST:
            raise ValueError(f"a quota of {self.requests!r} requests cannot be kept; write 1 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """No `rate` and no `quotas` is no limit. One quota at most for each period, else ValueError is raised."""

    rate: Rate | None = None
    quotas: tuple[Quota, ...] = ()
    share: Share = Share.KEY

    def __post_init__(self) -> None:
        if len({quota.period for quota in self.quotas}) != len(self.quotas):
            raise ValueError("there are two quotas for one period; write one")


UNLIMITED = Limits()
