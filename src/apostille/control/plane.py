"""The control plane: one loop from a changed text to a published configuration and a status for every resource."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from structlog.typing import FilteringBoundLogger

from apostille.base.clock import Clock
from apostille.base.errors import StartError
from apostille.control.candidate import Candidate, CandidateCompiler, Judging, refused_by_envoy
from apostille.control.last_good import LastGood, LastGoodStore, Unusable
from apostille.control.metrics import ControlMetrics
from apostille.control.publish import Published, Publisher
from apostille.control.reading import Reader, Reading
from apostille.model.gateway import Gateway
from apostille.sources.contract import Source, Texts
from apostille.status.report import Report, compile_report
from apostille.xds.routes import RouteCache


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Where the control plane stands. `generation` counts publications of this process; 0: nothing published yet.

    `degraded` says why what is served is not what stands in the source.
    """

    generation: int = 0
    version: str = ""
    acknowledged: bool = False
    degraded: str | None = None
    report: Report = field(default_factory=lambda: Report(statuses=(), loose=()))


class ControlPlane:
    def __init__(
        self,
        *,
        source: Source,
        judging: Judging,
        publisher: Publisher,
        last_good: LastGoodStore,
        metrics: ControlMetrics,
        clock: Clock,
        log: FilteringBoundLogger,
        published: Callable[[Gateway], None] = lambda _gateway: None,
        routes: RouteCache | None = None,
    ) -> None:
        """`published` is told of every gateway that is served from then on. `routes`: those of the publisher."""
        self._source = source
        self._judging = judging
        self._compiler = CandidateCompiler(judging, routes)
        self._publisher = publisher
        self._last_good = last_good
        self._metrics = metrics
        self._clock = clock
        self._log = log
        self._published = published
        self._reader: Reader | None = None
        self.state = State()

    async def start(self) -> None:
        """The first configuration.

        Raises StartError when a file cannot be read and there is no last good copy of it: what it would guard is not
        known, so nothing may be opened.
        """
        texts = await asyncio.to_thread(self._source.read)
        good = await asyncio.to_thread(self._last_good.load)
        if isinstance(good, Unusable):
            self._log.warning("last_good.ignored", why=str(good))
        copy: Mapping[str, str] = good.texts if isinstance(good, LastGood) else {}
        if copy and not texts.files:
            texts = Texts(files={}, findings=texts.findings, vanished=True)
        self._reader = Reader(copy)
        reading = self._reader.read(texts)
        if reading.blind or (texts.findings and not texts.files and not reading.texts):
            lines = "\n".join(f"  {finding}" for finding in reading.findings if not finding.is_warning)
            raise StartError(
                f"{self._source.name} cannot be read, and there is no last good copy to serve instead:\n{lines}"
            )
        await self._publish(reading)
        # What is there now stays for long. Otherwise the collector would look through all of it in the middle of some
        # later change, and take as long as the rest of that change.
        gc.freeze()

    async def run(self, stop: asyncio.Event) -> None:
        """Follow the source until `stop` is set. A failure of ours is logged; what is served stays."""
        async for texts in self._source.changes(stop):
            try:
                await self.apply(texts)
            except Exception:  # noqa: BLE001 - whatever it is, traffic goes on with what was published last
                self._metrics.failures.inc()
                self._log.exception("configuration.failed")

    async def apply(self, texts: Texts) -> State:
        """Read, translate, prove, publish. Returns the state afterwards."""
        if self._reader is None:
            raise RuntimeError("start comes first")
        return await self._publish(self._reader.read(texts))

    async def _publish(self, reading: Reading) -> State:
        began = self._clock.monotonic()
        candidate = await self._compiler.compile(reading.snapshot)
        published = await self._publisher.publish(candidate.gateway, self._judging.site)
        self._published(candidate.gateway)
        report = _report(reading, candidate, published)
        degraded = f"{', '.join(reading.stale)} cannot be read; served as last read" if reading.stale else None
        self.state = State(
            generation=self.state.generation + 1,
            version=published.version,
            acknowledged=published.acknowledged,
            degraded=degraded,
            report=report,
        )
        self._tell(self.state, self._clock.monotonic() - began)
        if not published.refusals:
            trouble = await asyncio.to_thread(self._last_good.save, reading.texts)
            if trouble is not None:
                self._log.warning("last_good.not_saved", why=trouble)
        return self.state

    def _tell(self, state: State, seconds: float) -> None:
        errors = sum(not finding.is_warning for finding in state.report.findings)
        warnings = len(state.report.findings) - errors
        self._metrics.published(state.generation, seconds, errors=errors, warnings=warnings)
        self._log.info(
            "configuration.published",
            generation=state.generation,
            version=state.version[:12],
            acknowledged=state.acknowledged,
            resources=len(state.report.statuses),
            errors=errors,
            warnings=warnings,
            seconds=round(seconds, 3),
            **({"degraded": state.degraded} if state.degraded else {}),
        )
        for finding in state.report.findings:
            write = self._log.warning if finding.is_warning else self._log.error
            write("configuration.finding", finding=str(finding))


def _report(reading: Reading, candidate: Candidate, published: Published) -> Report:
    refused = refused_by_envoy(reading.snapshot, published.refusals, candidate.gateway)
    return compile_report(
        ((resource.ref, resource.origin) for resource in reading.snapshot.resources),
        (*reading.findings, *candidate.findings, *refused),
        candidate.notes,
    )
