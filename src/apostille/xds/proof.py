"""A configuration is proven before it is sent: a real Envoy judges it, and what it refuses is put aside.

One bad route makes Envoy refuse the whole RouteConfiguration, and its words name none. So offenders are found by
halving, replaced by an answer of ours, and the rest is published. What Envoy thinks is asked through a function, so
this module starts no process.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from apostille.base.refs import Ref
from apostille.model.destination import Destination
from apostille.model.gateway import Gateway, Listener, VirtualHost
from apostille.model.route import Forward, Respond, Route, Strip

# The gateway is whole except for what the caller left out; the answer is None or Envoy's own words.
Judge = Callable[[Gateway], Awaitable[str | None]]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What Envoy would not take: `owner` is the resource, `what` the name of the listener, route or destination."""

    owner: Ref
    what: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """`gateway` is accepted by Envoy as a whole."""

    gateway: Gateway
    refusals: tuple[Refusal, ...]


class ProofError(Exception):
    """Envoy refuses even what is left after everything it refused was put aside; the text is Envoy's."""


async def prove(gateway: Gateway, judge: Judge, before: Gateway | None = None) -> Proven:
    """The gateway without what Envoy refuses. One call of the judge when nothing is wrong.

    `before`: one that was proven earlier. What is the same in it is not judged again: routes and destinations are
    sound or not each by itself. Raises ProofError when nothing acceptable is left.
    """
    known = _Known.of(before)
    gateway, refusals = _without_loose_ends(gateway)
    if await judge(known.leave_out(gateway)) is None:
        return Proven(gateway=gateway, refusals=tuple(refusals))

    async def sound(
        kind: Callable[[T], tuple[Ref, str]], items: Sequence[T], build: Callable[[Sequence[T]], Gateway]
    ) -> set[int]:
        offenders = await _offenders(items, lambda some: judge(build(some)))
        for index, words in offenders.items():
            owner, what = kind(items[index])
            refusals.append(Refusal(owner=owner, what=what, words=words))
        return set(offenders)

    bare = replace(gateway, listeners=(), destinations=())
    destinations = [each for each in gateway.destinations if not known.has_destination(each)]
    bad = await sound(lambda d: (d.owner, d.name), destinations, lambda some: replace(bare, destinations=tuple(some)))
    proven = _without_destinations(gateway, {destinations[i].name for i in bad})

    hollow = [replace(listener, virtual_hosts=()) for listener in proven.listeners]
    bad = await sound(lambda each: (each.owner, each.name), hollow, lambda some: replace(bare, listeners=tuple(some)))
    proven = replace(proven, listeners=tuple(each for i, each in enumerate(proven.listeners) if i not in bad))

    routes = [
        _Place(listener, host, route)
        for listener in proven.listeners
        for host in listener.virtual_hosts
        for route in host.routes
        if not known.has_route(listener, host, route)
    ]
    bad = await sound(
        lambda p: (p.route.owner, p.route.name), routes, lambda some: replace(bare, listeners=_only(some))
    )
    refused = {routes[i].route.name for i in bad}
    proven = await _with_replacements(proven, refused, judge)

    words = await judge(known.leave_out(proven))
    if words is not None:
        raise ProofError(words)
    return Proven(gateway=proven, refusals=tuple(refusals))


@dataclass(frozen=True, slots=True)
class _Known:
    """What a judge has seen before and found sound."""

    destinations: Mapping[str, Destination]
    routes: Mapping[tuple[str, str, str], Route]

    @classmethod
    def of(cls, gateway: Gateway | None) -> _Known:
        if gateway is None:
            return cls({}, {})
        return cls(
            {each.name: each for each in gateway.destinations},
            {
                (listener.name, host.name, route.name): route
                for listener in gateway.listeners
                for host in listener.virtual_hosts
                for route in host.routes
            },
        )

    def has_destination(self, destination: Destination) -> bool:
        return self.destinations.get(destination.name) == destination

    def has_route(self, listener: Listener, host: VirtualHost, route: Route) -> bool:
        known = self.routes.get((listener.name, host.name, route.name))
        return known is route or known == route

    def leave_out(self, gateway: Gateway) -> Gateway:
        """The gateway without it. Listeners and virtual hosts stay: they are few, and must fit together."""
        if not self.destinations and not self.routes:
            return gateway
        return replace(
            gateway,
            destinations=tuple(each for each in gateway.destinations if not self.has_destination(each)),
            listeners=tuple(
                replace(
                    listener,
                    virtual_hosts=tuple(
                        replace(host, routes=tuple(r for r in host.routes if not self.has_route(listener, host, r)))
                        for host in listener.virtual_hosts
                    ),
                )
                for listener in gateway.listeners
            ),
        )


@dataclass(frozen=True, slots=True)
class _Place:
    listener: Listener
    host: VirtualHost
    route: Route


async def _offenders(items: Sequence[T], judge: Callable[[Sequence[T]], Awaitable[str | None]]) -> dict[int, str]:
    """Index → Envoy's words for every item that is refused by itself, by halving what is refused together."""
    found: dict[int, str] = {}

    async def look(start: int, end: int) -> None:
        words = await judge(items[start:end])
        if words is None:
            return
        if end - start == 1:
            found[start] = words
            return
        middle = (start + end) // 2
        await look(start, middle)
        await look(middle, end)

    if items:
        await look(0, len(items))
    return found


def _only(places: Sequence[_Place]) -> tuple[Listener, ...]:
    """The listeners with just these routes in just these virtual hosts."""
    listeners: dict[str, Listener] = {}
    hosts: dict[tuple[str, str], list[Route]] = {}
    for place in places:
        listeners.setdefault(place.listener.name, place.listener)
        hosts.setdefault((place.listener.name, place.host.name), []).append(place.route)
    return tuple(
        replace(
            listener,
            virtual_hosts=tuple(
                replace(host, routes=tuple(hosts[name, host.name]))
                for host in listener.virtual_hosts
                if (name, host.name) in hosts
            ),
        )
        for name, listener in listeners.items()
    )


def _map_routes(gateway: Gateway, change: Callable[[Route], Route | None]) -> Gateway:
    return replace(
        gateway,
        listeners=tuple(
            replace(
                listener,
                virtual_hosts=tuple(
                    replace(host, routes=tuple(r for route in host.routes if (r := change(route)) is not None))
                    for host in listener.virtual_hosts
                ),
            )
            for listener in gateway.listeners
        ),
    )


def _without_loose_ends(gateway: Gateway) -> tuple[Gateway, list[Refusal]]:
    """Routes to destinations that do not exist answer 500: in a matcher tree Envoy does not look for their clusters."""
    names = {each.name for each in gateway.destinations}
    found: dict[str, Refusal] = {}

    def change(route: Route) -> Route:
        action = route.action
        lost = [] if not isinstance(action, Forward) else [t.destination for t in action.destinations]
        lost = [name for name in lost if name not in names]
        if not lost:
            return route
        found[route.name] = Refusal(owner=route.owner, what=route.name, words=f"there is no cluster {lost[0]!r}")
        return refused_route(route, "route_refused")

    changed = _map_routes(gateway, change)
    return (changed if found else gateway), list(found.values())


def refused_route(route: Route, reason: str) -> Route:
    """The same requests, answered 500."""
    return replace(route, action=Respond(status=500, reason=reason), guard=None, lane=None, strip=Strip())


def _without_destinations(gateway: Gateway, names: set[str]) -> Gateway:
    def change(route: Route) -> Route:
        action = route.action
        if isinstance(action, Forward) and any(t.destination in names for t in action.destinations):
            return refused_route(route, "destination_refused")
        return route

    kept: tuple[Destination, ...] = tuple(d for d in gateway.destinations if d.name not in names)
    return replace(_map_routes(gateway, change), destinations=kept)


async def _with_replacements(gateway: Gateway, refused: set[str], judge: Judge) -> Gateway:
    """Refused routes answer 500. Where it is the match itself that Envoy refuses, nothing can match it: the route goes,
    and the routes of the same table after it answer 500, since they would catch requests meant for the lost one."""
    if not refused:
        return gateway
    replaced = _map_routes(gateway, lambda r: refused_route(r, "route_refused") if r.name in refused else r)
    places = [
        _Place(listener, host, route)
        for listener in replaced.listeners
        for host in listener.virtual_hosts
        for route in host.routes
        if route.name in refused
    ]
    bare = replace(replaced, listeners=())
    lost = {
        places[i].route.name for i in await _offenders(places, lambda some: judge(replace(bare, listeners=_only(some))))
    }
    if not lost:
        return replaced
    shut: set[tuple[Ref, str]] = set()
    hosts_done: list[Listener] = []
    for listener in replaced.listeners:
        hosts = []
        for host in listener.virtual_hosts:
            routes = []
            shut.clear()
            for route in host.routes:
                if route.name in lost:
                    shut.add((route.owner, host.name))
                elif (route.owner, host.name) in shut:
                    routes.append(refused_route(route, "route_refused"))
                else:
                    routes.append(route)
            hosts.append(replace(host, routes=tuple(routes)))
        hosts_done.append(replace(listener, virtual_hosts=tuple(hosts)))
    return replace(replaced, listeners=tuple(hosts_done))
