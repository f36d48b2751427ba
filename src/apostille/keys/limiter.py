"""Rates and quotas, enforced across workers and hosts through the store. It must not know keys, nor where limits stand.

A worker takes requests from the store's counters in advance, hands them out here and fetches the next ones before the
lease is used up. What is admitted, while the store answers:

- of a quota never more than it says, in no period. Less by what other workers hold: of the rest, at most a sixteenth
  in each of two leases, for half a minute; a worker that is killed loses that.
- of a rate, in any time of L seconds, `burst` + `per_second` × (L + `leases.lifetime_of`) at most, however many workers
  there are: a second of the rate more, or a quarter of the burst (but ten seconds of the rate at most). Less by what a
  worker took in advance and did not use: 16 requests, or what it had admitted in the second before if that is more.

While the store does not answer, nobody is refused because of that, and nobody is admitted without bound: each worker
enforces the whole limits alone, from what it knew. It may know nothing: in each outage the workers admit at most the
whole limits too much, each of them. When the store is back, what the quotas gave meanwhile is charged to them, and what
a bucket lacks to the bucket, down to an empty one.

The time of periods and buckets is the store's; a worker's wall clock counts only while it is alone.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from apostille.base.clock import Clock
from apostille.keys.connection import StoreConnection
from apostille.keys.counters import BATCH, Counters
from apostille.keys.errors import StoreUnavailable
from apostille.keys.leases import GRANTED, Granted, Holding, Limited
from apostille.model.limits import Limits, Share

__all__ = ["GRANTED", "Granted", "Limited", "Limiter", "LimiterBounds", "subject_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LimiterBounds:
    """`subjects` are remembered; of more, one goes that was not used lately. Times are seconds.

    `patience`: an answer that takes longer is none. `retry`: between two questions to a store that is down; only the
    first ones are waited for. `tidy`: between two looks for leases to give back, None for none: somebody else calls
    `tidy` then.
    """

    subjects: int = 50_000
    patience: float = 0.5
    retry: float = 0.5
    tidy: float | None = 1.0


def subject_of(key_id: str, consumer: str, limits: Limits) -> str:
    """Who counts together: the key, or all keys of its consumer."""
    return f"c:{consumer}" if limits.share is Share.CONSUMER else f"k:{key_id}"


class Limiter:
    """One for each worker; one event loop owns it. The connection is not closed with it.

    Keys that count together should have the same limits: each is held to its own, but what was taken in advance by one
    is not for the other.
    """

    def __init__(
        self,
        connection: StoreConnection,
        clock: Clock,
        bounds: LimiterBounds | None = None,
        *,
        store_now: Callable[[], float] | None = None,
    ) -> None:
        """`store_now`: seconds of the epoch in place of the store's own clock, for tests."""
        self._counters, self._clock = Counters(connection, store_now), clock
        self._bounds = bounds or LimiterBounds()
        self._holdings: OrderedDict[tuple[str, Limits], Holding] = OrderedDict()
        # The last one of each subject: comparing limits costs more than all the rest.
        self._recent: dict[str, Holding] = {}
        self._queue: dict[Holding, None] = {}
        self._asking: frozenset[Holding] = frozenset()
        self._asker: asyncio.Task[None] | None = None
        self._tidier: asyncio.Task[None] | None = None
        self._trouble: StoreUnavailable | None = None
        self._retry_at = -math.inf
        self._is_closed = False

    def __len__(self) -> int:
        """How many subjects are remembered, each as often as it has different limits."""
        return len(self._holdings)

    @property
    def trouble(self) -> StoreUnavailable | None:
        """Why the store does not answer and this worker enforces limits alone; None: it does answer."""
        return self._trouble

    def take_now(self, subject: str, limits: Limits) -> Granted | Limited | None:
        """Never waits; None: the store has to be asked. Call it in the event loop."""
        holding = self._recent.get(subject)
        if holding is None or holding.limits is not limits:
            if limits.rate is None and not limits.quotas:
                return GRANTED
            holding = self._find(subject, limits)
        lease = holding.lease
        now = self._clock.monotonic()
        if lease.left > 0 and now < lease.until:
            lease.left -= 1
            holding.used += 1
            if lease.left == lease.low and self._trouble is None:
                holding.is_wanting = True
                self._ask(holding)
            return GRANTED
        return self._take_slowly(holding, now)

    async def take(self, subject: str, limits: Limits) -> Granted | Limited:
        """Asks the store if it must; never raises because the store is down."""
        taken = self.take_now(subject, limits)
        if taken is not None:
            return taken
        holding = self._recent[subject]
        future: asyncio.Future[Granted | Limited] = asyncio.get_running_loop().create_future()
        holding.waiting.append(future)
        holding.is_wanting = True
        self._ask(holding)
        return await future

    async def tidy(self) -> None:
        """Gives back leases that are over, tells the store what it has not been told, forgets who does not come.

        Done by itself every `LimiterBounds.tidy` seconds.
        """
        await self._look_through()
        await self._answered()

    async def close(self) -> None:
        """Gives everything back. Who takes afterwards is limited by this worker alone."""
        self._is_closed = True
        if self._tidier is not None:
            self._tidier.cancel()
            await asyncio.gather(self._tidier, return_exceptions=True)
        await self._answered()
        for holding in self._holdings.values():
            holding.give_back_all()
        if self._trouble is None:
            self._queue.update((holding, None) for holding in self._holdings.values() if holding.is_owing())
            await self._run()
        self._trouble, self._retry_at = StoreUnavailable("closed"), math.inf

    async def _look_through(self) -> None:
        for number, (key, holding) in enumerate(list(self._holdings.items())):
            if not number % 1000:
                await asyncio.sleep(0)
            now = self._clock.monotonic()
            holding.give_back_all(now)
            if holding.is_owing():
                if self._trouble is None or self._may_retry(now):
                    self._ask(holding)
            elif holding.is_idle(now) and self._holdings.get(key) is holding:
                self._forget(key, holding)

    def _take_slowly(self, holding: Holding, now: float) -> Granted | Limited | None:
        holding.give_back_all(now)
        if holding.has_more(now):
            holding.lease.left -= 1
            holding.used += 1
            return GRANTED
        if self._trouble is not None or self._is_closed or now < holding.alone_until:
            if self._trouble is not None and self._may_retry(now):
                self._ask(holding)
            return holding.take_alone(self._clock, now)
        return holding.refusal(now)

    def _find(self, subject: str, limits: Limits) -> Holding:
        key = (subject, limits)
        holding = self._holdings.get(key)
        if holding is None:
            if len(self._holdings) >= self._bounds.subjects:
                self._make_room()
            holding = self._holdings[key] = Holding(subject, limits)
            if self._tidier is None and self._bounds.tidy is not None and not self._is_closed:
                self._tidier = asyncio.get_running_loop().create_task(
                    self._tidy_for_ever(self._bounds.tidy), name="keys: limits, tidying"
                )
        holding.limits = limits
        self._recent[subject] = holding
        return holding

    def _make_room(self) -> None:
        """The oldest goes that was not used since it was last considered; a few are considered, and then the next."""
        now = self._clock.monotonic()
        for _ in range(16):
            key, holding = next(iter(self._holdings.items()))
            if holding.is_idle(now):
                break
            self._holdings.move_to_end(key)
        key, holding = next(iter(self._holdings.items()))
        holding.give_back_all()
        if holding.is_owing() and self._trouble is None:
            self._ask(holding)
        self._forget(key, holding)

    def _forget(self, key: tuple[str, Limits], holding: Holding) -> None:
        del self._holdings[key]
        if self._recent.get(holding.subject) is holding:
            del self._recent[holding.subject]

    async def _tidy_for_ever(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            await self._look_through()

    def _may_retry(self, now: float) -> bool:
        if now < self._retry_at:
            return False
        self._retry_at = now + self._bounds.retry
        return True

    def _ask(self, holding: Holding) -> None:
        """Soon, and once: those who wait for one subject share an answer, many subjects share a round trip."""
        if self._is_closed or holding in self._asking:
            return
        self._queue[holding] = None
        if self._asker is None or self._asker.done():
            self._asker = asyncio.get_running_loop().create_task(self._run(), name="keys: limits")

    async def _answered(self) -> None:
        while self._asker is not None and not self._asker.done():
            await asyncio.gather(self._asker, return_exceptions=True)

    async def _run(self) -> None:
        while self._queue:
            some = list(self._queue)[:BATCH]
            for holding in some:
                del self._queue[holding]
            self._asking = frozenset(some)
            try:
                await self._exchange(some)
            except Exception as error:  # noqa: BLE001 - those who wait must not do so for ever
                self._go_alone(some, error)
            finally:
                self._asking = frozenset()
            for holding in some:
                if holding.waiting:
                    self._queue[holding] = None

    async def _exchange(self, some: list[Holding]) -> None:
        asked = self._clock.monotonic()
        asks = [holding.ask(asked) for holding in some]
        try:
            async with asyncio.timeout(self._bounds.patience):
                found = await self._counters.charge(asks)
        except (StoreUnavailable, TimeoutError) as error:
            for holding, ask in zip(some, asks, strict=True):
                holding.forget(ask)
            self._go_alone(some, error)
            return
        self._trouble = None
        for holding, ask, answer in zip(some, asks, found.answers, strict=True):
            if answer is not None:
                holding.learn(answer, found.at, asked)
                continue
            now = self._clock.monotonic()
            holding.forget(ask)
            holding.alone_until = now + self._bounds.retry
            holding.take_alone_waiting(self._clock, now)

    def _go_alone(self, some: list[Holding], error: Exception) -> None:
        now = self._clock.monotonic()
        self._trouble = error if isinstance(error, StoreUnavailable) else StoreUnavailable(type(error).__name__)
        self._retry_at = now + self._bounds.retry
        for holding in (*some, *self._queue):
            holding.take_alone_waiting(self._clock, now)
        self._queue.clear()
