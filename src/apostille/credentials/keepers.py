"""The keepers of all sources in use: made on demand, shared by whoever names the same source, ended when nobody does.

One event loop owns them. A program that is replaced should lease before it gives back: then nothing is fetched anew.
"""

from __future__ import annotations

import asyncio
import random
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from functools import partial

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from apostille.base.clock import Clock
from apostille.credentials import aws
from apostille.credentials.environment import Environment
from apostille.credentials.fetched import CredentialsUnavailable, Fetched, FetchError, Reason
from apostille.credentials.keeper import PATIENCE, Jitter, Keeper, KeeperReport, Pause, State, wait_for_event
from apostille.credentials.offload import run_in_thread
from apostille.model.caller import NOBODY, Caller, explain_lack
from apostille.model.credentials import (
    AssumeRoleSource,
    DefaultSource,
    ProfileSource,
    Source,
    StaticSource,
    placeholders_of,
    source_title,
)
from apostille.signing.sigv4 import Credentials

# Seconds after which a file is read again, if what it holds has no end: somebody may have replaced it.
_REREAD = 5.0
# Threads that fetch at the same time.
_SLOTS = 8
# Seconds that the fetch of an assumed role waits for the credentials of its base.
_BASE_PATIENCE = 15.0
# Callers of one source whose credentials are kept; the one that called longest ago goes first.
_CAPACITY = 1000


class Lease:
    """The right to use one source. `close` it, or let go of it: being collected gives it back at the latest."""

    def __init__(self, entry: _Entry, give_back: Callable[[], None]) -> None:
        self._entry = entry
        self._finalizer = weakref.finalize(self, give_back)
        # At the end of the process there is nobody left to give it back to.
        self._finalizer.atexit = False

    @property
    def source(self) -> Source:
        return self._entry.source

    async def get(self, caller: Caller = NOBODY, *, patience: float = PATIENCE) -> Credentials:
        """As `Keeper.get`. `caller` matters to a source with placeholders only."""
        return await self._entry.keeper(caller).get(patience)

    def current(self, now: datetime, caller: Caller = NOBODY) -> Credentials:
        """As `Keeper.current`."""
        return self._entry.keeper(caller).current(now)

    def doubt(self) -> None:
        """As `Keeper.doubt`. Credentials taken for each caller are left to their term: nobody has said whose were
        refused, and fetching them all would be a storm."""
        if not self._entry.placeholders:
            for keeper in self._entry.keepers():
                keeper.doubt()

    def close(self) -> None:
        """Gives it back, at the next turn of the event loop. Harmless the second time."""
        self._finalizer()


class Keepers:
    """`environ` is the environment of the process, read by whoever may read it. `metrics` go to `registry`."""

    def __init__(
        self,
        *,
        clock: Clock,
        environ: Mapping[str, str],
        registry: CollectorRegistry,
        capacity: int = _CAPACITY,
        jitter: Jitter = random.uniform,
        pause: Pause = wait_for_event,
    ) -> None:
        self._clock, self._environ, self._capacity = clock, Environment(environ), capacity
        self._jitter, self._pause = jitter, pause
        self._entries: dict[Source, _Entry] = {}
        self._slots = asyncio.Semaphore(_SLOTS)
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False
        self._registry = registry
        self._collector = _Gauges(self.reports, clock)
        registry.register(self._collector)
        self._failures = Counter(
            "apostille_credentials_refresh_failures_total",
            "Attempts to fetch outbound credentials that failed.",
            ("source",),
            registry=registry,
        )

    def lease(self, source: Source) -> Lease:
        """Fetches at once, if nobody uses the source yet. Needs a running event loop.

        Raises RuntimeError after `close`.
        """
        if self._closed:
            raise RuntimeError("these keepers are closed")
        entry = self._entries.get(source)
        if entry is None:
            entry = self._entries[source] = self._open(source)
        entry.users += 1
        # A collector may run in any thread.
        loop = asyncio.get_running_loop()
        return Lease(entry, partial(_call_soon, loop, partial(self._give_back, entry)))

    def reports(self) -> tuple[KeeperReport, ...]:
        """How every source in use stands, in a stable order; one report for each caller where they differ.

        Callers who have not called since their credentials ended are forgotten.
        """
        for entry in self._entries.values():
            entry.forget_idle(self._clock.now())
        found = [keeper.report() for entry in self._entries.values() for keeper in entry.keepers()]
        return tuple(sorted(found, key=_place_of))

    async def close(self) -> None:
        """Ends everything; a lease still held gives what is valid. Waits for no thread. Harmless the second time."""
        if self._closed:
            return
        self._closed = True
        for entry in tuple(self._entries.values()):
            self._end(entry)
        self._registry.unregister(self._collector)
        self._registry.unregister(self._failures)
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _open(self, source: Source) -> _Entry:
        base = self.lease(source.base) if isinstance(source, AssumeRoleSource) else None
        entry = _Entry(source, base, partial(self._open_keeper, source, base), self._retire, self._capacity)
        if not entry.placeholders:
            entry.keeper(NOBODY)
        return entry

    def _open_keeper(self, source: Source, base: Lease | None, caller: Caller) -> Keeper:
        held: Fetched | None = None
        if isinstance(source, StaticSource):
            # No thread and no waiting for what is here already; keys that cannot be keys are told in the usual way.
            with suppress(FetchError):
                held = aws.fetch(source, self._environ)
        title = source_title(source)
        keeper = Keeper(
            partial(self._fetch, source, base, caller),
            source=title,
            caller=caller,
            clock=self._clock,
            held=held,
            reread=_REREAD if isinstance(source, ProfileSource | DefaultSource) else None,
            # Of many callers few are calling: nothing is renewed for the others.
            eager=caller == NOBODY,
            failed=lambda: self._failures.labels(title).inc(),
            jitter=self._jitter,
            pause=self._pause,
        )
        keeper.start()
        return keeper

    async def _fetch(self, source: Source, base: Lease | None, caller: Caller) -> Fetched:
        work: Callable[[], Fetched]
        if isinstance(source, AssumeRoleSource) and base is not None:
            known = await base.get(caller, patience=_BASE_PATIENCE)
            work = partial(aws.fetch_assumed, source, known, self._environ, caller)
        else:
            work = partial(aws.fetch, source, self._environ)
        async with self._slots:
            return await run_in_thread(work, name="credentials")

    def _give_back(self, entry: _Entry) -> None:
        entry.users -= 1
        if entry.users == 0 and self._entries.get(entry.source) is entry:
            self._end(entry)

    def _end(self, entry: _Entry) -> None:
        self._entries.pop(entry.source, None)
        entry.closed = True
        for keeper in entry.keepers():
            self._retire(keeper)
        if entry.base is not None:
            entry.base.close()

    def _retire(self, keeper: Keeper) -> None:
        task = keeper.close()
        if task is not None:
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)


class _Entry:
    """One source: its users, and its keeper or those of its callers."""

    def __init__(
        self,
        source: Source,
        base: Lease | None,
        open_keeper: Callable[[Caller], Keeper],
        retire: Callable[[Keeper], None],
        capacity: int,
    ) -> None:
        self.source, self.base = source, base
        self.users = 0
        self.closed = False
        self._open_keeper, self._retire, self._capacity = open_keeper, retire, capacity
        self.placeholders = placeholders_of(source)
        self._keepers: OrderedDict[Caller, Keeper] = OrderedDict()

    def keepers(self) -> tuple[Keeper, ...]:
        return tuple(self._keepers.values())

    def forget_idle(self, now: datetime) -> None:
        for caller, keeper in tuple(self._keepers.items()):
            if keeper.is_idle(now):
                del self._keepers[caller]
                self._retire(keeper)

    def keeper(self, caller: Caller) -> Keeper:
        """Raises CredentialsUnavailable when the caller lacks what they are taken for, or everything has ended."""
        lacking = caller.lacks(self.placeholders)
        if lacking:
            text = f"no credentials of {source_title(self.source)}: {explain_lack(lacking)}"
            raise CredentialsUnavailable(Reason.CREDENTIALS_UNAVAILABLE, text)
        known = caller.only(self.placeholders) if self.placeholders else NOBODY
        found = self._keepers.get(known)
        if found is not None:
            self._keepers.move_to_end(known)
            return found
        if self.closed:
            text = f"{source_title(self.source)} is in use no longer"
            raise CredentialsUnavailable(Reason.CREDENTIALS_UNAVAILABLE, text)
        opened = self._keepers[known] = self._open_keeper(known)
        if len(self._keepers) > self._capacity:
            self._retire(self._keepers.popitem(last=False)[1])
        return opened


class _Gauges(Collector):
    """Read at the time of the scrape. Sources of one title, and the callers of one source, are taken together."""

    def __init__(self, reports: Callable[[], Iterable[KeeperReport]], clock: Clock) -> None:
        self._reports, self._clock = reports, clock

    def describe(self) -> Iterable[Metric]:
        return self._families()

    def collect(self) -> Iterable[Metric]:
        expiry, count = self._families()
        now = self._clock.now()
        seconds: dict[str, float] = {}
        states: dict[tuple[str, State], int] = {}
        for report in self._reports():
            if report.expires is not None:
                left = (report.expires - now).total_seconds()
                seconds[report.source] = min(left, seconds.get(report.source, left))
            for state in State:
                key = (report.source, state)
                states[key] = states.get(key, 0) + (report.state is state)
        for source, left in sorted(seconds.items()):
            expiry.add_metric((source,), left)
        for (source, state), number in sorted(states.items()):
            count.add_metric((source, state.name.lower()), number)
        return expiry, count

    @staticmethod
    def _families() -> tuple[GaugeMetricFamily, GaugeMetricFamily]:
        return (
            GaugeMetricFamily(
                "apostille_credentials_expiry_seconds",
                "Until outbound credentials end: those that end first. Below zero they have ended.",
                labels=("source",),
            ),
            GaugeMetricFamily(
                "apostille_credentials_held",
                "Outbound credentials by state: fresh, stale_but_valid, expired (or never had).",
                labels=("source", "state"),
            ),
        )


def _place_of(report: KeeperReport) -> tuple[str, str, str, tuple[tuple[str, str], ...]]:
    caller = report.caller
    return report.source, caller.consumer or "", caller.key or "", tuple(sorted(caller.metadata.items()))


def _call_soon(loop: asyncio.AbstractEventLoop, work: Callable[[], None]) -> None:
    # A closed loop has nothing left to end.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(work)
