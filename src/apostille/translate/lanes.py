"""Which lane a route takes, and which of its requests are plain enough for Envoy's own filters.

Envoy's filters see less than the auth service: one line of a repeated header, a path in its own idea of a canonical
spelling. So they get only what both read alike. What is not plain is no error: the service lane answers it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from apostille.base.refs import Ref
from apostille.model.digest import content_digest
from apostille.model.lane import EnvoyKeys, EnvoyLane, EnvoySigner, HeaderPattern, Lane, Plain, ServiceLane
from apostille.model.route import Match, PathKind, PathRewrite, RegexRewrite, Route
from apostille.resources.resource import Resource
from apostille.resources.routes import RouteTable
from apostille.status.problem import Note
from apostille.translate.contract import EnvoyKeyCheck, EnvoySigning

# In a path of canonical spelling a query may follow. Of its characters the auth service's web server takes no others.
_QUERY = '[^<>"]*'

# Policies times sets of methods, in one gateway; more than that are compiled over and over.
_PLAINS = 256

# Routes that a note names; the others are counted.
_NAMED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeDoor:
    """A route's door, as far as Envoy could be it; a text says why it cannot. `rewrite`: in the author's words."""

    name: str
    match: Match
    rewrite: PathRewrite | RegexRewrite | None
    keys: EnvoyKeyCheck | str | None = None
    slot: int | None = None
    signing: EnvoySigning | str | None = None
    signer: str | None = None


def signer_id(policy: Ref, signing: EnvoySigning | str) -> str | None:
    """Of the `EnvoySigner` that signs for this policy. It changes with everything but the credentials."""
    if isinstance(signing, str):
        return None
    return f"{policy.short}@{content_digest((signing.service, signing.region))[:12]}"


def compile_signers(policies: Iterable[tuple[Ref, EnvoySigning | str]]) -> tuple[EnvoySigner, ...]:
    signers = {
        identity: EnvoySigner(
            id=identity,
            service=signing.service,
            region=signing.region,
            access_key=signing.access_key,
            secret_key=signing.secret_key,
            session_token=signing.session_token,
        )
        for policy, signing in policies
        if isinstance(signing, EnvoySigning) and (identity := signer_id(policy, signing)) is not None
    }
    return tuple(signers[identity] for identity in sorted(signers))


def compile_rings(checks: Iterable[EnvoyKeyCheck | str], slots: Mapping[str, int]) -> tuple[EnvoyKeys, ...]:
    """The rings that have a slot, in the order of the slots."""
    rings = (
        EnvoyKeys(id=check.ring, slot=slots[check.ring], header=check.header, keys=check.keys)
        for check in checks
        if isinstance(check, EnvoyKeyCheck) and check.ring in slots
    )
    return tuple(sorted(rings, key=lambda ring: ring.slot))


def compile_lane(door: NativeDoor) -> Lane:
    for part in (door.keys, door.signing):
        if isinstance(part, str):
            return ServiceLane(reason=part)
    if isinstance(door.rewrite, RegexRewrite):
        return ServiceLane(reason="its path is rewritten by a regular expression")
    reason = _find_odd_match(door.match)
    if reason is not None:
        return ServiceLane(reason=reason)
    if isinstance(door.keys, EnvoyKeyCheck) and door.slot is None:
        return ServiceLane(reason="there are more key rings than Envoy has filters for")
    signing = door.signing if isinstance(door.signing, EnvoySigning) else None
    reason = _find_odd_target(door, signing) if signing is not None else None
    if reason is not None:
        return ServiceLane(reason=reason)
    methods = _compile_methods(door)
    if methods == ():
        return ServiceLane(reason="it takes no method whose requests have no body")
    header = door.keys.header if isinstance(door.keys, EnvoyKeyCheck) else None
    plain = _compile_plain(
        header,
        methods,
        None if signing is None else signing.path,
        None if signing is None else signing.query,
        () if signing is None else signing.absent,
        () if signing is None else signing.only,
    )
    replacement = door.rewrite.replacement if isinstance(door.rewrite, PathRewrite) else None
    return EnvoyLane(name=door.name, plain=plain, slot=door.slot, signer=door.signer, replacement=replacement)


# Thousands of routes share one: it is long to write, to hold and to compare.
@lru_cache(maxsize=_PLAINS)
def _compile_plain(
    header: str | None,
    methods: tuple[str, ...] | None,
    path: str | None,
    query: tuple[str, ...] | None,
    absent: tuple[str, ...],
    only: tuple[HeaderPattern, ...],
) -> Plain:
    """`header`: of the keys. `path`, `query`, `absent`, `only`: as in `EnvoySigning`."""
    return Plain(
        path=None if path is None else f"{path}{_compile_query(query)}",
        methods=methods,
        absent=absent,
        only=(*(() if header is None else (_one_line(header),)), *only),
        never=() if header is None else (_bearer(header),),
    )


def _one_line(header: str) -> HeaderPattern:
    """Envoy's filter takes the first of several lines, which come joined with commas. And bytes beyond ASCII are
    something else to the auth service than to it."""
    return HeaderPattern(name=header, pattern=r"[ -+\--~]*")


def _bearer(header: str) -> HeaderPattern:
    """Envoy's filter takes ``Bearer KEY`` for ``KEY``."""
    return HeaderPattern(name=header, pattern="Bearer .*")


def _find_odd_match(match: Match) -> str | None:
    if match.headers or match.query:
        return "its matcher asks for headers or query parameters"
    if match.path.kind is PathKind.REGEX or match.path.ignore_case:
        return "its path is a regular expression, or ignores case"
    return None


def _compile_methods(door: NativeDoor) -> tuple[str, ...] | None:
    """None: all. Of the methods that are allowed and signed, those whose requests have no body."""
    asked = None if door.match.method is None else (door.match.method,)
    if not isinstance(door.signing, EnvoySigning):
        return asked
    return tuple(method for method in door.signing.methods if asked is None or method in asked)


def _find_odd_target(door: NativeDoor, signing: EnvoySigning) -> str | None:
    """Why the path that is sent might not be the one that is signed, or allowed."""
    path = door.match.path
    sent = door.rewrite.replacement if isinstance(door.rewrite, PathRewrite) else path.value
    if not re.fullmatch(signing.path, sent):
        return f"the path {sent!r} that it sends is not in the one spelling that is signed"
    if path.kind is PathKind.PREFIX and not (path.value.endswith("/") and sent.endswith("/")):
        return "its prefix, or what replaces it, does not end with a slash"
    if not _is_below(sent, signing.path_prefixes):
        return "`allow.pathPrefixes` does not allow all of it"
    return None


def _is_below(path: str, prefixes: tuple[str, ...]) -> bool:
    return not prefixes or any(path.startswith(prefix) for prefix in prefixes)


def _compile_query(query: tuple[str, ...] | None) -> str:
    if query is None:
        return rf"(?:\?{_QUERY})?"
    names = f"(?i:{_any_of(query)})"
    return rf'(?:\?(?:{names}(?:=[^&<>"]*)?(?:&|$))*)?' if query else r"\??"


def _any_of(texts: Iterable[str]) -> str:
    return "|".join(re.escape(text) for text in texts)


def describe_lanes(table: Resource[RouteTable], routes: Iterable[Route]) -> Note | None:
    """Which lane the routes of a table are in, and why; None where nothing is judged or signed."""
    groups: dict[str, list[str]] = {}
    for route in routes:
        if isinstance(route.lane, EnvoyLane):
            groups.setdefault("plain requests in the Envoy lane", []).append(route.lane.name)
        elif isinstance(route.lane, ServiceLane):
            groups.setdefault(f"in the service lane, since {route.lane.reason}", []).append(route.name.rstrip("+"))
    lines = tuple(f"{group}: {_some_of(names)}" for group, names in sorted(groups.items()))
    return Note(ref=table.ref, origin=table.origin, lines=lines) if lines else None


def _some_of(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
