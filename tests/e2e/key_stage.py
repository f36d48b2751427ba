"""A gateway whose keys are in its own store: routes that want one, and the store to make them in."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from apostille.base.clock import SystemClock
from apostille.base.secrets import SecretText
from apostille.keys.address import parse_address
from apostille.keys.connection import StoreConnection
from apostille.keys.embedded import SOCKET
from apostille.keys.fingerprint import PepperCheck
from apostille.keys.format import KeyParts, new_key
from apostille.keys.record import KeyRecord, to_second
from apostille.keys.settings import PepperSource
from apostille.keys.store import KeyStore
from tests.e2e.gateway import Run, gateway
from tests.e2e.open_loop import OpenLoop, Outcome, open_loop

# Of the query parameter and the cookie.
NAME = "key"
REFUSED = (401, "api_key_missing_or_invalid")
DOWN = (503, "store_unavailable")
LIMITED = (429, "key_limited")
GOOD = (200, "")

_MANIFESTS = f"""\
apiVersion: networking.gloo.solo.io/v2
kind: VirtualGateway
metadata: {{name: ingress, namespace: apps}}
spec:
  listeners: [{{port: {{number: 8080}}, http: {{}}}}]
---
apiVersion: networking.gloo.solo.io/v2
kind: RouteTable
metadata: {{name: orders, namespace: apps}}
spec:
  hosts: ['*']
  virtualGateways: [{{name: ingress, namespace: apps}}]
  http:
  - name: orders
    labels: {{guard: "on"}}
    matchers: [{{uri: {{prefix: /orders}}}}]
    directResponse: {{status: 200, body: an order}}
---
apiVersion: security.policy.gloo.solo.io/v2
kind: ExtAuthPolicy
metadata: {{name: keys, namespace: apps}}
spec:
  applyToRoutes: [{{route: {{labels: {{guard: "on"}}}}}}]
  config:
    glooAuth:
      configs: [{{apiKeyAuth: {{keySources: {{bearer: true, queryParameter: {NAME}, cookie: {NAME}}}}}}}]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A key and its record, as it is stored."""

    parts: KeyParts
    record: KeyRecord

    @property
    def key(self) -> str:
        return self.parts.key.reveal()


@dataclass(kw_only=True)
class KeyStage:
    run: Run
    store: KeyStore
    connection: StoreConnection
    _check: PepperCheck

    async def make(self, *, env: str = "live", **fields: Any) -> Made:
        """Create a key. `fields` are those of its record."""
        made = await self.prepare(env=env, **fields)
        return replace(made, record=await self.store.put(made.record))

    async def prepare(self, *, env: str = "live", **fields: Any) -> Made:
        """A key that nobody has been told of yet."""
        parts = new_key(env, secrets.token_bytes)
        every = {"consumer": "alice", "created": to_second(datetime.now(UTC)), **fields}
        pepper = await self._check.claim()
        return Made(parts=parts, record=KeyRecord(id=parts.id, env=env, digest=pepper.digest(parts.key), **every))

    @asynccontextmanager
    async def asking(self, key: str, *, rate: float) -> AsyncIterator[OpenLoop]:
        """Requests with this key at a fixed rate until the end of the block."""
        async with open_loop(self.run.port, "/orders/", [("api-key", key)], rate=rate, most=50) as loop:
            yield loop

    async def everything(self) -> Mapping[str, KeyRecord]:
        """Every record in the store; when keys were last used is noted in its own time, and left out."""
        records = [record async for record in self.store.export()]
        return {each.id: replace(each, last_used=None) for each in records if isinstance(each, KeyRecord)}

    async def decided(self) -> Mapping[str, int]:
        """Worker → how often it has decided so far."""
        _, text = await self.run.page("/metrics")
        counted: Counter[str] = Counter()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == "apostille_auth_decisions_total":
                    counted[sample.labels["worker"]] += int(sample.value)
        return counted


@asynccontextmanager
async def key_stage(folder: Path, state: Path, *, workers: int = 2) -> AsyncIterator[KeyStage]:
    """`state`: of a short path."""
    manifests = folder / "manifests"
    manifests.mkdir()
    (manifests / "all.yaml").write_text(_MANIFESTS)
    async with gateway(manifests, state=state, workers=workers) as run:
        await run.wait_back("keys", since=0)
        connection = StoreConnection(parse_address(SecretText(f"unix://{state / 'sockets' / SOCKET}")))
        try:
            yield KeyStage(
                run=run,
                store=KeyStore(connection, SystemClock()),
                connection=connection,
                _check=PepperCheck(connection, PepperSource(state / "keys.pepper")),
            )
        finally:
            await connection.close()


def in_seconds(seconds: int) -> datetime:
    """A whole second that is at least so many seconds away."""
    return to_second(datetime.now(UTC)) + timedelta(seconds=seconds + 1)


def told(outcomes: list[Outcome]) -> set[tuple[int | str, str]]:
    return {each.told for each in outcomes}


def accepted(outcomes: list[Outcome]) -> list[Outcome]:
    return [each for each in outcomes if each.status == 200]
