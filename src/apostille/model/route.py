"""One route: which requests, what is done to them, and who guards them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from apostille.base.refs import Ref
from apostille.model.lane import Lane


class PathKind(StrEnum):
    EXACT = "exact"
    PREFIX = "prefix"
    REGEX = "regex"


@dataclass(frozen=True, slots=True, kw_only=True)
class PathMatch:
    """The path without its query. A prefix is a plain string prefix: ``/foo`` matches ``/foobar`` too."""

    kind: PathKind
    value: str
    ignore_case: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderMatch:
    """`value` of None asks for presence only. `invert` matches when the header is absent or different."""

    name: str
    value: str | None = None
    regex: bool = False
    invert: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryMatch:
    name: str
    value: str | None = None
    regex: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """All parts must hold."""

    path: PathMatch
    headers: tuple[HeaderMatch, ...] = ()
    query: tuple[QueryMatch, ...] = ()
    method: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedDestination:
    """`destination` names a `Destination`; weights of one route add up to 100 unless there is only one."""

    destination: str
    weight: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class PathRewrite:
    """Replaces the matched prefix, or the whole path of an exact match. The query stays."""

    replacement: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RegexRewrite:
    """RE2; ``\\1`` in the substitution stands for a group."""

    pattern: str
    substitution: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """`external` says that at least one destination is a foreign service: our own headers must not reach it.

    At most one of `host_rewrite` and `auto_host_rewrite` is set. `signed`: the path that is sent is the one that the
    auth service has signed, whatever the client's spelling was.
    """

    destinations: tuple[WeightedDestination, ...]
    host_rewrite: str | None = None
    auto_host_rewrite: bool = False
    path_rewrite: PathRewrite | RegexRewrite | None = None
    signed: bool = False
    external: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    """`status` is one of 301, 302, 303, 307, 308. What is None stays as the client sent it."""

    status: int
    host: str | None = None
    path: str | None = None
    https: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Respond:
    """A direct answer. `reason` becomes the header ``x-apostille-reason``; set when the answer is not the author's."""

    status: int
    body: str = ""
    reason: str | None = None


Action = Forward | Redirect | Respond


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """Every request of the route is put before this auth program first.

    `program` is the id of a `Program`, `policy` its policy as ``namespace/name``. `body_limit` in bytes: the
    request's body goes along, 413 above it; None leaves the body alone. `body_may_be_cut`: of a longer body only that
    much goes along, and the request is not refused. `tells_query`: the query that is sent is the one that the auth
    service tells. `outbound`: the policy that says what goes on the request;
    `integration`: its kind.
    """

    program: str
    policy: str
    body_limit: int | None = None
    body_may_be_cut: bool = False
    tells_query: bool = False
    outbound: str | None = None
    integration: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """Request headers taken away before any guard sees the request, so that nobody can forge them.

    Names and prefixes in lower case.
    """

    names: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """`name` is unique within its listener and says which matcher of which route it is. `owner` is the RouteTable.

    `lane`: where its requests are judged and signed; None where nothing is.
    `raw_path`: every spelling of a path is welcome, because the destination takes each for another name.
    """

    name: str
    owner: Ref
    match: Match
    action: Action
    guard: Guard | None = None
    strip: Strip = field(default_factory=Strip)
    raw_path: bool = False
    lane: Lane | None = None
    labels: tuple[tuple[str, str], ...] = ()
