"""Which policy covers which route: selection, once for every kind of policy that guards access."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from apostille.base.refs import Ref
from apostille.model.auth import Place
from apostille.resources.broken import BrokenItem
from apostille.resources.selectors import (
    DestinationKind,
    DestinationSelector,
    GuardSpec,
    PortSelector,
    RouteSelector,
    WideRouteSelector,
)


class Unselected(Enum):
    """What a policy covers that names neither routes nor destinations; it differs from kind to kind."""

    ROUTES = "every route"
    DESTINATIONS = "every route to a Service"


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationFacts:
    """`port_number` and `port_name` are of the one port that the route means, as far as they are known."""

    kind: DestinationKind
    namespace: str
    name: str
    labels: Mapping[str, str]
    port_number: int | None = None
    port_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteFacts:
    """What a selector can ask of a route. `labels`: its own before those of its table."""

    table: Ref
    labels: Mapping[str, str]
    destinations: tuple[DestinationFacts, ...] = ()

    @property
    def place(self) -> Place:
        return Place(
            labels=dict(self.labels),
            destinations=tuple(sorted({f"{to.namespace}/{to.name}" for to in self.destinations})),
        )


def covers(spec: GuardSpec, route: RouteFacts, unselected: Unselected) -> bool:
    """Whether a policy covers a route. What could not be read of a selector widens it, never narrows it."""
    routes, destinations = spec.apply_to_routes, spec.apply_to_destinations
    if not routes and not destinations:
        if unselected is Unselected.ROUTES:
            return True
        return any(to.kind is DestinationKind.SERVICE for to in route.destinations)
    return any(selects_route(selector, route) for selector in routes) or any(
        isinstance(selector, BrokenItem) or selects_destination(selector, to)
        for selector in destinations
        for to in route.destinations
    )


def selects_route(selector: RouteSelector | BrokenItem[WideRouteSelector], route: RouteFacts) -> bool:
    namespace = route.table.namespace
    if isinstance(selector, BrokenItem):
        return selector.kept is None or selector.kept.covers(labels=route.labels, namespace=namespace)
    if selector.with_destinations is not None:
        return any(selects_destination(selector.with_destinations, to) for to in route.destinations)
    return selector.route is not None and selector.route.covers(labels=route.labels, namespace=namespace)


def selects_destination(selector: DestinationSelector, to: DestinationFacts) -> bool:
    if selector.kind is not to.kind or not _selects_port(selector.port, to):
        return False
    return selector.selector is None or selector.selector.matches(
        labels=to.labels, namespace=to.namespace, name=to.name
    )


def _selects_port(port: PortSelector | None, to: DestinationFacts) -> bool:
    if port is None:
        return True
    if port.number is not None:
        return to.port_number in (None, port.number)
    return to.port_name in (None, port.name)
