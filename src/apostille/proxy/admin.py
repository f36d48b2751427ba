"""Questions to Envoy's admin interface on its Unix socket. It must not start or end processes."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp

from apostille.base.clock import Clock

_ANSWER_SECONDS = 5.0
_POLL_SECONDS = 0.02
# For the first words of those who were let in at the very last.
_LAST_COMERS_SECONDS = 1.0
# What clients have open, at the level of connections and of requests; `admin` is ourselves asking.
_ACTIVE = r"^(http|tcp|listener)\..*downstream_(rq|cx)_active$"
_ADMIN = re.compile(r"^(http|listener)\.admin\.")


class AdminError(Exception):
    """Envoy's admin interface did not answer, or not as asked for; the text is for people."""


class EnvoyAdmin:
    def __init__(self, socket: Path, *, clock: Clock) -> None:
        self._socket = socket
        self._clock = clock

    async def ready(self) -> bool:
        """Has Envoy its first configuration, and does it serve?"""
        try:
            await self.fetch("/ready")
        except AdminError:
            return False
        return True

    async def listener_ports(self) -> Mapping[str, int]:
        """The port each listener is bound to, by the listener's name; so port 0 can be asked for. Raises AdminError."""
        answer = await self._fetch_json("/listeners?format=json")
        ports = {}
        for listener in answer.get("listener_statuses", ()):
            address = listener.get("local_address", {}).get("socket_address")
            if address is not None:
                ports[listener["name"]] = int(address["port_value"])
        return ports

    async def stats(self, pattern: str = "") -> Mapping[str, int]:
        """Counters and gauges whose names match the regular expression. Raises AdminError."""
        query = {"format": "json", **({"filter": pattern} if pattern else {})}
        answer = await self._fetch_json("/stats", query)
        return {stat["name"]: stat["value"] for stat in answer["stats"] if isinstance(stat.get("value"), int)}

    async def prometheus(self) -> str:
        """All stats in Prometheus' text format. Raises AdminError."""
        return await self.fetch("/stats/prometheus")

    async def drain(self, limit: float) -> bool:
        """Ask clients to go, and wait until they have gone, for at most `limit` seconds.

        Every response from now on closes its connection; new connections are taken until nothing is open, or until the
        drain time of the process is over. From then on nobody is let in, and it is done when nothing is open, or when
        no request is under way on connections that had their time. True when no request is under way.
        """
        deadline = self._clock.monotonic() + limit
        try:
            stopped_before = await self._listeners_stopped()
            # Failing the health check makes *every* response close its connection; a drain alone does so by chance,
            # more and more often, and a busy client could keep its connection to the end.
            await self.fetch("/healthcheck/fail", post=True)
            await self.fetch("/drain_listeners?graceful", post=True)
            patience = 0.0
            while await self._listeners_stopped() == stopped_before:
                _, connections = await self._active()
                if connections == 0 or self._clock.monotonic() >= deadline:
                    # Whoever came between this look and the end of the process would be cut off.
                    await self.fetch("/drain_listeners", post=True)
                    patience = _LAST_COMERS_SECONDS
                    break
                await asyncio.sleep(_POLL_SECONDS)
            closed = self._clock.monotonic()
            while True:
                requests, connections = await self._active()
                now = self._clock.monotonic()
                if connections == 0 or (requests == 0 and now >= closed + patience) or now >= deadline:
                    return requests == 0
                await asyncio.sleep(_POLL_SECONDS)
        except AdminError:
            # Gone already, or too ill to be asked: waiting longer saves no request.
            return False

    async def fetch(self, path: str, query: Mapping[str, str] | None = None, *, post: bool = False) -> str:
        """The body of the answer. Raises AdminError unless the answer is 200."""
        timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS)
        method = "POST" if post else "GET"
        try:
            async with (
                aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(self._socket)), timeout=timeout) as session,
                session.request(method, f"http://envoy{path}", params=query) as answer,
            ):
                body = await answer.text(errors="replace")
                if answer.status != 200:
                    raise AdminError(f"Envoy answered {answer.status} to {path}: {body.strip()[:200]}")
                return body
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise AdminError(f"Envoy's admin interface does not answer on {self._socket}: {error!r}") from error

    async def _fetch_json(self, path: str, query: Mapping[str, str] | None = None) -> Mapping[str, Any]:
        answer = json.loads(await self.fetch(path, query))
        if not isinstance(answer, dict):
            raise AdminError(f"Envoy answered {path} with no JSON object")
        return answer

    async def _active(self) -> tuple[int, int]:
        """Clients' requests under way and open connections (each connection counted by several stats)."""
        stats = await self.stats(_ACTIVE)
        clients = {name: value for name, value in stats.items() if not _ADMIN.match(name)}
        requests = sum(value for name, value in clients.items() if name.endswith("rq_active"))
        connections = sum(value for name, value in clients.items() if name.endswith("cx_active"))
        return requests, connections

    async def _listeners_stopped(self) -> int:
        return sum((await self.stats(r"^listener_manager\.listener_stopped$")).values())
