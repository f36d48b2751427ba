"""The measurement itself: fresh starts, each round of a design between two rounds of a fresh bare Envoy."""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from apostille.base.errors import ChildError, StartError
from bench import accounting
from bench.correctness import check_design
from bench.design import Design, NotHere, Place, Running, WrongAnswer
from bench.designs.bare_envoy import BareEnvoy
from bench.envoy_config import upstream_config
from bench.figures import Placement, Round, Sandwich
from bench.load import Outcome, run_full, run_rate
from bench.processes import run_envoy
from bench.report import Row
from bench.schedule import Visit, plan

_FAILED = (StartError, ChildError, WrongAnswer, TimeoutError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """`starts`, `scale_starts`: fresh starts of the main designs and of those with many routes or keys.

    `shared_starts`: of the former, in how many the two placements are measured. The rest are seconds.
    """

    starts: int
    scale_starts: int
    shared_starts: int
    round_seconds: int
    rate_seconds: float


QUICK = Effort(starts=2, scale_starts=1, shared_starts=1, round_seconds=1, rate_seconds=1.0)
FULL = Effort(starts=7, scale_starts=5, shared_starts=3, round_seconds=2, rate_seconds=3.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cores:
    """`gateway`, `load`: where the measured processes and everything else run when pinned; `all`: when not."""

    gateway: frozenset[int]
    load: frozenset[int]
    all: frozenset[int]

    @property
    def separate(self) -> bool:
        return not self.gateway & self.load


def find_cores() -> Cores:
    """One processor for what is measured and one for the load, or the only one for both."""
    usable = sorted(os.sched_getaffinity(0))[:2]
    return Cores(gateway=frozenset(usable[:1]), load=frozenset(usable[-1:]), all=frozenset(usable))


@dataclass(kw_only=True)
class Measured:
    """Everything seen of one design. `rate`: rounds at the fixed rate. `skipped`: why there is nothing."""

    design: Design
    sandwiches: list[Sandwich] = field(default_factory=list)
    rate: list[Outcome] = field(default_factory=list)
    pss_bytes: list[int] = field(default_factory=list)
    start_seconds: list[float] = field(default_factory=list)
    skipped: str | None = None


class Bench:
    """`say` gets a line for whatever happens."""

    def __init__(self, designs: Sequence[Design], effort: Effort, *, seed: int, say: Callable[[str], None]) -> None:
        self._effort = effort
        self._seed = seed
        self._say = say
        self._cores = find_cores()
        self._upstream = 0
        self._upstream_pid = 0
        self.measured: Mapping[str, Measured] = {each.name: Measured(design=each) for each in designs}

    async def run(self) -> None:
        with _folder() as folder:
            async with run_envoy(upstream_config(), folder / "upstream", workers=1) as (upstream, port):
                self._upstream, self._upstream_pid = port, upstream.pid
                await self._check_all()
                visits = plan(self._starts(), self._seed)
                for number, visit in enumerate(visits, start=1):
                    if self.measured[visit.design].skipped is None:
                        await self._guarded(visit.design, self._visit(visit))
                        self._tell(number, len(visits), visit)

    def _starts(self) -> Mapping[str, int]:
        effort = self._effort
        return {
            name: effort.starts if each.design.group == "main" else effort.scale_starts
            for name, each in self.measured.items()
            if each.skipped is None
        }

    async def _check_all(self) -> None:
        for name, each in self.measured.items():
            whole = self.measured.get(each.design.follows)
            if whole is not None and whole.skipped is not None:
                each.skipped = f"skipped: as {each.design.follows}"
            else:
                await self._guarded(name, self._check(each.design))
            self._say(f"{name}: {each.skipped or 'does the job'}")

    async def _check(self, design: Design) -> None:
        with _folder() as folder:
            await check_design(design, self._place(folder))

    async def _guarded(self, name: str, deed: Awaitable[None]) -> None:
        """What is wrong with one design ends that one only."""
        try:
            await deed
        except NotHere as error:
            self.measured[name].skipped = f"skipped: {error}"
        except _FAILED as error:
            self.measured[name].skipped = f"FAILED: {type(error).__name__}: {error}"

    async def _visit(self, visit: Visit) -> None:
        measured = self.measured[visit.design]
        main = measured.design.group == "main"
        with _folder() as folder, _folder() as bare_folder:
            async with BareEnvoy().start(self._place(bare_folder)) as bare:
                began = time.monotonic()
                async with measured.design.start(self._place(folder)) as running:
                    measured.start_seconds.append(time.monotonic() - began)
                    self._put(running, "pinned")
                    await run_full(running.target, 1, self._cores.load)
                    if self._cores.separate:
                        measured.sandwiches.append(await self._sandwich(visit.start, "pinned", bare, running))
                    if main:
                        measured.rate.append(await self._at_rate(running))
                    if not self._cores.separate or (main and visit.start < self._effort.shared_starts):
                        measured.sandwiches.append(await self._sandwich(visit.start, "shared", bare, running))
                    measured.pss_bytes.append(accounting.read_pss_bytes(accounting.family(running.roots)))

    async def _sandwich(self, start: int, placement: Placement, bare: Running, running: Running) -> Sandwich:
        rounds = [await self._round(each, placement) for each in (bare, running, bare)]
        return Sandwich(start=start, placement=placement, before=rounds[0], middle=rounds[1], after=rounds[2])

    async def _at_rate(self, running: Running) -> Outcome:
        self._put(running, "pinned")
        return await run_rate(running.target, self._effort.rate_seconds, self._cores.load)

    async def _round(self, running: Running, placement: Placement) -> Round:
        self._put(running, placement)
        load_cores = self._cores.load if placement == "pinned" else self._cores.all
        roots, own = running.roots, os.getpid()
        began, began_busy, began_children = time.monotonic_ns(), accounting.read_busy_ns(), _children_ns()
        before = accounting.read_threads(accounting.family(roots))
        all_before = accounting.read_threads(accounting.family((own,)))
        outcome = await run_full(running.target, self._effort.round_seconds, load_cores)
        after = accounting.read_threads(accounting.family(roots))
        all_after = accounting.read_threads(accounting.family((own,)))
        wall = time.monotonic_ns() - began
        load_ns = _children_ns() - began_children
        ours = accounting.spent(all_before, all_after) + load_ns
        upstream = self._upstream_pid
        upstream_ns = accounting.spent(
            {thread: ns for thread, ns in all_before.items() if thread[0] == upstream},
            {thread: ns for thread, ns in all_after.items() if thread[0] == upstream},
        )
        return Round(
            requests=outcome.requests,
            failed=outcome.failed,
            seconds=outcome.seconds,
            cpu_ns=accounting.spent(before, after),
            others=max(accounting.read_busy_ns() - began_busy - ours, 0) / wall,
            load_share=(load_ns + upstream_ns) / 1e9 / outcome.seconds if placement == "pinned" else 0.0,
            p50=outcome.p50,
            p99=outcome.p99,
        )

    def _put(self, running: Running, placement: Placement) -> None:
        """Move threads that already run: one start serves both placements, with the same luck in memory."""
        pinned = placement == "pinned"
        accounting.set_cores(accounting.family(running.roots), self._cores.gateway if pinned else self._cores.all)
        accounting.set_cores((self._upstream_pid,), self._cores.load if pinned else self._cores.all)

    def _place(self, folder: Path) -> Place:
        return Place(folder=folder, upstream=self._upstream, cores=os.cpu_count() or 1)

    def _tell(self, number: int, of: int, visit: Visit) -> None:
        measured = self.measured[visit.design]
        if measured.skipped is not None:
            self._say(f"[{number}/{of}] {visit.design}: {measured.skipped}")
            return
        last = measured.sandwiches[-1]
        first = next(each for each in measured.sandwiches if each.start == visit.start)
        self._say(
            f"[{number}/{of}] {visit.design}: {first.middle.cpu_us:.1f} µs, {first.cpu_ratio:.2f} × bare, "
            f"{first.middle.rate:,.0f}/s{'' if last.quiet else ' (noisy)'}"
        )


def _children_ns() -> int:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return int((used.ru_utime + used.ru_stime) * 1e9)


@contextmanager
def _folder() -> Iterator[Path]:
    # Short: the paths of Unix sockets have few bytes.
    folder = Path(tempfile.mkdtemp(prefix="ab-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def compile_row(measured: Measured) -> Row:
    design = measured.design
    return Row(
        name=design.name,
        title=design.title,
        group=design.group,
        scale=design.scale,
        skipped=measured.skipped,
        sandwiches=tuple(measured.sandwiches),
        at_rate=tuple(measured.rate),
        pss_bytes=tuple(measured.pss_bytes),
        start_seconds=tuple(measured.start_seconds),
    )
