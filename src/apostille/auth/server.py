"""The auth service as a web application (RSGI), and the web server under it. One process is one worker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from granian.constants import HTTPModes, Interfaces
from granian.rsgi import ProtocolClosed  # type: ignore[attr-defined]  # public, but not marked so
from granian.server.embed import Server
from prometheus_client import CollectorRegistry, generate_latest

from apostille.auth.chain import ChainResult, Passed, Refused, run_chain
from apostille.auth.check import Answer, Check, emit_answer, parse_check
from apostille.auth.contract import Deny
from apostille.auth.decisions import ALLOW, BROKEN, DENY, Decision, DecisionLog, DecisionMetrics
from apostille.auth.programs import Programs
from apostille.base.check import CHECK_PREFIX
from apostille.base.clock import Clock
from apostille.base.errors import ChildError

PROGRAM_UNKNOWN = "program_unknown"
INTERNAL_ERROR = "internal_error"


class RsgiHeaders(Protocol):
    def items(self) -> Sequence[tuple[str, str]]:
        """Without the headers whose value is not ASCII."""
        ...

    def keys(self) -> Sequence[str]: ...


class RsgiScope(Protocol):
    """The part of an RSGI scope that is used here."""

    method: str
    path: str
    query_string: str
    authority: str | None

    @property
    def headers(self) -> RsgiHeaders: ...


class RsgiProtocol(Protocol):
    """The part of an RSGI HTTP protocol that is used here."""

    async def __call__(self) -> bytes: ...

    def response_empty(self, status: int, headers: list[tuple[str, str]]) -> None: ...

    def response_str(self, status: int, headers: list[tuple[str, str]], body: str) -> None: ...


class AuthService:
    """``/check…`` answers Envoy, ``GET /metrics`` Prometheus, ``GET /credentials`` the status page, ``GET /healthz``
    whoever asks; the rest is 404.

    `ready` is set once the server takes requests.
    """

    def __init__(
        self,
        *,
        programs: Programs,
        log: DecisionLog,
        metrics: DecisionMetrics,
        registry: CollectorRegistry,
        clock: Clock,
        credentials: Callable[[], Sequence[Mapping[str, object]]],
    ) -> None:
        """`credentials`: how each source of outbound credentials stands, as JSON objects without a secret."""
        self._programs = programs
        self._log = log
        self._metrics = metrics
        self._registry = registry
        self._clock = clock
        self._credentials = credentials
        self.ready = asyncio.Event()

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.ready.set()

    async def __rsgi__(self, scope: RsgiScope, protocol: RsgiProtocol) -> None:
        path = scope.path
        try:
            # The client's path always stands behind the prefix: no client can ask for the pages below.
            if path.startswith(CHECK_PREFIX):
                status, headers, body = await self._check(scope, path, protocol)
                # Of an answer to HEAD that announces a body Envoy thinks that it was cut off.
                if body and scope.method != "HEAD":
                    protocol.response_str(status, headers, body)
                else:
                    protocol.response_empty(status, headers)
            elif (scope.method, path) == ("GET", "/metrics"):
                text = generate_latest(self._registry).decode()
                protocol.response_str(200, [("content-type", "text/plain; version=0.0.4; charset=utf-8")], text)
            elif (scope.method, path) == ("GET", "/credentials"):
                text = json.dumps(self._credentials())
                protocol.response_str(200, [("content-type", "application/json")], text)
            elif (scope.method, path) == ("GET", "/healthz"):
                protocol.response_str(200, [("content-type", "text/plain")], "ok\n")
            else:
                protocol.response_empty(404, [])
        except ProtocolClosed:
            # Envoy has hung up (its own time limit, or the client left): nobody is there to answer.
            return

    async def _check(self, scope: RsgiScope, path: str, protocol: RsgiProtocol) -> Answer:
        began = self._clock.monotonic()
        headers = scope.headers
        check = parse_check(
            scope.method, path, scope.query_string, headers.items(), headers.keys(), scope.authority or ""
        )
        policy = ""
        result: ChainResult
        try:
            started = self._programs.find(check.program)
            if started is None:
                result = Refused(denial=Deny(status=503, reason=PROGRAM_UNKNOWN, broken=True))
            else:
                policy = started.policy
                body: bytes | None = None
                if started.wants_body:
                    # Even to wait for a body that is not there costs a turn of the event loop.
                    body = b"" if check.bodiless else await protocol()
                result = await run_chain(started, check.request(body, started.place))
        except ProtocolClosed:
            raise
        except Exception as error:  # noqa: BLE001 - a mistake of ours is an answer and a line in the log
            cause = type(error).__name__
            result = Refused(denial=Deny(status=503, reason=INTERNAL_ERROR, broken=True, cause=cause))
        self._record(check, policy, result, self._clock.monotonic() - began)
        return emit_answer(result)

    def _record(self, check: Check, policy: str, result: ChainResult, duration: float) -> None:
        if isinstance(result, Passed):
            verdict, status, reason, step, cause = ALLOW, 200, "", "", result.cause
        else:
            denial, step = result.denial, result.step
            verdict = BROKEN if denial.broken else DENY
            status, reason, cause = denial.status, denial.reason, denial.cause
        self._metrics.record(policy, verdict, reason, duration, result.bypassed)
        if verdict is ALLOW and not result.bypassed:
            # No line, so nothing is put together for one.
            return
        self._log.record(
            Decision(
                verdict=verdict,
                status=status,
                reason=reason,
                program=check.program,
                policy=policy,
                route=check.route,
                step=step,
                consumer=result.consumer or "",
                key=result.key or "",
                bypassed=result.bypassed,
                cause=cause or "",
                request_id=check.request_id,
                duration=duration,
            )
        )


async def serve_auth(socket: Path, service: AuthService, stop: asyncio.Event) -> None:
    """Serves until `stop` is set, then answers what is under way and returns. The socket is open to our user only.

    HTTP/1 and HTTP/2 alike. Raises ChildError when the server ends by itself.
    """
    server = Server(
        service,
        uds=socket,
        interface=Interfaces.RSGI,
        http=HTTPModes.auto,
        websockets=False,
        log_enabled=False,
    )
    # The embedded server takes no argument for it.
    server.uds_permissions = 0o600
    serving = asyncio.create_task(server.serve())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not stopping.done():
            serving.result()
            raise ChildError(f"the web server of the auth service on {socket} ended by itself; see the log above")
    finally:
        stopping.cancel()
        if not serving.done():
            server.stop()  # type: ignore[no-untyped-call]  # granian has no annotations here
            await serving
