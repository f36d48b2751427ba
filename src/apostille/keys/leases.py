"""What one worker holds for one subject and its limits: the leases and what is known of the counters. No I/O here.

All times are seconds of the monotonic clock, unless it says epoch. A lease is charged when it is taken. It ends with
the period that it was taken in, and early enough that leases do not pile up: in any time of L seconds all workers
together admit `burst` + `per_second` × (L + `lifetime_of`) requests at most. What is left of a lease then is given back
to the quotas and lost to the bucket: given back there it could be used on top of what has been refilled meanwhile.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field

from apostille.base.clock import Clock
from apostille.keys.counters import NOTHING, Answer, Ask, Settled, to_name
from apostille.keys.periods import bounds_of
from apostille.keys.ratelimit_headers import RATE, emit_headers, to_retry_after
from apostille.model.limits import Limits, Rate

# For how long a lease may last where there is no bucket, and where its burst allows it.
_LONGEST = 30.0
_LONGEST_OF_BUCKET = 10.0
_SHORTEST = 1.0
# A lease ahead is for what came in one second, or for so many requests if they take longer.
_FEW = 16
_MOST_AHEAD = 10_000
_GROWTH = 4
# A refusal is believed for so long at most: others may give something back.
_BELIEVED = 1.0
# A bucket that is empty is not asked about more often, unless it would overflow meanwhile.
_PAUSE = 0.005


@dataclass(frozen=True, slots=True)
class Granted:
    """The request is within its limits, and counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limited:
    """The request is one too many, and not counted. `retry_after`: seconds, 1 at least.

    `headers`: retry-after, ratelimit and ratelimit-policy, see `ratelimit_headers`.
    """

    retry_after: int
    headers: tuple[tuple[str, str], ...]


GRANTED = Granted()


@dataclass(slots=True, eq=False)
class Lease:
    """`left` requests until just before `until`. At `low` left the next one is fetched. `starts`: see `Count`."""

    left: int = 0
    until: float = -math.inf
    low: int = -1
    starts: tuple[float, ...] = ()


@dataclass(slots=True, eq=False)
class Count:
    """What is known of one quota: `start` and `end` of the period in seconds of the epoch, and how much is taken.

    `owed`: what the store has not been told yet, negative for what is to be given back.
    """

    start: float = 0.0
    end: float = 0.0
    until: float = -math.inf
    requests: int = 0
    owed: int = 0


def lifetime_of(rate: Rate | None) -> float:
    """For how many seconds a lease lasts: the time of a quarter of the burst, but 1 at least and 10 at most."""
    if rate is None:
        return _LONGEST
    return min(_LONGEST_OF_BUCKET, max(_SHORTEST, rate.burst / (4 * rate.per_second)))


@dataclass(slots=True, eq=False)
class Holding:
    """`limits` are never empty. `waiting`: requests that the next answer is for. `is_wanting`: more may be fetched.

    `lacking`: what the bucket lacked of being full at `lacking_at`; `taken`: as much of it as the store does not know.
    """

    subject: str
    limits: Limits
    lease: Lease = field(default_factory=Lease)
    ahead: Lease | None = None
    counts: tuple[Count, ...] = ()
    lacking: float = 0.0
    taken: float = 0.0
    lacking_at: float = 0.0
    used: int = 0
    is_wanting: bool = False
    seen: int = -1
    asked_at: float = -math.inf
    granted: int = 1
    refused_until: float = -math.inf
    paused_until: float = -math.inf
    alone_until: float = -math.inf
    name: str = ""
    lifetime: float = 0.0
    waiting: list[asyncio.Future[Granted | Limited]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.counts = tuple(Count() for _ in self.limits.quotas)
        self.name, self.lifetime = to_name(self.subject), lifetime_of(self.limits.rate)

    def has_more(self, now: float) -> bool:
        """Whether the lease that was fetched ahead takes the place of the one that is used up or over."""
        if self.ahead is None:
            return False
        self.give_back(self.lease)
        self.lease, self.ahead = self.ahead, None
        return self.lease.left > 0 and now < self.lease.until

    def give_back(self, lease: Lease) -> None:
        left, lease.left = lease.left, 0
        for count, start in zip(self.counts, lease.starts, strict=False):
            if left and count.start == start:
                count.requests -= left
                count.owed -= left

    def give_back_all(self, now: float = math.inf) -> None:
        """Ends the leases that are over by `now`."""
        if self.ahead is not None and now >= self.ahead.until:
            self.give_back(self.ahead)
            self.ahead = None
        if self.lease.left and now >= self.lease.until:
            self.give_back(self.lease)

    def is_owing(self) -> bool:
        """Whether there is something to tell the store."""
        return self.taken > 0 or any(count.owed for count in self.counts)

    def is_idle(self, now: float) -> bool:
        """Whether it was not used since this was asked last, and nothing is lost with it."""
        seen, self.seen = self.seen, self.used
        return seen == self.used and now >= self.lease.until and not self.ahead and not self.waiting

    def ask(self, now: float) -> Ask:
        """What to ask the store now. What is owed goes with it; `forget` or `learn` must follow."""
        self.give_back_all(now)
        need = sum(not each.done() for each in self.waiting)
        seconds = max(now - self.asked_at, 0.001)
        per_second = self.used / seconds
        ahead = min(per_second * self.lifetime, max(_FEW, per_second), _GROWTH * self.granted, _MOST_AHEAD)
        self.decay(now)
        settled = tuple(
            Settled(start=count.start, requests=count.owed) if count.owed else NOTHING for count in self.counts
        )
        taken, self.taken = self.taken, 0.0
        for count in self.counts:
            count.owed = 0
        self.used, self.seen, self.asked_at = 0, -1, now
        # One in advance only would as likely be lost as used.
        ahead = int(ahead) if self.is_wanting and ahead >= 2 else 0
        self.is_wanting = False
        return Ask(name=self.name, limits=self.limits, need=need, ahead=ahead, taken=taken, settled=settled)

    def forget(self, ask: Ask) -> None:
        """The answer is lost. What was taken is told again, what was given back is not: neither admits too much."""
        self.taken += ask.taken
        for count, settled in zip(self.counts, ask.settled, strict=True):
            if settled.requests > 0 and settled.start == count.start:
                count.owed += settled.requests

    def learn(self, answer: Answer, at: float, asked: float) -> None:
        """`at`: the time of the store, of the epoch. It was then not earlier than `asked`: no lease lasts too long."""
        for count, counted in zip(self.counts, answer.counted, strict=True):
            if count.start != counted.start:
                count.owed = 0
            count.start, count.end, count.until = counted.start, counted.end, asked + (counted.end - at)
            count.requests = counted.requests + count.owed
        self.lacking, self.lacking_at = answer.lacking + self.taken, asked
        until = min((asked + self.lifetime, *(count.until for count in self.counts)))
        lease = Lease(answer.granted, until, starts=tuple(count.start for count in self.counts))
        self.granted = max(1, answer.granted)
        self._serve(lease)
        lease.low = lease.left // 4 if lease.left >= 4 else -1
        if self.lease.left and asked < self.lease.until:
            if self.ahead is not None:
                self.give_back(self.ahead)
            self.ahead = lease if lease.left else None
        else:
            self.give_back(self.lease)
            self.lease = lease
        waits = self.waits(asked)
        if not waits:
            return
        rate = self.limits.rate
        if rate is not None and RATE in waits:
            self.paused_until = asked + min(_PAUSE, rate.burst / (2 * rate.per_second))
        self.refused_until = max(self.paused_until, asked + min(_BELIEVED, max(waits.values())))
        if not lease.left:
            self._refuse_waiting(waits)

    def _serve(self, lease: Lease) -> None:
        served = 0
        for future in self.waiting:
            if not future.done():
                if not lease.left:
                    break
                lease.left -= 1
                self.used += 1
                future.set_result(GRANTED)
            served += 1
        del self.waiting[:served]

    def _refuse_waiting(self, waits: dict[str, float]) -> None:
        waiting, self.waiting = self.waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(self._emit(waits))

    def decay(self, now: float) -> None:
        """Lets the bucket fill up to `now`."""
        if self.limits.rate is not None and now > self.lacking_at:
            filled = (now - self.lacking_at) * self.limits.rate.per_second
            self.lacking, self.taken = max(0.0, self.lacking - filled), max(0.0, self.taken - filled)
            self.lacking_at = now

    def waits(self, now: float) -> dict[str, float]:
        """For how long each limit stands in the way that does, as far as it is known."""
        waits = {}
        rate = self.limits.rate
        if rate is not None:
            self.decay(now)
            if math.floor(rate.burst - self.lacking + 1e-6) < 1:
                waits[RATE] = (self.lacking + 1 - rate.burst) / rate.per_second
        for quota, count in zip(self.limits.quotas, self.counts, strict=True):
            if count.requests >= quota.requests and now < count.until:
                waits[str(quota.period)] = count.until - now
        return waits

    def refusal(self, now: float) -> Limited | None:
        """What to answer without asking anybody, as long as it is believed that nothing is left."""
        if now >= self.refused_until:
            return None
        waits = self.waits(now)
        if not waits and now < self.paused_until:
            waits = {RATE: self.paused_until - now}
        return self._emit(waits) if waits else None

    def _emit(self, waits: dict[str, float]) -> Limited:
        lengths = {
            quota.period: count.end - count.start for quota, count in zip(self.limits.quotas, self.counts, strict=True)
        }
        return Limited(retry_after=to_retry_after(waits), headers=emit_headers(self.limits, lengths, waits))

    def take_alone(self, clock: Clock, now: float) -> Granted | Limited:
        """By what is known here, without the store; its calendar is that of `clock`. What is taken is owed."""
        if any(now >= count.until for count in self.counts):
            moment = clock.now()
            for quota, count in zip(self.limits.quotas, self.counts, strict=True):
                if now >= count.until:
                    start, end = bounds_of(quota.period, moment)
                    # Where this clock is behind the store's, the period that was over there is not begun again.
                    if start > count.start:
                        count.start, count.end, count.requests, count.owed = start, end, 0, 0
                    count.until = now + (end - moment.timestamp())
        waits = self.waits(now)
        if waits:
            return self._emit(waits)
        if self.limits.rate is not None:
            self.lacking, self.taken = self.lacking + 1, self.taken + 1
        for count in self.counts:
            count.requests += 1
            count.owed += 1
        self.used += 1
        return GRANTED

    def take_alone_waiting(self, clock: Clock, now: float) -> None:
        waiting, self.waiting = self.waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(self.take_alone(clock, now))
