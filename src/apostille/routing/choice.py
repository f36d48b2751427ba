"""Which route a request finds, by the rules and without Envoy. What Envoy does is compared with this.

The routes of a virtual host are tried in order, and the first that matches wins.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

import re2

from apostille.model.gateway import Listener, VirtualHost
from apostille.model.route import HeaderMatch, Match, PathKind, PathMatch, QueryMatch, Route
from apostille.routing.spellings import Spelling, spelling_of, takes

# Those for which Envoy has a place of its own: as one, with commas between, when they came several times.
_JOINED = frozenset((
    "accept", "accept-encoding", "access-control-request-headers", "access-control-request-method",
    "authentication", "authorization", "cache-control", "cdn-loop", "content-encoding", "content-type", "expect",
    "grpc-accept-encoding", "grpc-timeout", "if-match", "if-modified-since", "if-none-match", "if-range",
    "if-unmodified-since", "origin", "pragma", "proxy-status", "referer", "user-agent", "via", "x-client-trace-id",
    "x-forwarded-host", "x-forwarded-port",
))  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """`host` as in the Host header. `path` with its query, as the client spelled it; empty where there is none
    (CONNECT). `headers` as they are when Envoy looks for a route: by then it has set ``x-forwarded-for``,
    ``x-forwarded-proto`` and ``x-request-id``, and has taken away most of ``x-envoy-*`` and what is for one hop.
    """

    host: str
    path: str
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()


class Unrouted(Enum):
    """What becomes of a request that finds no route."""

    NO_HOST = "404: no virtual host is for this Host header"
    NO_ROUTE = "404: no route of the virtual host matches"
    ODD_PATH = "400: the path is spelled oddly, and no route takes it so"
    TO_HTTPS = "301: the listener sends everybody to https"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """`found` says what answers; the virtual host is None only with `Unrouted.NO_HOST`."""

    virtual_host: VirtualHost | None
    found: Route | Unrouted


def choose(listener: Listener, request: Request) -> Choice:
    """What Envoy chooses for a request on this listener."""
    host = choose_host(listener.virtual_hosts, request.host)
    if host is None:
        return Choice(virtual_host=None, found=Unrouted.NO_HOST)
    if listener.https_redirect:
        return Choice(virtual_host=host, found=Unrouted.TO_HTTPS)
    return Choice(virtual_host=host, found=choose_route(host.routes, request))


def choose_host(hosts: Iterable[VirtualHost], host: str) -> VirtualHost | None:
    """The exact name, then the longest ``*.suffix``, then ``*``. Case and port make no difference."""
    name = _without_port(host).encode().lower().decode()
    by_domain = {domain.lower(): each for each in hosts for domain in each.domains}
    if name in by_domain:
        return by_domain[name]
    # A wildcard stands for at least one character.
    suffixes = [domain for domain in by_domain if domain.startswith("*") and len(name) > len(domain) - 1 > 0]
    for domain in sorted(suffixes, key=len, reverse=True):
        if name.endswith(domain[1:]):
            return by_domain[domain]
    return by_domain.get("*")


def choose_route(routes: Iterable[Route], request: Request) -> Route | Unrouted:
    """The first of a virtual host's routes that matches."""
    if not request.path.startswith("/"):
        # CONNECT, and "*": to no route of ours, whatever its match.
        return Unrouted.NO_ROUTE
    spelling = spelling_of(request.path)
    for route in routes:
        if takes(route, spelling) and matches(route.match, request):
            return route
    return Unrouted.NO_ROUTE if spelling is Spelling.ORDINARY else Unrouted.ODD_PATH


def matches(match: Match, request: Request) -> bool:
    """Whether all parts hold."""
    return (
        (match.method is None or match.method == request.method)
        and matches_path(match.path, request.path)
        and all(_matches_header(header, request) for header in match.headers)
        and all(_matches_query(query, request.path) for query in match.query)
    )


def matches_path(match: PathMatch, path: str) -> bool:
    """`path` may have a query, which does not count."""
    path = path.partition("?")[0].partition("#")[0]
    if match.kind is PathKind.REGEX:
        return re2.fullmatch(match.value, path) is not None
    wanted, given = match.value.encode(), path.encode()
    if match.ignore_case:
        # Of bytes only the letters of ASCII have a case, as for Envoy.
        wanted, given = wanted.lower(), given.lower()
    return wanted == given if match.kind is PathKind.EXACT else given.startswith(wanted)


def _matches_header(match: HeaderMatch, request: Request) -> bool:
    values = _values(request, match.name)
    if match.value is None:
        return bool(values) is not match.invert
    if not values:
        # An absent header is different from the value, unless that is empty.
        return match.invert and not _matches_text(match.value, match.regex, "")
    return any(_matches_text(match.value, match.regex, value) for value in values) is not match.invert


def _values(request: Request, name: str) -> tuple[str, ...]:
    """Of a header that came several times each counts by itself, but for those that Envoy joins."""
    if name in (":authority", "host"):
        return (request.host,)
    if name in (":path", ":method"):
        return (request.path if name == ":path" else request.method,)
    values = tuple(value.strip(" \t") for given, value in request.headers if given.lower() == name)
    return (",".join(values),) if name in _JOINED and values else values


def _matches_query(match: QueryMatch, path: str) -> bool:
    """The first parameter of the name counts. Escapes are not resolved, neither in names nor in values."""
    for part in path.partition("?")[2].split("&"):
        name, _, value = part.partition("=")
        if part and name == match.name:
            return match.value is None or _matches_text(match.value, match.regex, value)
    return False


def _matches_text(wanted: str, regex: bool, value: str) -> bool:
    return re2.fullmatch(wanted, value) is not None if regex else wanted == value


def _without_port(host: str) -> str:
    name, colon, _ = host.rpartition(":")
    # The colons of an IPv6 address stand in brackets.
    return name if colon and "]" not in host[len(name) :] else host
