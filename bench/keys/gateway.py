"""A gateway whose only route wants a key of the key store, and the store beside it."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any

from apostille.base.clock import SystemClock
from apostille.base.secrets import SecretText
from apostille.keys.address import parse_address
from apostille.keys.connection import StoreConnection
from apostille.keys.embedded import SOCKET, is_ready
from apostille.keys.settings import KeySettings, PepperSource
from apostille.keys.store import KeyStore
from bench.accounting import read_peak_bytes, read_rss_bytes
from bench.design import KEY_HEADER
from bench.designs.apostille_gateway import Gateway, run_gateway

PATH = "/orders/1"
_READY_SECONDS = 120.0

_MANIFESTS = f"""\
apiVersion: networking.gloo.solo.io/v2
kind: VirtualGateway
metadata: {{name: ingress, namespace: gateway}}
spec:
  listeners: [{{port: {{number: 8080}}, http: {{}}}}]
---
apiVersion: networking.gloo.solo.io/v2
kind: RouteTable
metadata: {{name: orders, namespace: gateway}}
spec:
  hosts: ['*']
  virtualGateways: [{{name: ingress, namespace: gateway}}]
  http:
  - name: orders
    labels: {{guard: users}}
    matchers: [{{uri: {{prefix: /orders}}}}]
    directResponse: {{status: 200, body: an order}}
---
apiVersion: security.policy.gloo.solo.io/v2
kind: ExtAuthPolicy
metadata: {{name: users, namespace: gateway}}
spec:
  applyToRoutes: [{{route: {{labels: {{guard: users}}}}}}]
  config: {{glooAuth: {{configs: [{{apiKeyAuth: {{headerName: {KEY_HEADER}}}}}]}}}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A running gateway and how to reach its store."""

    gateway: Gateway
    settings: KeySettings

    @property
    def port(self) -> int:
        return self.gateway.port

    @property
    def pepper(self) -> bytes:
        return bytes.fromhex((self.gateway.folder / "state" / "keys.pepper").read_text().strip())

    @property
    def socket(self) -> Path:
        return Path(str(self.settings.address.socket))

    @property
    def store_pid(self) -> int:
        """The process of the store as now."""
        return self.gateway.children()["keys"]

    async def wait_ready(self) -> None:
        """Until the store answers, with all its keys."""
        async with asyncio.timeout(_READY_SECONDS):
            while not await is_ready(self.socket):  # noqa: ASYNC110 - another process answers when it does
                await asyncio.sleep(0.01)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[KeyStore]:
        store = KeyStore.at(self.settings.address, SystemClock(), limit=10.0)
        try:
            yield store
        finally:
            await store.close()

    async def count(self) -> int:
        """How many names there are in the store: keys, notes of use and a few others."""
        return int(await self._ask("DBSIZE"))

    async def memory(self) -> Mapping[str, Any]:
        """Bytes: what the store's allocator has given out, what the process has resident, what its files have."""
        info = await self._ask("INFO", "memory")
        files = [file for file in (self.gateway.folder / "state" / "keys").rglob("*") if file.is_file()]
        return {
            "used_memory": int(info["used_memory"]),
            "rss": read_rss_bytes(self.store_pid),
            "rss_peak": read_peak_bytes(self.store_pid),
            "files": sum(file.stat().st_size for file in files),
        }

    async def _ask(self, *words: str) -> Any:
        connection = StoreConnection(self.settings.address, limit=10.0)
        try:
            return await connection.ask(*words)
        finally:
            await connection.close()


@asynccontextmanager
async def run_site() -> AsyncIterator[Site]:
    """A gateway and its store, which is empty."""
    # Short: the paths of Unix sockets have few bytes.
    folder = Path(tempfile.mkdtemp(prefix="ab-"))
    try:
        async with run_gateway({"all.yaml": _MANIFESTS}, folder) as gateway:
            state = folder / "state"
            site = Site(
                gateway=gateway,
                settings=KeySettings(
                    address=parse_address(SecretText(f"unix://{state / 'sockets' / SOCKET}")),
                    pepper=PepperSource(state / "keys.pepper"),
                ),
            )
            await site.wait_ready()
            yield site
    finally:
        rmtree(folder, ignore_errors=True)


async def kill(pid: int) -> float:
    """As the kernel does when memory is short. The time, once it is gone."""
    os.kill(pid, 9)
    while _lives(pid):  # noqa: ASYNC110 - it is nobody's child here
        await asyncio.sleep(0.001)
    return time.perf_counter()


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
