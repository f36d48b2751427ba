"""Random routes and random requests that have much to do with each other."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

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
    Redirect,
    Respond,
    Route,
    WeightedDestination,
)
from apostille.routing.choice import Request

OWNER = Ref("RouteTable", "apps", "t")
NAME = "apps/ingress/80"
# Few, so that they meet; among them what needs care: no letters, a case, a query, dots, slashes, escapes, bytes.
PIECES = ("/", "/a", "/A", "/ab", "/b", "b", "/1", "/.", "..", "//", "%2F", "%20", "%41", "/a.b", "\\", "<", ";")
QUERIES = ("", "?", "?x", "?x=1", "?x=2&x=1", "?y&x", "?%78=1", "?x=%31", "?x=a?x=1", '?x="', "?/a/b", "?x=..", "?&x=1")
REGEXES = (
    "/.*",
    ".*",
    ".*b",
    "/a",
    "/a.*",
    "/a|/b",
    "/[ab]/?.*",
    "/a(?:/b)?",
    "(?i)/a.*",
    "/A(?i)b?",
    r"/a\.b.*",
    r"(?s)\/a\.{1,2}(?:[/;\\].*)?",
    "/ab*",
    "/a{1,2}",
    "[^?]*",
    "^/a/b$",
)
DOMAINS = ("a.test", "b.a.test", "*.test", "*.a.test", "*b.a.test", "*", "c.test")
HOSTS = ("a.test", "A.TEST", "b.a.test:80", "xb.a.test", "x.y.a.test", ".a.test", "test", "c.test:x", "[::1]:80", "z")


def path_texts() -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(PIECES), max_size=4).map("".join)


def path_matches() -> st.SearchStrategy[PathMatch]:
    plain = st.builds(
        PathMatch,
        kind=st.sampled_from((PathKind.EXACT, PathKind.PREFIX, PathKind.PREFIX)),
        value=path_texts().filter(bool),
        ignore_case=st.sampled_from((False, False, False, True)),
    )
    regex = st.builds(PathMatch, kind=st.just(PathKind.REGEX), value=st.sampled_from(REGEXES))
    return st.one_of(plain, plain, plain, regex)


def header_matches() -> st.SearchStrategy[HeaderMatch]:
    valued = st.sampled_from(
        (
            ("x", "1", False),
            ("x", "2", False),
            ("x", "1,2", False),
            ("x", "[1,]*", True),
            ("accept", "1,2", False),
            ("cookie", "2", False),
            ("host", "a.test", False),
        )
    )
    return st.builds(
        lambda parts, present, invert: HeaderMatch(
            name=parts[0], value=None if present else parts[1], regex=parts[2] and not present, invert=invert
        ),
        valued,
        st.booleans(),
        st.booleans(),
    )


def two_dots() -> st.SearchStrategy[HeaderMatch]:
    return st.just(HeaderMatch(name=":path", value=r"(?s)[^?]*\.\..*", regex=True))


def query_matches() -> st.SearchStrategy[QueryMatch]:
    return st.sampled_from(
        (
            QueryMatch(name="x"),
            QueryMatch(name="x", value="1"),
            QueryMatch(name="x", value=""),
            QueryMatch(name="x", value="[a1?=x]*", regex=True),
            QueryMatch(name="y"),
        )
    )


def rarely(strategy: st.SearchStrategy[HeaderMatch] | st.SearchStrategy[QueryMatch]) -> st.SearchStrategy[tuple]:  # type: ignore[type-arg]
    return st.one_of(st.just(()), st.just(()), st.lists(strategy, min_size=1, max_size=2).map(tuple))


def matches() -> st.SearchStrategy[Match]:
    return st.builds(
        Match,
        path=path_matches(),
        headers=rarely(st.one_of(header_matches(), two_dots())),
        query=rarely(query_matches()),
        method=st.sampled_from((None, None, None, "GET", "POST")),
    )


def actions() -> st.SearchStrategy[tuple[Action, bool]]:
    """With whether the route takes raw paths."""
    forward: Action = Forward(destinations=(WeightedDestination(destination="shop"),))
    return st.sampled_from(
        (
            (forward, False),
            (forward, False),
            (forward, True),
            (Respond(status=200), False),
            (Redirect(status=302, host="new.test"), False),
        )
    )


@st.composite
def routes(draw: st.DrawFn, most: int = 10) -> tuple[Route, ...]:
    parts = draw(st.lists(st.tuples(matches(), actions()), max_size=most))
    return tuple(
        Route(name=f"r{index}", owner=OWNER, match=match, action=action, raw_path=raw)
        for index, (match, (action, raw)) in enumerate(parts)
    )


@st.composite
def listeners(draw: st.DrawFn) -> Listener:
    domains = draw(st.lists(st.sampled_from(DOMAINS), max_size=2, unique=True))
    # Mostly all requests find a host.
    domains += draw(st.sampled_from((["*"], ["*"], []))) if "*" not in domains else []
    hosts = []
    for number, domain in enumerate(domains):
        named = tuple(replace(route, name=f"h{number}-{route.name}") for route in draw(routes()))
        hosts.append(VirtualHost(name=domain, domains=(domain,), routes=named))
    return Listener(name=NAME, owner=Ref("VirtualGateway", "apps", "ingress"), port=0, virtual_hosts=tuple(hosts))


def headers() -> st.SearchStrategy[tuple[tuple[str, str], ...]]:
    names = st.sampled_from(("x", "X", "x", "y", "accept", "cookie"))
    pairs = st.tuples(names, st.sampled_from(("1", "2", "", "1,2", " 1 ")))
    return st.one_of(st.just(()), st.lists(pairs, max_size=3).map(tuple))


@st.composite
def requests(draw: st.DrawFn, listener: Listener) -> Request:
    """Most of them for a host and a path that the listener knows, or nearly."""
    known = [route.match.path.value for host in listener.virtual_hosts for route in host.routes]
    begin = draw(st.sampled_from([value for value in known if value.startswith("/")] or ["/"]))
    end = draw(st.sampled_from(("", "", "", *PIECES)))
    path = draw(st.sampled_from((begin + end, begin + end, begin.lower() + end, begin[:-1] + end, "*")))
    if not path.startswith("/"):
        # Envoy's server takes "*" for a path with OPTIONS only.
        path = "*"
    return Request(
        host=draw(st.sampled_from(HOSTS)),
        path=path if path == "*" else path + draw(st.sampled_from(QUERIES)),
        method="OPTIONS" if path == "*" else draw(st.sampled_from(("GET", "GET", "POST"))),
        headers=draw(headers()),
    )
