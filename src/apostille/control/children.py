"""One supervised child process: started, watched, started again, stopped. It must not know what the child does."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import Process
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from apostille.base.clock import Clock
from apostille.base.errors import ChildError, StartError
from apostille.proxy.spawn import kill_session, signal_process, spawn

_POLL_SECONDS = 0.02
_LAST_WORDS_SECONDS = 1.0

Probe = Callable[[], Awaitable[bool]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """How soon a child that ended is started again, in seconds, and when we give up.

    The first restart waits `first_delay` at most, each one after it twice as long, up to `max_delay`; up to half of
    each wait is left to chance, so that children do not start in step. Having run for `steady_after` the child begins
    afresh. More than `max_exits` ends within `window` are a crash loop.
    """

    first_delay: float = 0.1
    max_delay: float = 5.0
    steady_after: float = 10.0
    max_exits: int = 10
    window: float = 60.0

    def delay(self, failures: int, chance: float) -> float:
        """Seconds to wait after that many failures in a row (1 is the first); `chance` lies between 0 and 1."""
        longest = min(self.first_delay * 2.0 ** min(failures - 1, 32), self.max_delay)
        return longest * (0.5 + 0.5 * chance)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """A child that fails `probe` this many times in a row hangs; it is killed and started again.

    A probe fails by saying so, by raising OSError, or by taking longer than `limit` seconds.
    """

    probe: Probe
    interval: float = 0.5
    limit: float = 0.5
    failures: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSpec:
    """What to run and how to treat it.

    `env`: its whole environment; nothing of ours is added. `ready`: does it serve? Asked until it says yes; without
    one the child is ready once it runs. `drain`: called before SIGTERM, has a limit of its own. `stop_seconds`: from
    SIGTERM to SIGKILL. `fatal_exits`: exit codes that, before the child was ever ready, mean that starting it again
    will not help. `stdout`, `stderr`: file descriptors, None is our own.

    `prepare`: done before each start; what it says, if anything, is reported, and StartError ends the supervision.
    `hear`: is given every line that the child writes, whichever way; `stdout` and `stderr` do not count then.
    `hopeless`: asked when the child has ended by itself: why starting it again will not help, or None.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    ready: Probe | None = None
    ready_seconds: float = 30.0
    watch: Watch | None = None
    drain: Callable[[], Awaitable[object]] | None = None
    stop_seconds: float = 5.0
    fatal_exits: frozenset[int] = frozenset()
    restart: RestartPolicy = RestartPolicy()
    stdout: int | None = None
    stderr: int | None = None
    prepare: Callable[[], Awaitable[str | None]] | None = None
    hear: Callable[[str], None] | None = None
    hopeless: Callable[[], str | None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildMended:
    """Before a start something was put right that an earlier life of the child had left."""

    name: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildStarted:
    name: str
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildReady:
    """`seconds` since it was started."""

    name: str
    pid: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildHangs:
    """It runs and does not answer (or never got ready); it is about to be killed."""

    name: str
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildEnded:
    """`code`: exit code, or the negative number of the signal. `restart_in`: seconds; None when it stays ended."""

    name: str
    pid: int
    code: int
    restart_in: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildWarned:
    """It said something that its owner should read."""

    name: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildAbandoned:
    """A child that the others can do without stays away; they go on. `retry_in`: seconds, None when nobody will."""

    name: str
    why: str
    retry_in: float | None


ChildEvent = ChildMended | ChildStarted | ChildReady | ChildHangs | ChildEnded | ChildWarned | ChildAbandoned
Report = Callable[[ChildEvent], None]


def describe_exit(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


async def listening(socket: Path) -> bool:
    """A probe: does someone accept connections on this Unix socket?"""
    try:
        _, writer = await asyncio.open_unix_connection(str(socket))
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


class Child:
    """`run` does all the work, in one task; the other methods tell it what is wanted."""

    def __init__(self, spec: ChildSpec, *, clock: Clock, chance: Callable[[], float], report: Report) -> None:
        self.spec = spec
        self._clock = clock
        self._chance = chance
        self._report = report
        self._process: Process | None = None
        self._was_ready = asyncio.Event()
        self._stop = asyncio.Event()
        self._killed = False
        self._ends: deque[float] = deque()
        self.restarts = 0

    @property
    def pid(self) -> int | None:
        """None while nothing runs."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if running and self._process else None

    async def wait_ready(self) -> None:
        """Until it was ready for the first time."""
        await self._was_ready.wait()

    def stop(self) -> None:
        """Ask for a drain and an orderly end; `run` returns when it has ended."""
        self._stop.set()

    def kill(self) -> None:
        """End it now, and for good."""
        self._killed = True
        self._stop.set()
        if self._process is not None and self._process.returncode is None:
            kill_session(self._process)

    async def run(self) -> None:
        """Keep it running until `stop`. Raises StartError when it cannot be started, ChildError in a crash loop."""
        failures = 0
        while not self._stop.is_set():
            if self.spec.prepare is not None and (words := await self.spec.prepare()) is not None:
                self._report(ChildMended(name=self.spec.name, words=words))
            started = self._clock.monotonic()
            code, pid = await self._live(started)
            if self._stop.is_set():
                self._report(ChildEnded(name=self.spec.name, pid=pid, code=code, restart_in=None))
                return
            now = self._clock.monotonic()
            failures = 1 if now - started >= self.spec.restart.steady_after else failures + 1
            try:
                self._give_up_if_hopeless(code, now)
            except (StartError, ChildError):
                self._report(ChildEnded(name=self.spec.name, pid=pid, code=code, restart_in=None))
                raise
            delay = self.spec.restart.delay(failures, self._chance())
            self._report(ChildEnded(name=self.spec.name, pid=pid, code=code, restart_in=delay))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), delay)
                return
            self.restarts += 1

    def _give_up_if_hopeless(self, code: int, now: float) -> None:
        spec, policy = self.spec, self.spec.restart
        if not self._was_ready.is_set() and code in spec.fatal_exits:
            raise StartError(f"{spec.name} could not start ({describe_exit(code)}); its own words are above")
        if spec.hopeless is not None and (why := spec.hopeless()) is not None:
            raise StartError(why)
        self._ends.append(now)
        while self._ends[0] < now - policy.window:
            self._ends.popleft()
        if len(self._ends) > policy.max_exits:
            raise ChildError(
                f"{spec.name} ended {len(self._ends)} times within {policy.window:g} s, "
                f"the last time with {describe_exit(code)}; its own words are above"
            )

    async def _live(self, started: float) -> tuple[int, int]:
        """One life: start, ready, watch, and either it ends or it is stopped. The exit code and the process id."""
        spec = self.spec
        if spec.hear is None:
            process, hearing = await spawn(spec.argv, env=spec.env, stdout=spec.stdout, stderr=spec.stderr), None
        else:
            process, hearing = await _spawn_heard(spec, spec.hear)
        self._process = process
        self._report(ChildStarted(name=spec.name, pid=process.pid))
        ended = asyncio.ensure_future(process.wait())
        stop = asyncio.ensure_future(self._stop.wait())
        care = asyncio.ensure_future(self._care(process, started))
        try:
            await asyncio.wait({ended, stop, care}, return_when=asyncio.FIRST_COMPLETED)
            if care.done() and not ended.done() and not stop.done():
                care.result()
                kill_session(process)
            elif stop.done() and not ended.done():
                care.cancel()
                await self._end(process, ended)
            code = await ended
        finally:
            for task in (stop, care):
                task.cancel()
            # Also when `run` itself is cancelled: nothing of ours stays behind. And what a dead child had started
            # itself (workers of its own) would hold its sockets against its successor.
            kill_session(process)
            await asyncio.gather(ended, stop, care, return_exceptions=True)
            if hearing is not None:
                # Its last words may tell why it ended. Nobody is left who could write more.
                await asyncio.wait({hearing}, timeout=_LAST_WORDS_SECONDS)
                hearing.cancel()
        return code, process.pid

    async def _care(self, process: Process, started: float) -> None:
        """Returns when the child hangs."""
        spec = self.spec
        if await self._get_ready(started):
            self._was_ready.set()
            seconds = self._clock.monotonic() - started
            self._report(ChildReady(name=spec.name, pid=process.pid, seconds=seconds))
            if spec.watch is None:
                await asyncio.Event().wait()
            else:
                await _watch(spec.watch)
        self._report(ChildHangs(name=spec.name, pid=process.pid))
        if not self._was_ready.is_set():
            raise StartError(f"{spec.name} was not ready after {spec.ready_seconds:g} s")

    async def _get_ready(self, started: float) -> bool:
        probe = self.spec.ready
        if probe is None:
            return True
        deadline = started + self.spec.ready_seconds
        while not await _passes(probe, max(deadline - self._clock.monotonic(), _POLL_SECONDS)):
            if self._clock.monotonic() >= deadline:
                return False
            await asyncio.sleep(_POLL_SECONDS)
        return True

    async def _end(self, process: Process, ended: asyncio.Future[int]) -> None:
        if self._killed:
            kill_session(process)
            return
        if self.spec.drain is not None:
            # A second signal, or a crash, ends the process while it drains: there is nothing left to wait for then.
            drain = asyncio.ensure_future(self.spec.drain())
            either: tuple[asyncio.Future[Any], ...] = (drain, ended)
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            drain.cancel()
            await asyncio.gather(drain, return_exceptions=True)
        signal_process(process, signal.SIGTERM)
        await asyncio.wait({ended}, timeout=self.spec.stop_seconds)
        if not ended.done():
            kill_session(process)


async def _spawn_heard(spec: ChildSpec, hear: Callable[[str], None]) -> tuple[Process, asyncio.Task[None]]:
    # A pipe of our own: the end of a process with one of asyncio's is told when nobody holds it any more.
    ours, theirs = os.pipe()
    reading = os.fdopen(ours, "rb", buffering=0)
    try:
        process = await spawn(spec.argv, env=spec.env, stdout=theirs, stderr=theirs)
    except BaseException:
        reading.close()
        raise
    finally:
        os.close(theirs)
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), reading
    )
    return process, asyncio.create_task(_hear(reader, transport, hear), name=f"words of {spec.name}")


async def _hear(reader: asyncio.StreamReader, transport: asyncio.BaseTransport, hear: Callable[[str], None]) -> None:
    try:
        while True:
            try:
                line = await reader.readline()
            except ValueError:
                # Longer than the reader takes: what is worth hearing is short.
                continue
            if not line:
                return
            hear(line.decode("utf-8", "replace").rstrip())
    finally:
        transport.close()


async def _watch(watch: Watch) -> None:
    """Returns when the probe has failed often enough."""
    failures = 0
    while failures < watch.failures:
        await asyncio.sleep(watch.interval)
        failures = 0 if await _passes(watch.probe, watch.limit) else failures + 1


async def _passes(probe: Probe, limit: float) -> bool:
    try:
        # Not wait_for: until Python 3.12 it swallows a cancellation that comes along with the answer.
        async with asyncio.timeout(limit):
            return await probe()
    except (TimeoutError, OSError):
        return False
