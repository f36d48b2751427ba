from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from google.protobuf.struct_pb2 import Struct

from apostille.base.refs import Ref
from apostille.model.destination import Destination, Endpoint
from apostille.model.gateway import Gateway, Listener, VirtualHost
from apostille.model.route import Forward, Match, PathKind, PathMatch, Route, WeightedDestination
from apostille.proxy.binary import find_envoy
from apostille.proxy.bootstrap import compile_auth_cluster
from apostille.proxy.process import validate
from apostille.xds.configuration import emit_configuration, emit_json, emit_routes, emit_snapshot, emit_static
from apostille.xds.routes import RouteCache
from apostille.xds.site import Site
from apostille.xds.snapshot import TYPE_URL_PREFIX, build_snapshot

AUTH = compile_auth_cluster([Path("/nonexistent/auth.sock")])


def gateway(cluster: str = "shop") -> Gateway:
    """`cluster`: what its one route forwards to; there is one named ``shop``."""
    route = Route(
        name="r",
        owner=Ref("RouteTable", "apps", "shop"),
        match=Match(path=PathMatch(kind=PathKind.PREFIX, value="/")),
        action=Forward(destinations=(WeightedDestination(destination=cluster),)),
    )
    return Gateway(
        listeners=(
            Listener(
                name="apps/ingress/8080",
                owner=Ref("VirtualGateway", "apps", "ingress"),
                port=8080,
                virtual_hosts=(VirtualHost(name="*", domains=("*",), routes=(route,)),),
            ),
        ),
        destinations=(
            Destination(
                name="shop", owner=Ref("Service", "apps", "shop"), endpoints=(Endpoint(host="10.0.0.1", port=80),)
            ),
        ),
    )


async def judged(some: Gateway) -> str | None:
    return await validate(emit_static(some, Site(), [AUTH]).SerializeToString(), find_envoy().path)


def test_each_part_of_the_model_is_one_message_and_routes_have_the_name_of_their_listener() -> None:
    found = emit_configuration(gateway(), Site(address="127.0.0.2"))
    assert [each.name for each in found.clusters] == ["shop"]
    assert [each.name for each in found.listeners] == ["apps/ingress/8080"]
    assert [each.name for each in found.route_configurations] == ["apps/ingress/8080"]
    assert found.listeners[0].address.socket_address.address == "127.0.0.2"


def test_what_is_sent_is_the_same_as_the_messages() -> None:
    [listener] = gateway().listeners
    [host] = listener.virtual_hosts
    shop = replace(host, name="shop", domains=("shop.example",))
    empty = VirtualHost(name="empty", domains=("empty.example",), routes=())
    several = replace(listener, virtual_hosts=(host, shop, empty), https_redirect=True)
    some = replace(gateway(), listeners=(several, replace(listener, name="apps/ingress/8081", port=8081)))
    found = emit_configuration(some, Site())
    parts = (found.clusters, found.listeners, found.route_configurations, found.extensions)
    messages: list[Any] = [message for part in parts for message in part]
    sent = emit_snapshot(some, Site(), RouteCache())
    by_message = build_snapshot((each.name, each) for each in messages)
    assert {url: {*named} for url, named in sent.resources.items()} == {
        url: {*named} for url, named in by_message.resources.items()
    }
    for message in messages:
        body = sent.of(f"{TYPE_URL_PREFIX}{message.DESCRIPTOR.full_name}")[message.name].body
        assert type(message).FromString(body) == message


def test_the_routes_of_the_very_same_listener_are_put_together_once() -> None:
    cache = RouteCache()
    [listener] = gateway().listeners
    first = emit_routes(listener, cache)
    assert emit_routes(listener, cache) is first
    assert emit_routes(replace(listener, https_redirect=True), cache) != first


async def test_an_envoy_takes_the_static_form_and_an_empty_one() -> None:
    assert await judged(gateway()) is None
    assert await judged(Gateway()) is None


async def test_an_envoy_sees_in_the_static_form_what_does_not_fit_together() -> None:
    [listener] = gateway().listeners
    [host] = listener.virtual_hosts
    twice = replace(listener, virtual_hosts=(host, replace(host, name="again")))
    words = await judged(replace(gateway(), listeners=(twice,)))
    assert words is not None
    assert "Only a single wildcard domain is permitted" in words


def test_a_message_as_json_has_the_names_of_the_proto_files() -> None:
    message = Struct()
    message.update({"a_b": 1})
    assert emit_json(message) == {"a_b": 1.0}
    [cluster] = emit_configuration(gateway(), Site()).clusters
    assert emit_json(cluster)["connect_timeout"] == "5s"
