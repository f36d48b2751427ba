"""What a key may be used for. Pure: it compares words and must not know routes or policies."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from urllib.parse import unquote

from apostille.base.headers import is_header_value
from apostille.base.hostnames import covers

_METHOD = re.compile(r"[A-Z][A-Z0-9_-]{0,31}")
_HOST = re.compile(r"(?:\*|(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*)")
_DESTINATION = re.compile(r"[a-z0-9.-]+/[a-z0-9.-]+")
_PORT = re.compile(r":[0-9]{1,5}\Z")
# An encoded path that is still encoded after this many rounds is meant to deceive.
_ROUNDS = 3

NOTHING: Mapping[str, str] = MappingProxyType({})


class Dimension(StrEnum):
    METHOD = "method"
    HOST = "host"
    PATH = "path"
    ROUTE = "route"
    DESTINATION = "destination"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a request wants. `path` is the one on the wire, without the query; `labels` are those of its route.

    `destinations`: ``namespace/name`` of each service that the route may choose, empty where it leaves for none.
    """

    method: str
    host: str
    path: str
    labels: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    destinations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scopes:
    """Each dimension that is empty allows everything; of the others one entry must fit, of `labels` all must.

    `hosts`: exact, or with ``*.`` for the first labels, or ``*``. `paths`: prefixes that end where a segment ends:
    ``/a`` is ``/a`` and ``/a/b`` and never ``/ab``. `destinations`: ``namespace/name``; every service that a route may
    choose must be among them. Raises ValueError for words that could never fit.
    """

    methods: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    destinations: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for method in self.methods:
            if _METHOD.fullmatch(method) is None:
                raise ValueError(f"{method!r} is no method; write for example GET")
        for host in self.hosts:
            if _HOST.fullmatch(host) is None:
                raise ValueError(f"{host!r} is no host; write for example api.example.com or *.example.com")
        for path in self.paths:
            if not path.startswith("/") or "?" in path or "#" in path or _climbs(path) or not is_header_value(path):
                raise ValueError(f"{path!r} is no path prefix; write for example /orders")
        for name in self.destinations:
            if _DESTINATION.fullmatch(name) is None:
                raise ValueError(f"{name!r} is no destination; write namespace/name of its service")
        for label, value in self.labels.items():
            if not label or not is_header_value(label) or not is_header_value(value):
                raise ValueError(f"{label!r} is no route label; write its name and its value")

    @property
    def are_narrow(self) -> bool:
        """Whether there is anything that they do not allow."""
        return bool(self.methods or self.hosts or self.paths or self.labels or self.destinations)


EVERYTHING = Scopes()


def first_miss(scopes: Scopes, asked: Asked) -> Dimension | None:
    """The first dimension that does not allow the request; None when all do."""
    if scopes.methods and asked.method not in scopes.methods:
        return Dimension.METHOD
    if scopes.hosts and not _host_fits(scopes.hosts, asked.host):
        return Dimension.HOST
    if scopes.paths and not _path_fits(scopes.paths, asked.path):
        return Dimension.PATH
    if any(asked.labels.get(label) != value for label, value in scopes.labels.items()):
        return Dimension.ROUTE
    if scopes.destinations and not (asked.destinations and set(asked.destinations) <= set(scopes.destinations)):
        return Dimension.DESTINATION
    return None


def _host_fits(hosts: tuple[str, ...], host: str) -> bool:
    name = _PORT.sub("", host).lower()
    # A star of the caller's would be taken for a pattern that others cover.
    return "*" not in name and any(covers(pattern, name) for pattern in hosts)


def _path_fits(prefixes: tuple[str, ...], path: str) -> bool:
    # An upstream that resolves dots would turn "/mine/../theirs", in whichever spelling, into another path.
    if _climbs(path):
        return False
    return any(path == prefix or path.startswith(prefix.rstrip("/") + "/") for prefix in prefixes)


def _climbs(path: str) -> bool:
    for _ in range(_ROUNDS):
        plain = unquote(path, errors="replace")
        if plain == path:
            break
        path = plain
    else:
        if unquote(path, errors="replace") != path:
            return True
    segments = path.replace("\\", "/").split("/")
    return any(segment.split(";", 1)[0] in (".", "..") for segment in segments)
