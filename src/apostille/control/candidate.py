"""A snapshot of resources on its way to being published: translated, then proven by a real Envoy."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from apostille.base.refs import Origin, Ref
from apostille.model.gateway import Gateway
from apostille.proxy.bootstrap import compile_auth_cluster
from apostille.proxy.process import validate
from apostille.resources.snapshot import Snapshot
from apostille.status.problem import Finding, Problem
from apostille.status.reasons import Effect, Reason
from apostille.translate.contract import IntegrationCompiler, StepCompiler
from apostille.translate.pipeline import translate
from apostille.xds.configuration import emit_static
from apostille.xds.feedback import Nack
from apostille.xds.proof import Proven, Refusal, prove
from apostille.xds.site import Site

# Only named, never connected to: Envoy asks no cluster anything while it judges.
_AUTH_SOCKET = Path("/nonexistent/auth.sock")


@dataclass(frozen=True, slots=True, kw_only=True)
class Judging:
    """What a translation and its proof need besides the resources. `ports`: written port (name or number) → number."""

    steps: Mapping[str, StepCompiler]
    integrations: Mapping[str, IntegrationCompiler]
    ports: Mapping[str, int]
    site: Site
    envoy: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """`gateway` is accepted by Envoy as a whole."""

    gateway: Gateway
    findings: tuple[Finding, ...]


async def compile_candidate(snapshot: Snapshot, judging: Judging) -> Candidate:
    translation = translate(snapshot, judging.steps, judging.integrations, judging.ports)
    proven = await prove_with_envoy(translation.gateway, judging)
    return Candidate(
        gateway=proven.gateway,
        findings=(*translation.findings, *(_finding(snapshot, refusal) for refusal in proven.refusals)),
    )


async def prove_with_envoy(gateway: Gateway, judging: Judging) -> Proven:
    async def judge(some: Gateway) -> str | None:
        static = emit_static(some, judging.site, [compile_auth_cluster([_AUTH_SOCKET])])
        return await validate(json.dumps(static), judging.envoy)

    return await prove(gateway, judge)


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
