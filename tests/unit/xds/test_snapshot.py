from __future__ import annotations

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import Metadata
from envoy.config.core.v3.http_uri_pb2 import HttpUri
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import Route, RouteAction, VirtualHost, WeightedCluster
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.ext_authz.v3.ext_authz_pb2 import ExtAuthz, HttpService
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    HttpFilter,
    Rds,
)
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from xds.type.matcher.v3.matcher_pb2 import Matcher

from apostille.auth import codec
from apostille.xds.snapshot import (
    CLUSTER,
    KEY_RING,
    LISTENER,
    PROGRAM,
    ROUTE,
    build_snapshot,
    emit_resource,
    find_inconsistencies,
)


def pack(message: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed


def listener(*route_names: str, filters: tuple[HttpFilter, ...] = ()) -> Listener:
    managers = [HttpConnectionManager(rds=Rds(route_config_name=name), http_filters=filters) for name in route_names]
    chains = [FilterChain(filters=[Filter(name="http", typed_config=pack(manager))]) for manager in managers]
    return Listener(name="l", filter_chains=chains)


def routes(name: str, *actions: RouteAction) -> RouteConfiguration:
    return RouteConfiguration(
        name=name, virtual_hosts=[VirtualHost(name="v", routes=[Route(route=action) for action in actions])]
    )


def test_equal_content_in_any_order_gives_equal_versions() -> None:
    one = build_snapshot([("a", Cluster(name="a")), ("b", Cluster(name="b"))], [(PROGRAM, "p", b"1")])
    two = build_snapshot([("b", Cluster(name="b")), ("a", Cluster(name="a"))], [(PROGRAM, "p", b"1")])
    assert one == two
    assert one.version == two.version
    assert list(one.of(CLUSTER)) == ["a", "b"]


def test_map_fields_are_serialized_in_a_fixed_order() -> None:
    keys = [f"key{number}" for number in range(50)]
    forward = Metadata(filter_metadata={key: Struct() for key in keys})
    backward = Metadata(filter_metadata={key: Struct() for key in reversed(keys)})
    assert emit_resource("m", forward).version == emit_resource("m", backward).version


@pytest.mark.parametrize(
    "other",
    [
        build_snapshot(raw=[("t", "a", b"2"), ("t", "b", b"1")]),
        build_snapshot(raw=[("t", "a", b"1")]),
        build_snapshot(raw=[("t", "a", b"1"), ("t", "c", b"1")]),
        build_snapshot(raw=[("u", "a", b"1"), ("t", "b", b"1")]),
        build_snapshot(raw=[("t", "ab", b"1"), ("t", "", b"1")]),
    ],
)
def test_every_difference_gives_another_version(other: object) -> None:
    snapshot = build_snapshot(raw=[("t", "a", b"1"), ("t", "b", b"1")])
    assert snapshot.version != getattr(other, "version")  # noqa: B009


def test_two_resources_of_one_type_cannot_share_a_name() -> None:
    with pytest.raises(ValueError, match="'same'"):
        build_snapshot([("same", Cluster(name="x")), ("same", Cluster(name="y"))])
    assert build_snapshot([("same", Cluster()), ("same", Listener())]).of(LISTENER)


def test_a_snapshot_cannot_be_changed_and_does_not_show_its_bodies() -> None:
    snapshot = build_snapshot(raw=[("t", "a", b"hidden")])
    with pytest.raises(TypeError):
        snapshot.resources["t"] = {}  # type: ignore[index]
    assert "hidden" not in repr(snapshot)


def test_a_type_that_is_not_there_is_empty() -> None:
    assert dict(build_snapshot().of(CLUSTER)) == {}


def test_the_auth_service_asks_for_the_types_that_we_deliver_in_order() -> None:
    assert (PROGRAM, KEY_RING) == (codec.PROGRAM_TYPE_URL, codec.KEYRING_TYPE_URL)


def test_a_whole_snapshot_is_consistent() -> None:
    weighted = WeightedCluster(clusters=[WeightedCluster.ClusterWeight(name="b")])
    mirror = RouteAction.RequestMirrorPolicy(cluster="static")
    snapshot = build_snapshot(
        [
            ("l", listener("r")),
            ("r", routes("r", RouteAction(cluster="a"), RouteAction(weighted_clusters=weighted))),
            ("a", Cluster(name="a")),
            ("b", Cluster(name="b")),
        ]
    )
    assert find_inconsistencies(snapshot) == ()
    mirrored = build_snapshot(
        [("l", listener("r")), ("r", routes("r", RouteAction(cluster="static", request_mirror_policies=[mirror])))]
    )
    assert find_inconsistencies(mirrored, static_clusters=["static"]) == ()
    assert len(find_inconsistencies(mirrored)) == 1


def test_dangling_references_are_named() -> None:
    weighted = WeightedCluster(clusters=[WeightedCluster.ClusterWeight(name="gone2")])
    authz = ExtAuthz(http_service=HttpService(server_uri=HttpUri(cluster="gone3")))
    snapshot = build_snapshot(
        [
            ("l", listener("r", "missing", filters=(HttpFilter(name="authz", typed_config=pack(authz)),))),
            ("r", routes("r", RouteAction(cluster="gone1"), RouteAction(weighted_clusters=weighted))),
            ("unused", routes("unused")),
            ("c", Cluster(name="c", type=Cluster.EDS)),
        ]
    )
    assert find_inconsistencies(snapshot) == (
        "Cluster 'c' names ClusterLoadAssignment 'c', which does not exist",
        "Listener 'l' names Cluster 'gone3', which does not exist",
        "Listener 'l' names RouteConfiguration 'missing', which does not exist",
        "RouteConfiguration 'r' names Cluster 'gone1', which does not exist",
        "RouteConfiguration 'r' names Cluster 'gone2', which does not exist",
        "RouteConfiguration 'unused' is asked for by no listener",
    )


def test_references_inside_matcher_trees_are_seen() -> None:
    route = Route(route=RouteAction(cluster="gone"))
    on_match = Matcher.OnMatch()
    on_match.action.name = "route"
    on_match.action.typed_config.Pack(route)
    tree = Matcher.MatcherTree(exact_match_map=Matcher.MatcherTree.MatchMap(map={"/": on_match}))
    tabled = RouteConfiguration(name="r", virtual_hosts=[VirtualHost(name="v", matcher=Matcher(matcher_tree=tree))])
    snapshot = build_snapshot([("l", listener("r")), ("r", tabled)])
    assert find_inconsistencies(snapshot) == ("RouteConfiguration 'r' names Cluster 'gone', which does not exist",)


def test_an_any_of_an_unknown_type_is_passed_over() -> None:
    unknown = HttpFilter(name="x", typed_config=AnyMessage(type_url="type.googleapis.com/nobody.Knows", value=b"\xff"))
    snapshot = build_snapshot([("l", listener("r", filters=(unknown,))), ("r", routes("r"))])
    assert find_inconsistencies(snapshot) == ()
    assert snapshot.of(ROUTE)
