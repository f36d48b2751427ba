"""Runs a program: the steps in order, the first denial ends it. Knows neither HTTP nor where requests come from."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from apostille.auth.contract import Allow, AuthRequest, Deny, Headers
from apostille.auth.programs import StartedProgram
from apostille.base.headers import is_header_value, is_settable_name, is_upstream_name

DEADLINE = "auth_deadline"
STEP_FAILED = "step_failed"
INVALID_HEADER = "invalid_header"

_REASON = re.compile(r"[a-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainResult:
    """`verdict` is what the whole chain says; an Allow holds the merged headers, one value per name, in lower case.

    `step`: who decided; None when all steps allowed. `remove`: the client's headers that must not reach the upstream.
    `bypassed`: steps that could not be asked and were passed over at their author's word.
    """

    verdict: Allow | Deny
    step: str | None = None
    remove: tuple[str, ...] = ()
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
    except TimeoutError:
        pass
    # Asked for here and not in the handler above: a step that swallows its cancellation must not win time by it.
    if limit.expired():
        denial = Deny(status=503, reason=DEADLINE, broken=True)
    if denial is not None:
        return ChainResult(verdict=denial, step=name, consumer=consumer, bypassed=tuple(bypassed))
    return ChainResult(
        verdict=Allow(set_headers=tuple(headers.items()), consumer=consumer, bypassed=bool(bypassed), cause=cause),
        remove=tuple(sorted(started.removable - headers.keys())),
        consumer=consumer,
        bypassed=tuple(bypassed),
    )


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
