from __future__ import annotations

from envoy.config.listener.v3.listener_pb2 import Listener as EnvoyListener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)

from apostille.base.refs import Ref
from apostille.model.gateway import Listener
from apostille.xds.listeners import emit_listener
from apostille.xds.names import SET_FILTER_STATE
from apostille.xds.site import Site

MODEL = Listener(name="apps/ingress/8080", owner=Ref("VirtualGateway", "apps", "ingress"), port=8080, virtual_hosts=())


def emitted(inline: RouteConfiguration | None = None) -> EnvoyListener:
    return emit_listener(MODEL, Site(), deadline_ms=2000, status_on_error=503, inline_routes=inline)


def manager(listener: EnvoyListener) -> HttpConnectionManager:
    [chain] = listener.filter_chains
    [only] = chain.filters
    return HttpConnectionManager.FromString(only.typed_config.value)


def test_it_opens_the_port_on_the_address_it_is_given() -> None:
    found = emitted()
    address = found.address.socket_address
    assert (found.name, address.address, address.port_value) == ("apps/ingress/8080", "127.0.0.1", 8080)


def test_routes_are_asked_for_so_that_they_can_change_without_it() -> None:
    found = manager(emitted())
    assert found.rds.route_config_name == "apps/ingress/8080"
    assert found.rds.config_source.HasField("ads")


def test_routes_stand_inside_for_a_judge_that_asks_nobody() -> None:
    found = manager(emitted(RouteConfiguration(name="inside")))
    assert found.WhichOneof("route_specifier") == "route_config"
    assert found.route_config.name == "inside"


def test_the_client_is_not_believed_about_where_it_comes_from() -> None:
    assert manager(emitted()).use_remote_address.value is True


def test_without_an_access_log_nothing_is_noted_for_one() -> None:
    silent = emit_listener(MODEL, Site(access_log=False), deadline_ms=2000, status_on_error=503)
    assert [each.name for each in manager(silent).access_log] == ["envoy.access_loggers.http_grpc"]
    assert SET_FILTER_STATE not in {each.name for each in manager(silent).http_filters}
    assert SET_FILTER_STATE in {each.name for each in manager(emitted()).http_filters}


def test_the_router_is_the_last_filter_and_nothing_is_routed_before_it_is_judged() -> None:
    names = [each.name for each in manager(emitted()).http_filters]
    assert names[-1] == "envoy.filters.http.router"
    assert names.index("envoy.filters.http.header_mutation") < names.index("envoy.filters.http.ext_authz")


def test_answers_of_envoys_own_say_why() -> None:
    mappers = manager(emitted()).local_reply_config.mappers
    reasons = {header.header.value for mapper in mappers for header in mapper.headers_to_add}
    assert {"route_not_found", "no_healthy_upstream", "upstream_unreachable", "auth_unavailable"} <= reasons


def test_it_is_the_same_whatever_the_routes_are() -> None:
    assert emitted().SerializeToString(deterministic=True) == emitted().SerializeToString(deterministic=True)
