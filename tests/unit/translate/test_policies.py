from __future__ import annotations

from collections.abc import Mapping

import pytest

from apostille.base.refs import Ref
from apostille.resources.broken import BrokenItem
from apostille.resources.selectors import (
    DestinationKind,
    DestinationSelector,
    GuardSpec,
    RouteSelector,
    WideRouteSelector,
)
from apostille.translate.policies import DestinationFacts, RouteFacts, Unselected, covers

SHOP = DestinationFacts(
    kind=DestinationKind.SERVICE,
    namespace="apps",
    name="shop",
    labels={"app": "shop"},
    port_number=80,
    port_name="http",
)
BUCKET = DestinationFacts(kind=DestinationKind.EXTERNAL_SERVICE, namespace="apps", name="bucket", labels={})


def route(labels: Mapping[str, str], *destinations: DestinationFacts) -> RouteFacts:
    return RouteFacts(table=Ref("RouteTable", "apps", "table"), labels=labels, destinations=destinations)


def by_route(written: dict[str, object]) -> GuardSpec:
    return GuardSpec(apply_to_routes=(RouteSelector.model_validate(written),))


def by_destination(written: dict[str, object]) -> GuardSpec:
    return GuardSpec(apply_to_destinations=(DestinationSelector.model_validate(written),))


def test_all_labels_must_be_there() -> None:
    spec = by_route({"route": {"labels": {"a": "1", "b": "2"}}})
    assert covers(spec, route({"a": "1", "b": "2", "c": "3"}), Unselected.ROUTES)
    assert not covers(spec, route({"a": "1"}), Unselected.ROUTES)


def test_the_namespace_is_that_of_the_table() -> None:
    assert covers(by_route({"route": {"namespace": "apps"}}), route({}), Unselected.ROUTES)
    assert not covers(by_route({"route": {"namespace": "other"}}), route({}), Unselected.ROUTES)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({}, True),
        ({"selector": {"name": "shop"}}, True),
        ({"selector": {"name": "other"}}, False),
        ({"selector": {"namespace": "other"}}, False),
        ({"selector": {"labels": {"app": "shop"}}}, True),
        ({"port": {"number": 80}}, True),
        ({"port": {"number": 81}}, False),
        ({"port": {"name": "http"}}, True),
        ({"port": {"name": "https"}}, False),
        ({"kind": "EXTERNAL_SERVICE"}, False),
    ],
)
def test_destinations_are_selected_by_kind_name_labels_and_port(written: dict[str, object], expected: bool) -> None:
    assert covers(by_destination(written), route({}, SHOP), Unselected.ROUTES) is expected
    assert covers(by_route({"withDestinations": written}), route({}, SHOP), Unselected.ROUTES) is expected


def test_one_selected_destination_of_several_is_enough() -> None:
    assert covers(by_destination({"kind": "EXTERNAL_SERVICE"}), route({}, SHOP, BUCKET), Unselected.ROUTES)


def test_a_port_that_is_not_known_may_be_the_one_that_is_meant() -> None:
    for port in ({"number": 443}, {"name": "https"}):
        assert covers(by_destination({"kind": "EXTERNAL_SERVICE", "port": port}), route({}, BUCKET), Unselected.ROUTES)


def test_without_selectors_it_depends_on_the_kind_of_policy() -> None:
    for unselected, expected in (
        (Unselected.ROUTES, (True, True, True)),
        (Unselected.DESTINATIONS, (True, False, False)),
    ):
        routes = (route({}, SHOP, BUCKET), route({}, BUCKET), route({}))
        assert tuple(covers(GuardSpec(), each, unselected) for each in routes) == expected


def test_a_selector_of_which_nothing_is_left_covers_everything() -> None:
    nothing: BrokenItem[WideRouteSelector] = BrokenItem(problems=())
    spec = GuardSpec(apply_to_routes=(nothing,))
    assert covers(spec, route({}), Unselected.DESTINATIONS)
    to_any = GuardSpec(apply_to_destinations=(BrokenItem(problems=()),))
    assert covers(to_any, route({}, BUCKET), Unselected.DESTINATIONS)
    assert not covers(to_any, route({}), Unselected.DESTINATIONS)


def test_what_is_left_of_a_selector_covers_what_it_may_have_meant() -> None:
    kept = WideRouteSelector.model_validate({"route": {"labels": {"port": 80, "team": "shop"}}})
    spec = GuardSpec(apply_to_routes=(BrokenItem(problems=(), kept=kept),))
    assert covers(spec, route({"port": "whatever", "team": "shop"}), Unselected.ROUTES)
    assert not covers(spec, route({"port": "80", "team": "other"}), Unselected.ROUTES)
