"""Runs a program: the steps in order, the first denial ends it. Knows neither HTTP nor where requests come from.

This is what happens between every request and its answer, so nothing is made here that nobody looks at.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from apostille.auth.contract import AuthRequest, Deny, Headers, OutboundRequest, Signed
from apostille.auth.programs import StartedProgram
from apostille.auth.target import rewrite_path
from apostille.base.headers import is_header_value, is_settable_name, is_upstream_name
from apostille.model.scopes import NOTHING

DEADLINE = "auth_deadline"
STEP_FAILED = "step_failed"
INVALID_HEADER = "invalid_header"
SIGN_FAILED = "sign_failed"

# Stands for the step's name in logs where it is the outbound policy that decided.
SIGN = "outbound"

_LATE = Deny(status=503, reason=DEADLINE, broken=True)
_REASON = re.compile(r"[a-z0-9_-]{1,64}")


@dataclass(slots=True, kw_only=True)
class Passed:
    """All steps allowed. `set_headers` are merged: one value for each name, in lower case.

    `remove`: the client's headers that must not reach the upstream. `target`: the path to send, where that is decided
    here and not by the route. `query`: the query to send, where a step may have changed it. `consumer`, `key`: as in
    `contract.Allow`. `bypassed`: steps that could not be asked and were passed over at their author's word;
    `cause`: why.
    """

    set_headers: Headers
    remove: tuple[str, ...] = ()
    target: str | None = None
    query: str | None = None
    consumer: str | None = None
    key: str | None = None
    bypassed: tuple[str, ...] = ()
    cause: str | None = None


@dataclass(slots=True, kw_only=True)
class Refused:
    """`step`: who said so, empty when it did not come that far. `consumer`, `key`: of whom that step or one before it
    knows; `bypassed`: steps before it."""

    denial: Deny
    step: str = ""
    consumer: str | None = None
    key: str | None = None
    bypassed: tuple[str, ...] = ()


ChainResult = Passed | Refused


async def run_chain(started: StartedProgram, request: AuthRequest) -> ChainResult:
    """Never raises but for cancellation: whatever goes wrong in a step is a denial with `broken` set."""
    run = _Run(started)
    began = asyncio.get_running_loop().time()
    asking = run.ask(request)
    outcome: Signed | Deny | None = _LATE
    # Most chains have all they need at hand and never wait. To set a time limit for what has ended already would be
    # the dearest part of them, so there is one from the first wait on, counted from the beginning.
    try:
        waits_for = asking.send(None)
    except StopIteration as ended:
        outcome = ended.value
    else:
        limit = asyncio.timeout_at(began + started.deadline)
        try:
            async with limit:
                outcome = await _Resumed(asking, waits_for)
        except TimeoutError:
            pass
        # Asked for here and not in the handler above: a step that swallows its cancellation must not win time by it.
        if limit.expired():
            outcome = _LATE
    return run.result(outcome)


class _Resumed:
    """Awaits the rest of a coroutine that was begun by hand and waits for `waits_for`."""

    __slots__ = ("_coroutine", "_waits_for")

    def __init__(self, coroutine: Coroutine[Any, Any, Signed | Deny | None], waits_for: Any) -> None:
        self._coroutine, self._waits_for = coroutine, waits_for

    def __await__(self) -> Generator[Any, Any, Signed | Deny | None]:
        waits_for = self._waits_for
        while True:
            try:
                try:
                    answer = yield waits_for
                except BaseException as error:  # noqa: BLE001 - handed on, cancellation above all
                    waits_for = self._coroutine.throw(error)
                else:
                    waits_for = self._coroutine.send(answer)
            except StopIteration as ended:
                outcome: Signed | Deny | None = ended.value
                return outcome


class _Run:
    """One chain under way. What it has found stands here and not in `ask`, which may be cut off at the deadline."""

    __slots__ = ("_bypassed", "_cause", "_consumer", "_headers", "_key", "_metadata", "_name", "_query", "_started")

    def __init__(self, started: StartedProgram) -> None:
        self._started = started
        self._headers: dict[str, str] = {}
        self._bypassed: tuple[str, ...] = ()
        self._consumer: str | None = None
        self._key: str | None = None
        self._metadata: Mapping[str, str] = NOTHING
        self._query: str | None = None
        self._cause: str | None = None
        self._name = ""

    async def ask(self, request: AuthRequest) -> Signed | Deny | None:
        """The denial that ends it, or what the destination demands, if anything."""
        last = len(self._started.steps)
        for number, (name, step) in enumerate(self._started.steps, 1):
            self._name = name
            try:
                verdict = await step.check(request)
            except Exception as error:  # noqa: BLE001 - a step may be anyone's code, and broken means no access
                # Its text may hold a secret: only the type is kept.
                return Deny(status=503, reason=STEP_FAILED, broken=True, cause=type(error).__name__)
            if isinstance(verdict, Deny):
                self._consumer, self._key = verdict.consumer or self._consumer, verdict.key or self._key
                return _checked_denial(verdict)
            if not self._merge(verdict.set_headers, verdict.append_headers):
                return Deny(status=500, reason=INVALID_HEADER, broken=True)
            self._consumer = verdict.consumer or self._consumer
            if verdict.key is not None:
                self._key, self._metadata = verdict.key, verdict.metadata
            if verdict.query is not None:
                if not is_header_value(verdict.query):
                    return Deny(status=500, reason=INVALID_HEADER, broken=True)
                request = self._changed_query(request, verdict.query)
            if verdict.bypassed:
                self._bypassed = (*self._bypassed, name)
                self._cause = verdict.cause
            if verdict.state is not None and number < last:
                request = replace(request, state=verdict.state)
        if self._started.tells_query and self._query is None:
            # Said whether it was changed or not: where Envoy is to be told and is not, it lets nothing pass.
            self._query = request.path.partition("?")[2]
        if self._started.signer is None:
            return None
        self._name = SIGN
        return await self._sign(request)

    def _changed_query(self, request: AuthRequest, query: str) -> AuthRequest:
        self._query = query
        path = request.path.partition("?")[0]
        return replace(request, path=f"{path}?{query}" if query else path)

    async def _sign(self, request: AuthRequest) -> Signed | Deny:
        """What the destination demands goes into the headers, over what steps have set there."""
        outbound, signer = self._started.program.outbound, self._started.signer
        if outbound is None or signer is None:
            return Deny(status=503, reason=SIGN_FAILED, broken=True)
        path, mark, query = request.path.partition("?")
        seen = dict(request.headers)
        for name in self._started.remove:
            seen.pop(name, None)
        seen.update(self._headers)
        try:
            outcome = await signer.sign(
                OutboundRequest(
                    method=request.method,
                    host=outbound.target.host,
                    path=rewrite_path(path, outbound.target),
                    query=query if mark else None,
                    tls=outbound.target.tls,
                    headers=seen,
                    consumer=self._consumer,
                    key=self._key,
                    metadata=self._metadata,
                    length=request.length,
                    chunked=request.chunked,
                    body=request.body,
                    body_complete=request.body_complete,
                )
            )
        except Exception as error:  # noqa: BLE001 - an integration may be anyone's code, and broken: nothing is sent
            return Deny(status=503, reason=SIGN_FAILED, broken=True, cause=type(error).__name__)
        if isinstance(outcome, Deny):
            return _checked_denial(outcome)
        if not self._merge(outcome.headers, ()) or not is_header_value(outcome.path):
            return Deny(status=500, reason=INVALID_HEADER, broken=True)
        return outcome

    def _merge(self, set_headers: Headers, append_headers: Headers) -> bool:
        """Puts a step's headers to those of the steps before it. False: one of them must not go out, so none does."""
        if not (_are_legal(set_headers, is_upstream_name) and _are_legal(append_headers, is_upstream_name)):
            return False
        headers = self._headers
        for name, value in set_headers:
            headers[name.lower()] = value
        for name, value in append_headers:
            low = name.lower()
            headers[low] = f"{headers[low]},{value}" if low in headers else value
        return True

    def result(self, outcome: Signed | Deny | None) -> ChainResult:
        if isinstance(outcome, Deny):
            return Refused(
                denial=outcome,
                step=self._name,
                consumer=self._consumer,
                key=self._key,
                bypassed=self._bypassed,
            )
        return Passed(
            set_headers=tuple(self._headers.items()),
            remove=self._removed(() if outcome is None else outcome.remove),
            target=None if outcome is None else outcome.path,
            query=self._query,
            consumer=self._consumer,
            key=self._key,
            bypassed=self._bypassed,
            cause=self._cause,
        )

    def _removed(self, also: tuple[str, ...]) -> tuple[str, ...]:
        """What goes no further: all but the headers that are set here."""
        removable = self._started.removable
        if not also and removable.isdisjoint(self._headers):
            return self._started.remove
        return tuple(sorted(removable.union(also) - self._headers.keys()))


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
    for name, value in headers:  # noqa: SIM110 - `all` makes a generator, which costs as much as what it looks at
        if not (is_legal_name(name) and is_header_value(value)):
            return False
    return True
