"""The headers of a request that was one too many. Pure.

As draft-ietf-httpapi-ratelimit-headers-11 (23 May 2026) has them: ``RateLimit-Policy`` names every limit, ``RateLimit``
those that stand in the way. The others are left out: a ``Retry-After`` must not lie before the end of a window that is
named (section 6), and nobody is invited to use up a month in its last minute (section 8.5).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from apostille.model.limits import Limits, Period, Rate

RATE = "rate"
"""The name of the token bucket; a quota is named after its period."""

# The largest number of seconds that every receiver understands: RFC 9111, section 1.2.2.
_MOST_SECONDS = 2_147_483_647


def emit_headers(
    limits: Limits, lengths: Mapping[Period, float], waits: Mapping[str, float]
) -> tuple[tuple[str, str], ...]:
    """``retry-after``, ``ratelimit`` and ``ratelimit-policy``.

    `lengths`: how long the current period of each quota is, in seconds. `waits`: how long each limit stands in the way
    that does, in seconds, in the order of the limits.
    """
    policies = [] if limits.rate is None else [_emit_rate(limits.rate)]
    policies += [
        f'"{quota.period}";q={quota.requests};w={to_seconds(lengths[quota.period])}' for quota in limits.quotas
    ]
    return (
        ("retry-after", str(to_retry_after(waits))),
        ("ratelimit", ", ".join(f'"{name}";r=0;t={to_seconds(wait)}' for name, wait in waits.items())),
        ("ratelimit-policy", ", ".join(policies)),
    )


def to_retry_after(waits: Mapping[str, float]) -> int:
    """Whole seconds until the last of the limits gives way, 1 at least."""
    return max(to_seconds(wait) for wait in waits.values())


def to_seconds(seconds: float) -> int:
    # A clock's last digits are noise: one second must not become two by them.
    return max(1, math.ceil(min(seconds, _MOST_SECONDS) - 1e-6))


def _emit_rate(rate: Rate) -> str:
    """The window is the time in which an empty bucket becomes full, but a second at least, as the draft wants it."""
    return f'"{RATE}";q={max(rate.burst, math.floor(rate.per_second))};w={to_seconds(rate.burst / rate.per_second)}'
