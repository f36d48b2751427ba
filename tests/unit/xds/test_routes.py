from __future__ import annotations

from collections.abc import Mapping

import pytest
from envoy.config.route.v3.route_components_pb2 import FilterConfig, RedirectAction
from envoy.config.route.v3.route_components_pb2 import Route as EnvoyRoute
from envoy.config.route.v3.route_components_pb2 import VirtualHost as EnvoyVirtualHost
from envoy.extensions.filters.http.ext_authz.v3.ext_authz_pb2 import ExtAuthzPerRoute
from envoy.extensions.filters.http.header_mutation.v3.header_mutation_pb2 import HeaderMutationPerRoute
from envoy.extensions.filters.http.lua.v3.lua_pb2 import LuaPerRoute
from google.protobuf.any_pb2 import Any as AnyMessage

from apostille.base.refs import Ref
from apostille.model.gateway import Listener, VirtualHost
from apostille.model.lane import EnvoyLane, Plain
from apostille.model.route import (
    Action,
    Forward,
    Guard,
    HeaderMatch,
    Match,
    PathKind,
    PathMatch,
    PathRewrite,
    QueryMatch,
    Redirect,
    RegexRewrite,
    Respond,
    Route,
    Strip,
    WeightedDestination,
)
from apostille.xds.key_slots import slot_name
from apostille.xds.names import EXT_AUTHZ, HEADER_MUTATION, TOLD_QUERY, WATCH
from apostille.xds.routes import emit_lane, emit_route, emit_route_configuration
from apostille.xds.shared import find_shared

ANSWER = Respond(status=200)
TO_SHOP = Forward(destinations=(WeightedDestination(destination="shop"),))
EVERYTHING = Match(path=PathMatch(kind=PathKind.PREFIX, value="/"))


def model(
    action: Action = ANSWER, match: Match = EVERYTHING, *, guard: Guard | None = None, strip: Strip | None = None
) -> Route:
    owner = Ref("RouteTable", "apps", "shop")
    return Route(name="r", owner=owner, match=match, action=action, guard=guard, strip=strip or Strip())


def authz(route: EnvoyRoute) -> ExtAuthzPerRoute:
    return ExtAuthzPerRoute.FromString(route.typed_per_filter_config[EXT_AUTHZ].value)


def listener(*routes: Route, https_redirect: bool = False) -> Listener:
    return Listener(
        name="apps/ingress/80",
        owner=Ref("VirtualGateway", "apps", "ingress"),
        port=80,
        virtual_hosts=(VirtualHost(name="*", domains=("*",), routes=routes),),
        https_redirect=https_redirect,
    )


@pytest.mark.parametrize(
    ("kind", "field"), [(PathKind.EXACT, "path"), (PathKind.PREFIX, "prefix"), (PathKind.REGEX, "safe_regex")]
)
def test_each_kind_of_path_has_its_field(kind: PathKind, field: str) -> None:
    found = emit_route(model(match=Match(path=PathMatch(kind=kind, value="/a")))).match
    assert found.WhichOneof("path_specifier") == field
    assert not found.HasField("case_sensitive")


def test_case_is_ignored_where_that_was_asked_for() -> None:
    found = emit_route(model(match=Match(path=PathMatch(kind=PathKind.PREFIX, value="/a", ignore_case=True)))).match
    assert found.case_sensitive.value is False


def test_an_inverted_header_matches_also_when_it_is_absent() -> None:
    headers = (HeaderMatch(name="x", value="1", invert=True), HeaderMatch(name="y", invert=True))
    value, presence = emit_route(model(match=Match(path=EVERYTHING.path, headers=headers))).match.headers
    assert (value.invert_match, value.treat_missing_header_as_empty, value.string_match.exact) == (True, True, "1")
    assert (presence.invert_match, presence.present_match, presence.treat_missing_header_as_empty) == (
        True,
        True,
        False,
    )


def test_headers_queries_and_methods_are_all_asked_for() -> None:
    match = Match(
        path=EVERYTHING.path,
        headers=(HeaderMatch(name="x", value="[0-9]", regex=True),),
        query=(QueryMatch(name="q"), QueryMatch(name="p", value="1")),
        method="POST",
    )
    found = emit_route(model(match=match)).match
    assert [(each.name, each.string_match.WhichOneof("match_pattern")) for each in found.headers] == [
        (":method", "exact"),
        ("x", "safe_regex"),
    ]
    assert [(each.name, each.present_match) for each in found.query_parameters] == [("q", True), ("p", False)]


def test_one_destination_stands_alone_and_several_have_weights() -> None:
    assert emit_route(model(TO_SHOP)).route.cluster == "shop"
    two = Forward(destinations=tuple(WeightedDestination(destination=name, weight=50) for name in ("a", "b")))
    clusters = emit_route(model(two)).route.weighted_clusters.clusters
    assert [(each.name, each.weight.value) for each in clusters] == [("a", 50), ("b", 50)]


def test_a_long_answer_is_not_cut_off() -> None:
    found = emit_route(model(TO_SHOP)).route
    assert found.HasField("timeout")
    assert found.timeout.ToSeconds() == 0


def test_rewrites_are_passed_on() -> None:
    shop = TO_SHOP.destinations
    prefix = emit_route(model(Forward(destinations=shop, path_rewrite=PathRewrite(replacement="/b")))).route
    regex = emit_route(
        model(Forward(destinations=shop, path_rewrite=RegexRewrite(pattern="a", substitution="b")))
    ).route
    host = emit_route(model(Forward(destinations=shop, host_rewrite="inner.example.com"))).route
    auto = emit_route(model(Forward(destinations=shop, auto_host_rewrite=True))).route
    assert prefix.prefix_rewrite == "/b"
    assert (regex.regex_rewrite.pattern.regex, regex.regex_rewrite.substitution) == ("a", "b")
    assert host.host_rewrite_literal == "inner.example.com"
    assert auto.auto_host_rewrite.value is True


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (301, RedirectAction.MOVED_PERMANENTLY),
        (302, RedirectAction.FOUND),
        (303, RedirectAction.SEE_OTHER),
        (307, RedirectAction.TEMPORARY_REDIRECT),
        (308, RedirectAction.PERMANENT_REDIRECT),
    ],
)
def test_a_redirect_has_the_status_that_was_asked_for(status: int, code: int) -> None:
    found = emit_route(model(Redirect(status=status, host="new.example.com", path="/new"))).redirect
    assert (found.response_code, found.host_redirect, found.path_redirect) == (code, "new.example.com", "/new")


def test_only_an_answer_of_ours_says_why() -> None:
    [header] = emit_route(model(Respond(status=500, reason="route_invalid"))).response_headers_to_add
    assert (header.header.key, header.header.value) == ("x-apostille-reason", "route_invalid")
    assert len(emit_route(model(Respond(status=500))).response_headers_to_add) == 0


def is_off(route: EnvoyRoute, name: str) -> bool:
    config = route.typed_per_filter_config.get(name)
    return (
        config is not None
        and config.type_url.endswith(FilterConfig.DESCRIPTOR.full_name)
        and FilterConfig.FromString(config.value).disabled
    )


def test_a_route_is_asked_about_unless_it_says_in_so_many_words_that_it_is_open() -> None:
    guarded, open_to_all = model(guard=Guard(program="apps/users@1", policy="apps/users")), model()
    [host] = emit_route_configuration(listener(guarded, open_to_all)).virtual_hosts
    settings = ExtAuthzPerRoute.FromString(host.typed_per_filter_config[EXT_AUTHZ].value)
    assert settings.disabled is False
    assert settings.check_settings.disable_request_body_buffering is True
    assert EXT_AUTHZ not in emit_route(guarded).typed_per_filter_config
    assert is_off(emit_route(open_to_all), EXT_AUTHZ)
    assert dict(emit_route(guarded).metadata.filter_metadata["apostille"]) == {
        "program": "apps/users@1",
        "policy": "apps/users",
    }


def test_the_body_goes_to_the_guard_only_where_it_is_wanted() -> None:
    found = authz(emit_route(model(guard=Guard(program="p", policy="p", body_limit=10)))).check_settings
    assert found.with_request_body.max_request_bytes == 10
    assert found.disable_request_body_buffering is False


def stripped(settings: Mapping[str, AnyMessage]) -> list[str]:
    if HEADER_MUTATION not in settings:
        return []
    rules = HeaderMutationPerRoute.FromString(settings[HEADER_MUTATION].value).mutations.request_mutations
    assert all(rule.remove or rule.remove_on_match.key_matcher.ignore_case for rule in rules)
    return [rule.remove or f"{rule.remove_on_match.key_matcher.prefix}*" for rule in rules]


def test_headers_nobody_may_forge_are_taken_away_first_on_every_route_or_for_the_whole_host() -> None:
    one = model(TO_SHOP, strip=Strip(names=("api-key", "x-user"), prefixes=("x-amz-",)))
    two = model(TO_SHOP, strip=Strip(names=("api-key",), prefixes=("x-amz-", "x-mine-")))
    shared = find_shared([one, two])
    [host] = emit_route_configuration(listener(one, two)).virtual_hosts
    assert stripped(host.typed_per_filter_config) == ["api-key", "x-apostille-*", "x-amz-*"]
    assert stripped(emit_route(one, shared).typed_per_filter_config) == ["x-user"]
    assert stripped(emit_route(two, shared).typed_per_filter_config) == ["x-mine-*"]


def test_the_destination_is_watched_for_the_policy_of_the_route_and_for_no_other() -> None:
    def signed(policy: str) -> Route:
        return model(TO_SHOP, guard=Guard(program="p", policy="p", outbound=policy, integration="awsSigV4"))

    one, two, plain = signed("apps/s3"), signed("apps/dynamo"), model(TO_SHOP)
    routes = (one, one, two, plain)
    shared = find_shared(routes)
    [host] = emit_route_configuration(listener(*routes)).virtual_hosts

    def watched(settings: Mapping[str, AnyMessage]) -> str:
        return str(LuaPerRoute.FromString(settings[WATCH].value).filter_context.fields["policy"].string_value)

    assert watched(host.typed_per_filter_config) == "apps/s3"
    assert WATCH not in emit_route(one, shared).typed_per_filter_config
    assert watched(emit_route(two, shared).typed_per_filter_config) == "apps/dynamo"
    assert is_off(emit_route(plain, shared), WATCH)


def test_a_listener_may_send_everybody_to_https() -> None:
    for https_redirect, expected in ((True, EnvoyVirtualHost.ALL), (False, EnvoyVirtualHost.NONE)):
        [host] = emit_route_configuration(listener(model(), https_redirect=https_redirect)).virtual_hosts
        assert host.require_tls == expected


def test_no_upstream_can_answer_in_our_name() -> None:
    found = emit_route_configuration(listener(model()))
    assert found.name == "apps/ingress/80"
    assert list(found.response_headers_to_remove) == ["x-apostille-reason"]
    assert found.most_specific_header_mutations_wins


def test_equal_routes_are_equal_bytes() -> None:
    first, second = (
        emit_route_configuration(listener(model(guard=Guard(program="p", policy="q")))).SerializeToString(
            deterministic=True
        )
        for _ in range(2)
    )
    assert first == second


def test_the_switch_of_a_key_slot_says_nothing_but_on() -> None:
    """The filter's own settings for a route would replace `forwarding`: the key would go on to the upstream."""
    emitted = emit_lane(model(TO_SHOP), EnvoyLane(name="r!", plain=Plain(), slot=2))
    assert_says_nothing_but_on(emitted.typed_per_filter_config[slot_name(2)])


def test_the_query_is_told_where_a_guard_may_change_it_and_nowhere_else() -> None:
    guard = Guard(program="p", policy="n/p", tells_query=True)
    assert_says_nothing_but_on(emit_route(model(TO_SHOP, guard=guard)).typed_per_filter_config[TOLD_QUERY])
    for other in (None, Guard(program="p", policy="n/p")):
        assert TOLD_QUERY not in emit_route(model(TO_SHOP, guard=other)).typed_per_filter_config


def assert_says_nothing_but_on(setting: AnyMessage) -> None:
    switch = FilterConfig()
    assert setting.Unpack(switch)
    assert (switch.disabled, switch.is_optional, switch.HasField("config")) == (False, False, True)
    assert switch.config.type_url == ""
