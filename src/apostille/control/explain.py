"""How a request would be signed: the compile and the signer of the running product, and nothing is sent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry

from apostille.auth.contract import Deny, OutboundRequest, SignerTools
from apostille.auth.upstreams import UpstreamStore
from apostille.base.clock import Clock
from apostille.base.errors import ApostilleError
from apostille.control.candidate import Judging
from apostille.control.reading import Reader
from apostille.credentials.keepers import Keepers
from apostille.integrations import INTEGRATIONS
from apostille.sources.files import FilesSource
from apostille.translate.destinations import Destinations
from apostille.translate.findings import Ledger
from apostille.translate.outbound import CompiledOutbound, compile_outbounds


async def explain_signature(
    path: Path,
    policy: str,
    method: str,
    url: str,
    headers: Mapping[str, str],
    *,
    judging: Judging,
    clock: Clock,
    environment: Mapping[str, str],
) -> tuple[tuple[str, str], ...]:
    """Titled texts. `policy` is ``namespace/name`` or a name that only one OutboundAuthPolicy has.

    Raises ApostilleError when there is no such policy, it has errors, or it refuses the request.
    """
    outbound = _find_policy(path, policy, judging)
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ApostilleError(f"{url!r} is no URL of a service; write for example https://bucket.s3.amazonaws.com/key")
    kind = next(each for each in INTEGRATIONS if each.name == outbound.kind)
    keepers = Keepers(clock=clock, environ=environment, registry=CollectorRegistry())
    try:
        tools = SignerTools(clock=clock, credentials=keepers, upstream=UpstreamStore().view(outbound.policy.ref.short))
        signer = kind.start(outbound.integration.config if outbound.integration else None, tools)
        explained = await signer.explain(
            OutboundRequest(
                method=method.upper(),
                host=parts.netloc.rpartition("@")[2],
                path=parts.path or "/",
                query=parts.query or None,
                tls=parts.scheme == "https",
                headers={name.lower(): value for name, value in headers.items()},
                length=0,
            )
        )
    finally:
        await keepers.close()
    if isinstance(explained, Deny):
        why = f": {explained.body.strip()}" if explained.body else ""
        raise ApostilleError(f"the policy {policy} answers {explained.status} {explained.reason}{why}")
    return explained


def _find_policy(path: Path, policy: str, judging: Judging) -> CompiledOutbound:
    snapshot, ledger = Reader().read(FilesSource(path).read()).snapshot, Ledger()
    compiled = compile_outbounds(snapshot, judging.integrations, Destinations(snapshot), ledger)
    named = [each for each in compiled.policies if policy in (each.policy.ref.name, each.policy.ref.short)]
    if len(named) != 1:
        known = ", ".join(each.policy.ref.short for each in compiled.policies) or "none"
        raise ApostilleError(f"{policy!r} names {len(named)} OutboundAuthPolicies in {path}; there are: {known}")
    if named[0].integration is None:
        raise ApostilleError(f"the policy {policy} has errors; see: apostille check {path}")
    return named[0]
