from __future__ import annotations

import asyncio
import json
import stat
from asyncio.subprocess import PIPE
from collections import Counter
from pathlib import Path

import aiohttp
from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from google.protobuf.json_format import ParseDict

from apostille.base.clock import SystemClock
from apostille.proxy.binary import EnvoyBinary
from apostille.proxy.bootstrap import AUTH_CLUSTER, Json, compile_auth_cluster, compile_bootstrap, write_bootstrap
from apostille.proxy.process import EnvoyCommand, EnvoyProcess, validate

HTTP_CONNECTION_MANAGER = (
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
)


def bootstrap(socket_dir: Path, workers: int = 2) -> Json:
    return compile_bootstrap(
        admin_socket=socket_dir / "admin.sock",
        xds_socket=socket_dir / "xds.sock",
        auth_sockets=[socket_dir / f"auth-{n}.sock" for n in range(workers)],
    )


async def test_envoy_takes_the_bootstrap(socket_dir: Path, envoy: EnvoyBinary) -> None:
    assert await validate(json.dumps(bootstrap(socket_dir)), envoy.path) is None


def test_each_auth_worker_is_an_endpoint_of_its_own(socket_dir: Path) -> None:
    # The message classes know every extension by name only once it is imported; only the clusters are of interest here.
    clusters = bootstrap(socket_dir, workers=3)["static_resources"]
    message = ParseDict({"static_resources": without_extensions(clusters)}, Bootstrap())
    auth = next(c for c in message.static_resources.clusters if c.name == "apostille_auth")
    paths = [e.endpoint.address.pipe.path for e in auth.load_assignment.endpoints[0].lb_endpoints]
    assert paths == [str(socket_dir / f"auth-{n}.sock") for n in range(3)]


def test_an_auth_worker_is_not_ejected_for_its_decisions(socket_dir: Path) -> None:
    message = ParseDict(
        {"static_resources": without_extensions(bootstrap(socket_dir)["static_resources"])}, Bootstrap()
    )
    outliers = next(c for c in message.static_resources.clusters if c.name == "apostille_auth").outlier_detection
    assert outliers.split_external_local_origin_errors
    assert outliers.enforcing_consecutive_local_origin_failure.value == 100
    for external in (outliers.enforcing_consecutive_5xx, outliers.enforcing_consecutive_gateway_failure):
        assert external.value == 0
    assert outliers.HasField("enforcing_consecutive_5xx")
    assert outliers.HasField("enforcing_consecutive_gateway_failure")


def without_extensions(static_resources: object) -> object:
    copy = json.loads(json.dumps(static_resources))
    for cluster in copy["clusters"]:
        del cluster["typed_extension_protocol_options"]
    return copy


def test_the_bootstrap_is_written_for_its_owner_alone_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "envoy.json"
    write_bootstrap(path, {"node": {"id": "first"}})
    write_bootstrap(path, {"node": {"id": "second"}})
    assert json.loads(path.read_text()) == {"node": {"id": "second"}}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


async def test_envoy_starts_with_it_and_warns_of_nothing_but_the_absent_control_plane(
    socket_dir: Path, envoy: EnvoyBinary
) -> None:
    write_bootstrap(socket_dir / "envoy.json", bootstrap(socket_dir))
    command = EnvoyCommand(binary=envoy.path, config=socket_dir / "envoy.json", admin_socket=socket_dir / "admin.sock")
    asked = asyncio.Event()

    async def control_plane(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len("PRI * HTTP/2.0"))
        asked.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(control_plane, socket_dir / "xds.sock")
    with (socket_dir / "stderr").open("wb") as errors:
        process = await EnvoyProcess.start(command, clock=SystemClock(), stdout=PIPE, stderr=errors.fileno())
    try:
        await asyncio.wait_for(asked.wait(), 20)
        assert stat.S_IMODE((socket_dir / "admin.sock").stat().st_mode) == 0o600
        assert await process.drain_and_stop(5)
    finally:
        await process.kill()
        server.close()
    lines = (socket_dir / "stderr").read_text().splitlines()
    assert [line for line in lines if "SIGTERM" not in line and "gRPC config stream" not in line] == []


async def test_a_dead_auth_worker_costs_a_few_requests_each_time_it_is_tried_again(
    socket_dir: Path, envoy: EnvoyBinary
) -> None:
    alive, dead = socket_dir / "auth-0.sock", socket_dir / "auth-1.sock"
    config = {
        "admin": bootstrap(socket_dir)["admin"],
        "static_resources": {
            "listeners": [
                listener({"pipe": {"path": str(alive)}}, {"direct_response": {"status": 200}}),
                listener(
                    {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
                    {"route": {"cluster": AUTH_CLUSTER}},
                ),
            ],
            "clusters": [compile_auth_cluster([alive, dead])],
        },
    }
    write_bootstrap(socket_dir / "envoy.json", config)
    command = EnvoyCommand(binary=envoy.path, config=socket_dir / "envoy.json", admin_socket=socket_dir / "admin.sock")
    process = await EnvoyProcess.start(command, clock=SystemClock())
    try:
        await process.wait_ready()
        (port,) = (await process.listener_ports()).values()
        ejections = f"cluster.{AUTH_CLUSTER}.outlier_detection.ejections_enforced_total"
        statuses: Counter[int] = Counter()
        async with aiohttp.ClientSession() as session:
            # Left out, tried again a second later, left out again: news of it must reach every worker thread at once.
            while (await process.stats(f"^{ejections}$"))[ejections] < 3:
                async with session.get(f"http://127.0.0.1:{port}/") as answer:
                    statuses[answer.status] += 1
    finally:
        await process.kill()
    assert set(statuses) == {200, 503}
    # Two failures shut it out; a few more may be under way. Half of some hundred requests would have failed.
    assert statuses[503] <= 3 * 6


def listener(address: Json, action: Json) -> Json:
    manager = {
        "@type": HTTP_CONNECTION_MANAGER,
        "stat_prefix": "test",
        "route_config": {
            "virtual_hosts": [{"name": "a", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, **action}]}]
        },
        "http_filters": [
            {
                "name": "router",
                "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    return {"address": address, "filter_chains": [{"filters": [{"name": "manager", "typed_config": manager}]}]}
