"""A small gateway for tests that do things to its processes and files: an open route, a guarded one, one to edit."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.gateway import Run, gateway
from tests.e2e.upstream import Upstream
from tests.e2e.wire import ask, emit_request

GUARD_KEY = "e2e-key-0001"
OPEN = emit_request("GET", "/open/x", [])
GUARDED = emit_request("GET", "/guarded/x", [("api-key", GUARD_KEY)])
SAID = emit_request("GET", "/said", [], host="said.example")

_SERVICE = """\
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: apps}}
spec:
  ports: [{{name: http, port: 80}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-1, namespace: apps, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
ports: [{{name: http, port: {port}}}]
endpoints: [{{addresses: [127.0.0.1]}}]
"""

_GATEWAY = """\
apiVersion: networking.gloo.solo.io/v2
kind: VirtualGateway
metadata: {name: ingress, namespace: apps}
spec:
  listeners: [{port: {number: 8080}, http: {}}]
"""

_ROUTES = """\
apiVersion: networking.gloo.solo.io/v2
kind: RouteTable
metadata: {name: steady, namespace: apps}
spec:
  hosts: ['*']
  virtualGateways: [{name: ingress, namespace: apps}]
  http:
  - name: open
    matchers: [{uri: {prefix: /open}}]
    forwardTo: {destinations: [{ref: {name: echo, namespace: apps}, port: {number: 80}}]}
  - name: guarded
    labels: {guard: "on"}
    matchers: [{uri: {prefix: /guarded}}]
    forwardTo: {destinations: [{ref: {name: other, namespace: apps}, port: {number: 80}}]}
"""

_POLICY = """\
apiVersion: security.policy.gloo.solo.io/v2
kind: ExtAuthPolicy
metadata: {name: keys, namespace: apps}
spec:
  applyToRoutes: [{route: {labels: {guard: "on"}}}]
  config:
    glooAuth:
      configs:
      - apiKeyAuth:
          headerName: api-key
          headersFromMetadataEntry: {x-user: {name: user}}
          k8sSecretApikeyStorage: {labelSelector: {keys: "yes"}}
"""


def key_secret(name: str, key: str) -> str:
    return f"""\
apiVersion: v1
kind: Secret
metadata: {{name: {name}, namespace: apps, labels: {{keys: "yes"}}}}
type: extauth.solo.io/apikey
stringData: {{api-key: {key}, user: {name}}}
"""


def said_table(word: str) -> str:
    """A table of its own, with a route ``/said`` that answers with the word."""
    return f"""\
apiVersion: networking.gloo.solo.io/v2
kind: RouteTable
metadata: {{name: said, namespace: apps}}
spec:
  hosts: [said.example]
  virtualGateways: [{{name: ingress, namespace: apps}}]
  http:
  - matchers: [{{uri: {{exact: /said}}}}]
    directResponse: {{status: 200, body: {word}}}
"""


def write_site(folder: Path, *, echo: int, other: int) -> Path:
    """The manifests in a new folder; `echo` and `other` are the ports behind the open and the guarded route."""
    folder.mkdir()
    texts = {
        "services.yaml": _SERVICE.format(name="echo", port=echo) + "---\n" + _SERVICE.format(name="other", port=other),
        "gateway.yaml": _GATEWAY,
        "routes.yaml": _ROUTES,
        "policy.yaml": _POLICY,
        "key.yaml": key_secret("alice", GUARD_KEY),
        "said.yaml": said_table("first"),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    return folder


@dataclass(kw_only=True)
class Stage:
    """`echo` stands behind the open route, `other` behind the guarded one."""

    run: Run
    manifests: Path
    echo: Upstream
    other: Upstream

    async def said(self) -> str:
        """What ``/said`` answers now."""
        return (await ask(self.run.port, SAID)).body.decode()

    async def says(self, word: str) -> float:
        """Seconds until ``/said`` answers with the word."""

        async def does() -> bool:
            return await self.said() == word

        return await until(does)

    async def samples(self, name: str) -> dict[str, float]:
        """The samples of a metric: labels as written → value."""
        _, text = await self.run.page("/metrics")
        lines = re.findall(rf"^{re.escape(name)}(?:{{(.*)}})? (\S+)$", text, re.MULTILINE)
        return {labels: float(value) for labels, value in lines}


def tell(text: str) -> None:
    """What was measured; pytest shows it with -rP, and when the test fails."""
    sys.stdout.write(f"{text}\n")


async def until(holds: Callable[[], Awaitable[bool]], *, within: float = 10.0) -> float:
    """Ask again and again until it holds; the seconds that took. Raises TimeoutError."""
    began = time.monotonic()
    async with asyncio.timeout(within):
        while not await holds():
            pass
    return time.monotonic() - began


@asynccontextmanager
async def stage(
    folder: Path,
    *,
    workers: int = 1,
    state: Path | None = None,
    env: Mapping[str, str] | None = None,
    options: tuple[str, ...] = (),
) -> AsyncIterator[Stage]:
    """A running gateway with its manifests in ``folder/manifests``."""
    async with AsyncExitStack() as stack:
        echo = await stack.enter_async_context(Upstream())
        other = await stack.enter_async_context(Upstream())
        manifests = write_site(folder / "manifests", echo=echo.port, other=other.port)
        run = await stack.enter_async_context(
            gateway(manifests, workers=workers, state=state, env=env, options=options)
        )
        yield Stage(run=run, manifests=manifests, echo=echo, other=other)
