from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from apostille.base.clock import SystemClock
from apostille.proxy.binary import EnvoyBinary, find_envoy
from apostille.proxy.process import EnvoyCommand, EnvoyProcess

HTTP_CONNECTION_MANAGER = (
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
)


@pytest.fixture(scope="session")
def envoy() -> EnvoyBinary:
    return find_envoy()


@pytest.fixture
async def running(envoy: EnvoyBinary, socket_dir: Path) -> AsyncIterator[EnvoyProcess]:
    """A real Envoy: ``/direct`` answers by itself, everything else goes to ``upstream.sock``."""
    config = socket_dir / "envoy.json"
    config.write_text(json.dumps(static_config(socket_dir)))
    command = EnvoyCommand(
        binary=envoy.path, config=config, admin_socket=socket_dir / "admin.sock", concurrency=1, drain_seconds=1
    )
    process = await EnvoyProcess.start(command, clock=SystemClock())
    try:
        await process.wait_ready()
        yield process
    finally:
        await process.kill()


def static_config(socket_dir: Path) -> dict[str, object]:
    routes = [
        {
            "match": {"path": "/direct"},
            "direct_response": {"status": 200, "body": {"inline_string": "direct"}},
        },
        {"match": {"prefix": "/"}, "route": {"cluster": "upstream", "timeout": "0s"}},
    ]
    connection_manager = {
        "@type": HTTP_CONNECTION_MANAGER,
        "stat_prefix": "test",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [
            {
                "name": "router",
                "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    upstream = {"endpoint": {"address": {"pipe": {"path": str(socket_dir / "upstream.sock")}}}}
    return {
        "admin": {"address": {"pipe": {"path": str(socket_dir / "admin.sock"), "mode": 0o600}}},
        "static_resources": {
            "listeners": [
                {
                    "name": "web",
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
                    "filter_chains": [{"filters": [{"name": "hcm", "typed_config": connection_manager}]}],
                }
            ],
            "clusters": [
                {
                    "name": "upstream",
                    "type": "STATIC",
                    "load_assignment": {"cluster_name": "upstream", "endpoints": [{"lb_endpoints": [upstream]}]},
                    "circuit_breakers": {"thresholds": [{"max_requests": 4096, "max_connections": 4096}]},
                }
            ],
        },
    }
