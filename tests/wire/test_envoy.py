"""The server against a real Envoy: what only Envoy itself can tell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.address_pb2 import Address, SocketAddress
from envoy.config.core.v3.base_pb2 import DataSource
from envoy.config.core.v3.config_source_pb2 import AggregatedConfigSource, ApiVersion, ConfigSource
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import DirectResponseAction, Route, RouteMatch, VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    HttpFilter,
    Rds,
)
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from apostille.xds.cache import ENVOY_GROUP, SnapshotCache
from apostille.xds.feedback import Feedback, Outcome
from apostille.xds.server import XdsServer
from apostille.xds.snapshot import LISTENER, ROUTE, Snapshot, build_snapshot, find_inconsistencies
from tests.wire.conftest import ControlPlane
from tests.wire.envoy import DEADLINE, Envoy, run_envoy, until


def pack(message: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed


def listener(name: str) -> Listener:
    manager = HttpConnectionManager(
        stat_prefix=name,
        rds=Rds(
            config_source=ConfigSource(ads=AggregatedConfigSource(), resource_api_version=ApiVersion.V3),
            route_config_name=name,
        ),
        http_filters=[HttpFilter(name="envoy.filters.http.router", typed_config=pack(Router()))],
    )
    return Listener(
        name=name,
        address=Address(socket_address=SocketAddress(address="127.0.0.1", port_value=0)),
        filter_chains=[
            FilterChain(filters=[Filter(name="http", typed_config=pack(manager))]),
        ],
    )


def routes(name: str, body: str, *, match: RouteMatch | None = None) -> RouteConfiguration:
    route = Route(
        match=match or RouteMatch(prefix="/"),
        direct_response=DirectResponseAction(status=200, body=DataSource(inline_string=body)),
    )
    return RouteConfiguration(name=name, virtual_hosts=[VirtualHost(name="all", domains=["*"], routes=[route])])


BAD_MATCH = RouteMatch(safe_regex=RegexMatcher(regex="("))


def snapshot(
    listeners: Sequence[str], configurations: Sequence[RouteConfiguration], clusters: Sequence[str] = ()
) -> Snapshot:
    built = build_snapshot(
        [
            *((name, listener(name)) for name in listeners),
            *((each.name, each) for each in configurations),
            *((name, Cluster(name=name, type=Cluster.STATIC)) for name in clusters),
        ]
    )
    assert find_inconsistencies(built) == ()
    return built


async def publish(plane: ControlPlane, published: Snapshot) -> Outcome:
    plane.cache.set_snapshot(ENVOY_GROUP, published)
    return await plane.feedback.wait_acked(ENVOY_GROUP, published.version, DEADLINE)


async def serves(envoy: Envoy, port: int, body: str) -> None:
    """An acknowledged change reaches the worker thread a moment later."""

    async def look() -> bool:
        return await envoy.get(port, "/") == (200, body)

    await until(look)


async def test_a_route_change_becomes_live_and_a_bad_one_changes_nothing(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    async with run_envoy(tmp_path, control_plane.socket) as envoy:
        outcome = await publish(control_plane, snapshot(["http"], [routes("http", "first")]))
        assert outcome.acked
        assert outcome.nodes == 1
        port = await envoy.port("http")
        await serves(envoy, port, "first")

        assert (await publish(control_plane, snapshot(["http"], [routes("http", "second")]))).acked
        await serves(envoy, port, "second")

        outcome = await publish(control_plane, snapshot(["http"], [routes("http", "third", match=BAD_MATCH)]))
        assert outcome.complete
        [nack] = outcome.refusals
        assert (nack.type_url, nack.names, nack.node) == (ROUTE, ("http",), "real")
        assert "missing )" in nack.text
        assert await envoy.get(port, "/") == (200, "second")

        assert (await publish(control_plane, snapshot(["http"], [routes("http", "fourth")]))).acked
        await serves(envoy, port, "fourth")
        assert await envoy.port("http") == port


async def test_a_bad_route_table_does_not_harm_another_listener(control_plane: ControlPlane, tmp_path: Path) -> None:
    async with run_envoy(tmp_path, control_plane.socket) as envoy:
        both = ["a", "b", "c"]
        assert (await publish(control_plane, snapshot(both, [routes(name, f"{name}1") for name in both]))).acked
        changed = [routes("a", "a2"), routes("b", "b2", match=BAD_MATCH), routes("c", "c2")]
        outcome = await publish(control_plane, snapshot(both, changed))
        assert [nack.names for nack in outcome.refusals] == [("b",)]
        for name, body in (("a", "a2"), ("b", "b1"), ("c", "c2")):
            await serves(envoy, await envoy.port(name), body)


async def test_a_bad_listener_is_named_and_the_good_one_opens(control_plane: ControlPlane, tmp_path: Path) -> None:
    bad = listener("bad")
    bad.filter_chains[0].filters[0].name = "nonsense"
    bad.filter_chains[0].filters[0].typed_config.Clear()
    messages = [("good", listener("good")), ("bad", bad), ("good", routes("good", "here"))]
    async with run_envoy(tmp_path, control_plane.socket) as envoy:
        outcome = await publish(control_plane, build_snapshot(messages))
        [nack] = outcome.refusals
        assert (nack.type_url, nack.names) == (LISTENER, ("bad",))
        assert "bad" in nack.text
        await serves(envoy, await envoy.port("good"), "here")


async def test_envoy_serves_on_without_us_and_learns_on_return_what_it_missed(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    first = snapshot(["http"], [routes("http", "before")], clusters=["kept", "deleted"])
    second = snapshot(["http"], [routes("http", "after")], clusters=["added", "kept"])
    async with run_envoy(tmp_path, control_plane.socket) as envoy:
        assert (await publish(control_plane, first)).acked
        port = await envoy.port("http")
        await serves(envoy, port, "before")
        await control_plane.server.stop()
        assert await envoy.get(port, "/") == (200, "before")

        cache, feedback = SnapshotCache(), Feedback()
        cache.set_snapshot(ENVOY_GROUP, second)
        server = XdsServer(control_plane.socket, cache, feedback)
        await server.start()
        try:
            outcome = await feedback.wait_acked(ENVOY_GROUP, second.version, DEADLINE)
            assert outcome.acked
            await serves(envoy, port, "after")
            clusters = await envoy.dump("dynamic_active_clusters")
            assert {str(each["cluster"]["name"]) for each in clusters if isinstance(each["cluster"], dict)} == {
                "added",
                "kept",
            }
        finally:
            await server.stop()
