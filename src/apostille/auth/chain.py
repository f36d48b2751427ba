"""Runs a program: the steps in order, the first denial ends it. Knows neither HTTP nor where requests come from."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from apostille.auth.contract import Allow, AuthRequest, Deny, Headers, OutboundRequest, Signed
from apostille.auth.programs import StartedProgram
from apostille.auth.target import rewrite_path
from apostille.base.headers import is_header_value, is_settable_name, is_upstream_name

DEADLINE = "auth_deadline"
STEP_FAILED = "step_failed"
INVALID_HEADER = "invalid_header"
SIGN_FAILED = "sign_failed"

# Stands for the step's name in logs where it is the outbound policy that decided.
SIGN = "outbound"

_REASON = re.compile(r"[a-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainResult:
    """`verdict` is what the whole chain says; an Allow holds the merged headers, one value per name, in lower case.

    `step`: who decided; None when all steps allowed. `remove`: the client's headers that must not reach the upstream.
    `target`: the path to send, where that is decided here and not by the route. `bypassed`: steps that could not be
    asked and were passed over at their author's word.
    """

    verdict: Allow | Deny
    step: str | None = None
    remove: tuple[str, ...] = ()
    target: str | None = None
    consumer: str | None = None
    bypassed: tuple[str, ...] = ()


async def run_chain(started: StartedProgram, request: AuthRequest) -> ChainResult:
    """Never raises but for cancellation: whatever goes wrong in a step is a Deny with `broken` set."""
    headers: dict[str, str] = {}
    bypassed: list[str] = []
    consumer: str | None = None
    cause: str | None = None
    name = ""
    denial: Deny | None = None
    signed: Signed | None = None
    limit = asyncio.timeout(started.program.deadline_ms / 1000)
    try:
        async with limit:
            for name, step in started.steps:
                try:
                    verdict = await step.check(request)
                except Exception as error:  # noqa: BLE001 - a step may be anyone's code, and broken means no access
                    # Its text may hold a secret: only the type is kept.
                    denial = Deny(status=503, reason=STEP_FAILED, broken=True, cause=type(error).__name__)
                    break
                if isinstance(verdict, Deny):
                    denial = _checked_denial(verdict)
                    break
                if not _merge(headers, verdict):
                    denial = Deny(status=500, reason=INVALID_HEADER, broken=True)
                    break
                consumer = verdict.consumer or consumer
                if verdict.bypassed:
                    bypassed.append(name)
                    cause = verdict.cause
                if verdict.state is not None:
                    request = replace(request, state=verdict.state)
            if denial is None and started.signer is not None:
                name = SIGN
                outcome = await _sign(started, request, headers, consumer)
                denial, signed = (outcome, None) if isinstance(outcome, Deny) else (None, outcome)
    except TimeoutError:
        pass
    # Asked for here and not in the handler above: a step that swallows its cancellation must not win time by it.
    if limit.expired():
        denial = Deny(status=503, reason=DEADLINE, broken=True)
    if denial is not None:
        return ChainResult(verdict=denial, step=name, consumer=consumer, bypassed=tuple(bypassed))
    removable = started.removable | set(signed.remove) if signed is not None else started.removable
    return ChainResult(
        verdict=Allow(set_headers=tuple(headers.items()), consumer=consumer, bypassed=bool(bypassed), cause=cause),
        remove=tuple(sorted(removable - headers.keys())),
        target=signed.path if signed is not None else None,
        consumer=consumer,
        bypassed=tuple(bypassed),
    )


async def _sign(
    started: StartedProgram, request: AuthRequest, headers: dict[str, str], consumer: str | None
) -> Signed | Deny:
    """What the destination demands goes into `headers`, over what steps have set there."""
    outbound = started.program.outbound
    if outbound is None or started.signer is None:
        return Deny(status=503, reason=SIGN_FAILED, broken=True)
    path, mark, query = request.path.partition("?")
    seen = {name: value for name, value in request.headers.items() if name not in started.removable}
    try:
        outcome = await started.signer.sign(
            OutboundRequest(
                method=request.method,
                host=outbound.target.host,
                path=rewrite_path(path, outbound.target),
                query=query if mark else None,
                tls=outbound.target.tls,
                headers={**seen, **headers},
                consumer=consumer,
                length=request.length,
                chunked=request.chunked,
                body=request.body,
                body_complete=request.body_complete,
            )
        )
    except Exception as error:  # noqa: BLE001 - an integration may be anyone's code, and broken means nothing is sent
        return Deny(status=503, reason=SIGN_FAILED, broken=True, cause=type(error).__name__)
    if isinstance(outcome, Deny):
        return _checked_denial(outcome)
    if not _merge(headers, Allow(set_headers=outcome.headers)) or not is_header_value(outcome.path):
        return Deny(status=500, reason=INVALID_HEADER, broken=True)
    return outcome


def _merge(headers: dict[str, str], verdict: Allow) -> bool:
    """Puts the step's headers to those of the steps before it. False: one of them must not go out, so none does."""
    if not _are_legal((*verdict.set_headers, *verdict.append_headers), is_upstream_name):
        return False
    for name, value in verdict.set_headers:
        headers[name.lower()] = value
    for name, value in verdict.append_headers:
        low = name.lower()
        headers[low] = f"{headers[low]},{value}" if low in headers else value
    return True


def _checked_denial(verdict: Deny) -> Deny:
    if not _are_legal(verdict.headers, is_settable_name):
        return Deny(status=500, reason=INVALID_HEADER, broken=True)
    if not 300 <= verdict.status <= 599:
        # A denial with status 200 would be an approval on the wire.
        return Deny(status=500, reason=STEP_FAILED, broken=True, cause=f"status {verdict.status}")
    if _REASON.fullmatch(verdict.reason) is None:
        return replace(verdict, reason="denied")
    return verdict


def _are_legal(headers: Headers, is_legal_name: Callable[[str], bool]) -> bool:
    return all(is_legal_name(name) and is_header_value(value) for name, value in headers)
