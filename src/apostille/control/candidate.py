"""A snapshot of resources on its way to being published: translated, then proven by a real Envoy."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from apostille.base.collector import collector_paused
from apostille.base.refs import Origin, Ref
from apostille.model.gateway import Gateway
from apostille.model.lane import Lanes
from apostille.proxy.bootstrap import compile_auth_cluster, compile_xds_cluster
from apostille.proxy.process import validate
from apostille.resources.snapshot import Snapshot
from apostille.status.problem import Finding, Note, Problem
from apostille.status.reasons import Effect, Reason
from apostille.translate.contract import IntegrationCompiler, StepCompiler
from apostille.translate.pipeline import Translator
from apostille.translate.slots import SlotAssignment, assign_slots
from apostille.xds.configuration import emit_routes, emit_static
from apostille.xds.feedback import Nack
from apostille.xds.proof import Proven, Refusal, prove
from apostille.xds.routes import RouteCache
from apostille.xds.site import Site

# Only named, never connected to: Envoy asks no cluster anything while it judges.
_SOCKET = Path("/nonexistent.sock")


@dataclass(frozen=True, slots=True, kw_only=True)
class Judging:
    """What a translation and its proof need besides the resources. `ports`: written port (name or number) → number.
    `assign`, `lanes`: as for `Translator`."""

    steps: Mapping[str, StepCompiler]
    integrations: Mapping[str, IntegrationCompiler]
    ports: Mapping[str, int]
    site: Site
    envoy: Path
    assign: SlotAssignment = assign_slots
    lanes: Lanes = Lanes.AUTO


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """`gateway` is accepted by Envoy as a whole."""

    gateway: Gateway
    findings: tuple[Finding, ...]
    notes: tuple[Note, ...] = ()


async def compile_candidate(snapshot: Snapshot, judging: Judging) -> Candidate:
    return await CandidateCompiler(judging).compile(snapshot)


class CandidateCompiler:
    """Compiles one candidate after the other; what did not change is neither translated nor proven again."""

    def __init__(self, judging: Judging, routes: RouteCache | None = None) -> None:
        """`routes`: of whoever publishes the candidate. Its routes are in there by then, as Envoy is sent them."""
        self._judging = judging
        self._emission = _Emission(routes or RouteCache())
        self._translator = Translator(judging.steps, judging.integrations, judging.ports, judging.assign, judging.lanes)
        self._proven: Gateway | None = None

    async def compile(self, snapshot: Snapshot) -> Candidate:
        translation = self._translator.translate(snapshot)
        # Most are proven sound, so what will be sent is made while Envoy looks.
        proven, _ = await asyncio.gather(
            _prove(translation.gateway, self._judging, self._proven, self._emission),
            self._emission.prepare(translation.gateway),
        )
        self._proven = proven.gateway
        return Candidate(
            gateway=proven.gateway,
            findings=(*translation.findings, *(_finding(snapshot, refusal) for refusal in proven.refusals)),
            notes=translation.notes,
        )


async def prove_with_envoy(gateway: Gateway, judging: Judging, before: Gateway | None = None) -> Proven:
    """`before`: one that was proven earlier, by the same `judging`."""
    return await _prove(gateway, judging, before, _Emission(RouteCache()))


async def _prove(gateway: Gateway, judging: Judging, before: Gateway | None, emission: _Emission) -> Proven:
    async def judge(some: Gateway) -> str | None:
        return await validate(await emission.static(some, judging.site), judging.envoy)

    return await prove(gateway, judge, before)


class _Emission:
    """What is emitted of a candidate, in threads: requests for configuration are answered meanwhile. One thing at a
    time, as a cache is not made for two threads."""

    def __init__(self, routes: RouteCache) -> None:
        self._routes = routes
        self._turn = asyncio.Lock()

    async def static(self, gateway: Gateway, site: Site) -> bytes:
        async with self._turn:
            return await asyncio.to_thread(self._static, gateway, site)

    async def prepare(self, gateway: Gateway) -> None:
        async with self._turn:
            await asyncio.to_thread(self._prepare, gateway)

    def _static(self, gateway: Gateway, site: Site) -> bytes:
        own = [compile_auth_cluster([_SOCKET]), compile_xds_cluster(_SOCKET)]
        with collector_paused():
            text: bytes = emit_static(gateway, site, own, self._routes).SerializeToString()
            return text

    def _prepare(self, gateway: Gateway) -> None:
        with collector_paused():
            for listener in gateway.listeners:
                emit_routes(listener, self._routes)


def refused_by_envoy(snapshot: Snapshot, nacks: Iterable[Nack], gateway: Gateway) -> tuple[Finding, ...]:
    """What running Envoys refused although the proof had passed, such as a port that is taken."""
    owners = {
        **{destination.name: destination.owner for destination in gateway.destinations},
        **{listener.name: listener.owner for listener in gateway.listeners},
    }
    findings = []
    for nack in nacks:
        # Envoy takes the good listeners and clusters of a response and names the bad ones in its words.
        named = [name for name in nack.names if name in nack.text] or list(nack.names)
        findings += [
            _finding(snapshot, Refusal(owner=owner, what=", ".join(named), words=nack.text))
            for owner in sorted({owners[name] for name in named if name in owners})
        ]
    return tuple(findings)


def _finding(snapshot: Snapshot, refusal: Refusal) -> Finding:
    # Envoy tells the whole way down to what it refuses; only its end says something.
    words = refusal.words.rpartition(" | caused by ")[2].strip().removesuffix(")")
    message = f"Envoy refuses {refusal.what}: {words}"
    return Finding(
        ref=refusal.owner,
        origin=_origin(snapshot, refusal.owner),
        problem=Problem(at=(), reason=Reason.REJECTED_BY_ENVOY, message=message),
        effect=Effect.REPLACED,
    )


def _origin(snapshot: Snapshot, ref: Ref) -> Origin:
    resource = snapshot.find(ref)
    return resource.origin if resource is not None else Origin("", 1, 1)
