"""Keeps a set of child processes running, in order. It must not know what they do: that is in their specs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from apostille.base.clock import Clock
from apostille.control.children import Child, ChildSpec, Report


class Supervisor:
    """Children in stages: each stage starts once everything before it is ready, and stops before everything before it.

    ::

        supervisor = Supervisor([[control_plane], auth_workers, [envoy]], clock=clock, chance=random.random, report=log)
        try:
            if await supervisor.start():
                await supervisor.wait()
        finally:
            await supervisor.stop()

    Signals are not its business: on the first one call `stop`, on the second `kill`.
    """

    def __init__(
        self,
        stages: Sequence[Sequence[ChildSpec]],
        *,
        clock: Clock,
        chance: Callable[[], float],
        report: Report,
    ) -> None:
        """`chance` gives numbers between 0 and 1, for the jitter of restarts; `report` is told of everything."""
        self._child = partial(Child, clock=clock, chance=chance, report=report)
        self._stages = [[self._child(spec) for spec in stage] for stage in stages]
        self._runs: dict[Child, asyncio.Task[None]] = {}
        self._beside: dict[Child, asyncio.Task[None]] = {}
        self._stopping = asyncio.Event()

    @property
    def children(self) -> tuple[Child, ...]:
        return (*(child for stage in self._stages for child in stage), *self._beside)

    async def start(self) -> bool:
        """Start the stages in order. True when all are ready, False when `stop` or `kill` was called meanwhile.

        Raises StartError or ChildError when a child cannot be brought up; call `stop` then.
        """
        for stage in self._stages:
            if self._stopping.is_set():
                return False
            for child in stage:
                self._runs[child] = asyncio.create_task(child.run(), name=f"child {child.spec.name}")
            readies = [asyncio.ensure_future(child.wait_ready()) for child in stage]
            try:
                await self._unless_one_fails(asyncio.gather(*readies))
            finally:
                for ready in readies:
                    ready.cancel()
                await asyncio.gather(*readies, return_exceptions=True)
        return not self._stopping.is_set()

    async def wait(self) -> None:
        """Until `stop` or `kill` is called. Raises ChildError when a child keeps dying; call `stop` then."""
        await self._unless_one_fails(asyncio.Event().wait())

    async def run_beside(self, spec: ChildSpec) -> None:
        """Keep one more child running, one that the others can do without, until `stop`, which ends it last.

        Raises StartError or ChildError when it cannot be kept running; nothing else ends by that.
        """
        if self._stopping.is_set():
            return
        child = self._child(spec)
        run = self._beside[child] = asyncio.create_task(child.run(), name=f"child {spec.name}")
        try:
            await run
        finally:
            del self._beside[child]

    async def stop(self) -> None:
        """Drain and stop everything: the last stage first, who runs beside the stages last.

        Calling it twice waits for the same end.
        """
        self._stopping.set()
        for stage in reversed(self._stages):
            runs = [self._runs[child] for child in stage if child in self._runs]
            for child in stage:
                child.stop()
            await asyncio.gather(*runs, return_exceptions=True)
        for child in self._beside:
            child.stop()
        await asyncio.gather(*self._beside.values(), return_exceptions=True)

    def kill(self) -> None:
        """End everything now; a `stop` under way (or called afterwards) then returns at once."""
        self._stopping.set()
        for child in self.children:
            child.kill()

    async def _unless_one_fails(self, wanted: Awaitable[object]) -> None:
        """Wait for what is wanted, for `stop`, or for a child's error, which is raised."""
        goal = asyncio.ensure_future(wanted)
        stop = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({goal, stop, *self._runs.values()}, return_when=asyncio.FIRST_COMPLETED)
            if not stop.done():
                for run in self._runs.values():
                    if run.done():
                        run.result()
        finally:
            for task in (goal, stop):
                task.cancel()
            await asyncio.gather(goal, stop, return_exceptions=True)
