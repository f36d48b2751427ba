"""passThroughAuth: a service of the user's own decides, and may put headers on the upstream request.

The exchange is always a POST: named headers of the client go there, named headers of the answer come back, and nothing
else does.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import aiohttp
from yarl import URL

from apostille.sdk import Allow, AuthRequest, Deny, Endpoint, Headers, StepKind, StepTools, Verdict
from apostille.steps.pass_through_spec import PassThroughConfig, PassThroughSpec, compile_pass_through

REFUSED = "pass_through_refused"
FAILED = "pass_through_failed"
STATE_UNREADABLE = "state_unreadable"

# A body nobody reads is taken in up to here, so that the connection can be used again.
_DRAIN_MAX = 64 * 1024
_STATE_MAX = 1024 * 1024


class PassThroughStep:
    """One request to the service per check; never repeated once it was sent, never redirected."""

    def __init__(self, config: PassThroughConfig, tools: StepTools) -> None:
        self._config = config
        self._http = tools.http
        self._targets = _targets(config)
        self._turn = itertools.cycle(range(max(1, len(self._targets))))
        self._slots = asyncio.Semaphore(config.max_connections) if config.max_connections else nullcontext()
        self._header_seconds = None if config.header_timeout_ms is None else config.header_timeout_ms / 1000
        self._custom: object = json.loads(config.custom.reveal()) if config.custom is not None else None

    async def check(self, request: AuthRequest, /) -> Verdict:
        if not self._targets:
            return self._broken("the Service has no ready endpoint")
        try:
            async with asyncio.timeout(self._config.timeout_ms / 1000), self._slots:
                return await self._ask(request)
        except TimeoutError:
            return self._broken("timeout")
        except (aiohttp.ClientError, OSError) as error:
            return self._broken(type(error).__name__)

    async def _ask(self, request: AuthRequest) -> Verdict:
        body = self._body(request)
        headers = self._headers(request, has_body=body is not None)
        first = next(self._turn)
        order = [*self._targets[first:], *self._targets[:first]]
        for target in order[:-1]:
            try:
                return await self._exchange(target, headers, body)
            except aiohttp.ClientConnectorError:
                # Nothing was sent yet: the next endpoint may be asked.
                continue
        return await self._exchange(order[-1], headers, body)

    async def _exchange(self, target: URL, headers: Mapping[str, str], body: bytes | None) -> Verdict:
        async with asyncio.timeout(self._header_seconds):
            response = await self._http.post(
                target,
                data=body,
                headers=headers,
                allow_redirects=False,
                server_hostname=self._config.server_name,
            )
        async with response:
            return await self._judge(response)

    async def _judge(self, response: aiohttp.ClientResponse) -> Verdict:
        status = response.status
        if status == 200:
            return await self._allowed(response)
        denied = _pick(response, self._config.on_denied)
        await _read(response, _DRAIN_MAX)
        if 300 <= status <= 499:
            return Deny(status=status, reason=REFUSED, headers=denied)
        if status >= 500 and self._config.allow_on_failure:
            return self._broken(f"status {status}")
        return Deny(status=500, reason=FAILED, headers=denied, broken=True, cause=f"status {status}")

    async def _allowed(self, response: aiohttp.ClientResponse) -> Verdict:
        overwrite: dict[str, str] = {}
        for name, value in _pick(response, self._config.overwrite):
            overwrite[name] = f"{overwrite[name]},{value}" if name in overwrite else value
        append = _pick(response, self._config.append)
        if not self._config.read_state:
            await _read(response, _DRAIN_MAX)
            return Allow(set_headers=tuple(overwrite.items()), append_headers=append)
        state = _parse_state(await _read(response, _STATE_MAX))
        if state is None:
            cause = 'the body is not {"state": {...}}'
            return Deny(status=500, reason=STATE_UNREADABLE, broken=True, cause=cause)
        return Allow(set_headers=tuple(overwrite.items()), append_headers=append, state=state)

    def _headers(self, request: AuthRequest, *, has_body: bool) -> dict[str, str]:
        headers = {"host": self._config.authority}
        headers |= {name: request.headers[name] for name in self._config.copy if name in request.headers}
        if has_body:
            # Over a copied one: the client's content type is not that of our JSON.
            headers["content-type"] = "application/json"
        return headers | {name: value.reveal() for name, value in self._config.add}

    def _body(self, request: AuthRequest) -> bytes | None:
        parts: dict[str, object] = {}
        if self._config.send_body:
            parts["body"] = (request.body or b"").decode("utf-8", "replace")
        if self._config.send_state:
            parts["state"] = dict(request.state)
        if self._config.send_filter_metadata:
            # No filter before this one leaves any.
            parts["filterMetadata"] = {}
        if self._config.custom is not None:
            parts["config"] = self._custom
        if not parts:
            return None
        return json.dumps(parts, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()

    def _broken(self, cause: str) -> Verdict:
        if self._config.allow_on_failure:
            return Allow(bypassed=True, cause=cause)
        return Deny(status=500, reason=FAILED, broken=True, cause=cause)


KIND = StepKind(
    name="passThroughAuth",
    spec=PassThroughSpec,
    config=PassThroughConfig,
    compile_step=compile_pass_through,
    start_step=PassThroughStep,
)


def _targets(config: PassThroughConfig) -> tuple[URL, ...]:
    """What to connect to. `encoded`: the path goes out exactly as the author wrote it."""
    if config.endpoints is None:
        return (URL(f"{config.scheme}://{config.authority}{config.path}", encoded=True),)
    return tuple(URL(f"{config.scheme}://{_address(at)}{config.path}", encoded=True) for at in config.endpoints)


def _address(endpoint: Endpoint) -> str:
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    return f"{host}:{endpoint.port}"


def _pick(response: aiohttp.ClientResponse, names: tuple[str, ...]) -> Headers:
    return tuple((name, value) for name in names for value in response.headers.getall(name, ()))


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes | None:
    """The whole body, or None when it is longer than `limit` bytes; the connection is closed then."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > limit:
            response.close()
            return None
    return bytes(body)


def _parse_state(body: bytes | None) -> dict[str, Any] | None:
    try:
        content = json.loads(body or b"")
    except (ValueError, RecursionError):
        return None
    state = content.get("state") if isinstance(content, dict) else None
    return state if isinstance(state, dict) else None
