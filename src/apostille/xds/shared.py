"""What the routes of a virtual host have in common, so that it stands there once.

Envoy makes an object of each setting on each route: with 10,000 routes that takes half of its memory for them, and half
of the time that it needs to take a change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from apostille.model.route import Forward, Route, Strip

Watch = tuple[str, str]
"""An outbound policy (``namespace/name``) and its integration kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """`strip`: what is stripped on all routes. `watch`: that of most routes that have one; the others say otherwise."""

    strip: Strip = field(default_factory=Strip)
    watch: Watch | None = None


NOTHING_SHARED = Shared()


def find_shared(routes: Sequence[Route]) -> Shared:
    watches: Counter[Watch] = Counter()
    strips: dict[Strip, None] = {}
    for route in routes:
        # To take headers away from what nobody reads does no harm.
        if route.guard is not None or isinstance(route.action, Forward):
            strips[route.strip] = None
        watch = watch_of(route)
        if watch is not None:
            watches[watch] += 1
    return Shared(
        strip=_common(list(strips)), watch=min(watches, key=lambda each: (-watches[each], each), default=None)
    )


def watch_of(route: Route) -> Watch | None:
    """Whose credential the destination may refuse, None for none."""
    guard = route.guard
    if guard is None or guard.outbound is None or guard.integration is None:
        return None
    return guard.outbound, guard.integration


def _common(strips: Sequence[Strip]) -> Strip:
    if not strips:
        return Strip()
    names = set.intersection(*(set(strip.names) for strip in strips))
    prefixes = set.intersection(*(set(strip.prefixes) for strip in strips))
    return Strip(
        names=tuple(name for name in strips[0].names if name in names),
        prefixes=tuple(prefix for prefix in strips[0].prefixes if prefix in prefixes),
    )
