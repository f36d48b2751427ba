"""What is known of the destinations that outbound policies lead to: their clocks, and their refusals."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client import Counter as CounterMetric
from structlog.typing import FilteringBoundLogger

from apostille.auth.upstreams import UpstreamNews
from apostille.model.gateway import Gateway
from apostille.xds.sightings import Sighting

Json = Mapping[str, object]

# Dates on the wire count whole seconds and answers take their time: below this no clock is called wrong.
_NOTABLE = timedelta(seconds=5)
# AWS refuses signatures that are more than five minutes off, S3 more than fifteen.
_ALARMING = timedelta(seconds=60)
# Two answers in a row must agree this well: one alone may come from a cache, or from a machine that is broken.
_AGREEING = timedelta(seconds=3)
# Between two lines in the log about one code of refusal of one policy, and between two pieces of news to the workers.
_REMINDER = timedelta(seconds=60)
_NEWS_PAUSE = timedelta(seconds=5)


@dataclass(slots=True)
class _Known:
    """`skew` is the one that two answers agreed on; `last` what the latest said."""

    seen: datetime
    last: timedelta | None = None
    skew: timedelta = timedelta(0)
    refusals: Counter[str] = field(default_factory=Counter)
    refused_at: datetime | None = None
    logged_at: dict[str, datetime] = field(default_factory=dict)
    news: UpstreamNews = field(default_factory=UpstreamNews)
    news_at: datetime | None = None


def outbound_policies(gateway: Gateway) -> frozenset[str]:
    return frozenset(program.outbound.policy.short for program in gateway.programs if program.outbound is not None)


class Upstreams:
    """Hears every sighting, and says when the auth workers should know something new."""

    def __init__(self, *, registry: CollectorRegistry, log: FilteringBoundLogger) -> None:
        self._log = log
        self._changed = asyncio.Event()
        self._known: dict[str, _Known] = {}
        self._skew = Gauge(
            "apostille_upstream_clock_skew_seconds",
            "How far the clock of an outbound policy's destination is ahead of ours, when it last answered.",
            ("policy",),
            registry=registry,
        )
        self._refusals = CounterMetric(
            "apostille_upstream_refusals_total",
            "Answers in which a destination refused the credential that we put on a request.",
            ("policy", "code"),
            registry=registry,
        )

    def see(self, sighting: Sighting) -> None:
        known = self._known.setdefault(sighting.policy, _Known(seen=sighting.seen))
        known.seen = sighting.seen
        if sighting.skew is not None:
            self._see_clock(sighting.policy, known, sighting.skew)
        if sighting.code is not None:
            self._see_refusal(sighting.policy, known, sighting.code, sighting.refused)
        self._tell_workers(known)

    async def tell(self, publish: Callable[[Mapping[str, UpstreamNews]], Awaitable[None]]) -> None:
        """Hand all news to `publish` whenever there is any. Ends only by being cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await publish({policy: known.news for policy, known in self._known.items()})

    def status(self) -> list[Json]:
        return [
            {
                "policy": policy,
                "seen": known.seen.isoformat(timespec="seconds"),
                "clock_skew_seconds": round(known.skew.total_seconds()),
                "refusals": dict(sorted(known.refusals.items())),
                "last_refusal": None if known.refused_at is None else known.refused_at.isoformat(timespec="seconds"),
            }
            for policy, known in sorted(self._known.items())
        ]

    def keep_only(self, policies: frozenset[str]) -> None:
        """Forget what belongs to policies that are gone."""
        for policy in self._known.keys() - policies:
            del self._known[policy]
            with suppress(KeyError):
                self._skew.remove(policy)
            self._changed.set()

    def _see_clock(self, policy: str, known: _Known, skew: timedelta) -> None:
        agreed = known.last is not None and abs(known.last - skew) <= _AGREEING
        known.last = skew
        if not agreed:
            return
        before, known.skew = known.skew, skew if abs(skew) >= _NOTABLE else timedelta(0)
        self._skew.labels(policy).set(known.skew.total_seconds())
        if abs(known.skew) >= _ALARMING > abs(before):
            self._log.warning(
                "upstream.clock_skew",
                policy=policy,
                seconds=round(known.skew.total_seconds()),
                what="its clock and ours disagree: set ours (NTP), or write correctClock in the policy",
            )
        elif abs(before) >= _ALARMING > abs(known.skew):
            self._log.info("upstream.clock_agrees", policy=policy)

    def _see_refusal(self, policy: str, known: _Known, code: str, count: int) -> None:
        known.refusals[code] += count
        self._refusals.labels(policy, code).inc(count)
        known.refused_at = known.seen
        logged_at = known.logged_at.get(code)
        if logged_at is None or known.seen - logged_at >= _REMINDER:
            known.logged_at[code] = known.seen
            self._log.warning("upstream.refused", policy=policy, code=code, count=known.refusals[code])

    def _tell_workers(self, known: _Known) -> None:
        refusals = known.refusals.total()
        waited = known.news_at is None or known.seen - known.news_at >= _NEWS_PAUSE
        moved = abs(known.skew - known.news.skew) > _AGREEING or (not known.skew and bool(known.news.skew))
        if moved or (refusals != known.news.refusals and waited):
            known.news, known.news_at = UpstreamNews(skew=known.skew, refusals=refusals), known.seen
            self._changed.set()
