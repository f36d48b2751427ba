from __future__ import annotations

import pytest

from apostille.base.refs import Ref
from apostille.model.gateway import Listener, VirtualHost
from apostille.model.route import (
    Action,
    Forward,
    HeaderMatch,
    Match,
    PathKind,
    PathMatch,
    QueryMatch,
    Respond,
    Route,
    WeightedDestination,
)
from apostille.routing.choice import Request, Unrouted, choose, choose_host, choose_route, matches

OWNER = Ref("RouteTable", "apps", "shop")
TO_SHOP = Forward(destinations=(WeightedDestination(destination="shop"),))
EVERYTHING = PathMatch(kind=PathKind.PREFIX, value="/")


def route(name: str, path: PathMatch = EVERYTHING, action: Action = TO_SHOP, *, raw_path: bool = False) -> Route:
    return Route(name=name, owner=OWNER, match=Match(path=path), action=action, raw_path=raw_path)


def host(*domains: str, routes: tuple[Route, ...] = ()) -> VirtualHost:
    return VirtualHost(name=domains[0], domains=domains, routes=routes)


def listener(*hosts: VirtualHost, https_redirect: bool = False) -> Listener:
    return Listener(name="l", owner=OWNER, port=80, virtual_hosts=hosts, https_redirect=https_redirect)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("a.test", "a.test"),
        ("A.Test:8080", "a.test"),
        ("b.test", "*.test"),
        ("c.b.test", "*.b.test"),
        ("x-b.test", "*-b.test"),
        (".test", "*"),
        ("[::1]", "*"),
        ("[::1]:80", "*"),
        ("", "*"),
    ],
)
def test_the_most_particular_host_is_chosen(asked: str, expected: str) -> None:
    hosts = [host(name) for name in ("*", "*.test", "a.test", "*.b.test", "*-b.test")]
    found = choose_host(hosts, asked)
    assert found is not None
    assert found.name == expected


def test_without_a_wildcard_some_hosts_are_nobodys() -> None:
    assert choose(listener(host("a.test")), Request(host="b.test", path="/")).found is Unrouted.NO_HOST


def test_a_listener_for_https_alone_looks_at_no_route() -> None:
    found = choose(listener(host("*", routes=(route("r"),)), https_redirect=True), Request(host="a", path="/"))
    assert found.found is Unrouted.TO_HTTPS


def test_the_first_that_matches_wins() -> None:
    exact = route("exact", PathMatch(kind=PathKind.EXACT, value="/a"))
    routes = (route("prefix", PathMatch(kind=PathKind.PREFIX, value="/a")), exact, route("rest"))
    chosen = choose(listener(host("*", routes=routes)), Request(host="any", path="/a"))
    assert chosen.found is routes[0]
    assert choose_route(routes, Request(host="any", path="/b")) is routes[2]
    assert choose_route(routes[:2], Request(host="any", path="/b")) is Unrouted.NO_ROUTE


@pytest.mark.parametrize("path", ["", "*"])
def test_what_is_no_path_finds_no_route(path: str) -> None:
    everything = route("r", PathMatch(kind=PathKind.REGEX, value=".*"))
    assert choose_route([everything], Request(host="a", path=path, method="OPTIONS")) is Unrouted.NO_ROUTE


def test_odd_spellings_find_only_routes_that_take_them() -> None:
    sent, raw, answered = route("sent"), route("raw", raw_path=True), route("answered", action=Respond(status=200))
    odd, worse = Request(host="a", path="/a//b"), Request(host="a", path="/a<b")
    assert choose_route([sent, raw, answered], odd) is raw
    assert choose_route([sent, raw, answered], worse) is answered
    assert choose_route([sent], odd) is Unrouted.ODD_PATH
    assert choose_route([sent, raw], worse) is Unrouted.ODD_PATH


@pytest.mark.parametrize(
    ("query", "path", "expected"),
    [
        (QueryMatch(name="x"), "/?x", True),
        (QueryMatch(name="x"), "/?y&x=1", True),
        (QueryMatch(name="x"), "/", False),
        (QueryMatch(name="x"), "/?%78=1", False),
        (QueryMatch(name="x", value="1"), "/?x=2&x=1", False),
        (QueryMatch(name="x", value="1?x"), "/?x=1?x", True),
        (QueryMatch(name="x", value="%31"), "/?x=%31", True),
        (QueryMatch(name="x", value="1+", regex=True), "/?x=11", True),
        (QueryMatch(name="x", value="1+", regex=True), "/?x=112", False),
    ],
)
def test_the_first_parameter_of_a_name_counts_as_it_is_spelled(query: QueryMatch, path: str, expected: bool) -> None:
    assert matches(Match(path=EVERYTHING, query=(query,)), Request(host="a", path=path)) is expected


@pytest.mark.parametrize(
    ("header", "given", "expected"),
    [
        (HeaderMatch(name="x", value="1"), (("X", " 1 "),), True),
        (HeaderMatch(name="x", value="1"), (("x", "2"), ("x", "1")), True),
        (HeaderMatch(name="x", value="1", invert=True), (("x", "2"), ("x", "1")), False),
        (HeaderMatch(name="x", value="2,1"), (("x", "2"), ("x", "1")), False),
        (HeaderMatch(name="accept", value="2,1"), (("accept", "2"), ("accept", "1")), True),
        (HeaderMatch(name="x", value="1", invert=True), (), True),
        (HeaderMatch(name="x", value="", invert=True), (), False),
        (HeaderMatch(name="x", value="1*", regex=True, invert=True), (), False),
        (HeaderMatch(name="x"), (("x", ""),), True),
        (HeaderMatch(name="x", invert=True), (), True),
        (HeaderMatch(name="host", value="a"), (), True),
        (HeaderMatch(name=":path", value="/.*", regex=True), (), True),
        (HeaderMatch(name=":method", value="POST"), (), False),
    ],
)
def test_headers_are_compared_one_by_one(
    header: HeaderMatch, given: tuple[tuple[str, str], ...], expected: bool
) -> None:
    assert matches(Match(path=EVERYTHING, headers=(header,)), Request(host="a", path="/", headers=given)) is expected


def test_of_paths_only_the_letters_of_ascii_have_a_case() -> None:
    match = Match(path=PathMatch(kind=PathKind.EXACT, value="/É/a", ignore_case=True))
    assert matches(match, Request(host="a", path="/É/A?q"))
    assert not matches(match, Request(host="a", path="/é/a"))


def test_a_method_is_compared_as_it_is_written() -> None:
    match = Match(path=EVERYTHING, method="POST")
    assert matches(match, Request(host="a", path="/", method="POST"))
    assert not matches(match, Request(host="a", path="/", method="post"))
