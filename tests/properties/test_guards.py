"""No door is open that a policy covers: its route asks the policy's program, or it refuses by itself.

What a policy covers is worked out here a second time, from the documents as they are written.
"""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from apostille.model.gateway import Gateway
from apostille.model.route import Forward, Respond, Route
from tests.properties.strategies import Document, broken_sets, mutilated, sound_documents
from tests.properties.world import all_routes, translate_documents

_UNREADABLE: tuple[tuple[str, object], ...] = (
    ("applyToRoutes", "everything"),
    ("applyToRoutes", 7),
    ("applyToRoutes", {"route": {}}),
    ("applyToRoutes", [7]),
    ("applyToRoutes", [{}]),
    ("applyToRoutes", [{"route": 7}]),
    ("applyToDestinations", "everything"),
    ("applyToDestinations", {}),
    ("applyToDestinations", [7]),
    ("applyToDestinations", [{"kind": "NOWHERE"}]),
)


def destinations_of(route: Document) -> list[tuple[str, str]]:
    written = route.get("forwardTo", {}).get("destinations", [])
    return [(each.get("kind", "SERVICE"), each["ref"]["name"]) for each in written]


def selects(selector: Document, destination: tuple[str, str]) -> bool:
    kind, name = destination
    if selector.get("kind", "SERVICE") != kind:
        return False
    wanted = selector["selector"]
    return bool(name == wanted.get("name", wanted.get("labels", {}).get("foreign")))


def covers(policy: Document, table: Document, route: Document) -> bool:
    spec = policy["spec"]
    labels = {**table["metadata"].get("labels", {}), **route.get("labels", {})}
    destinations = destinations_of(route)
    by_route, by_destination = spec.get("applyToRoutes", []), spec.get("applyToDestinations", [])
    if not by_route and not by_destination:
        return any(kind == "SERVICE" for kind, _ in destinations)
    return any(
        selector["route"]["labels"].items() <= labels.items()
        if "route" in selector
        else any(selects(selector["withDestinations"], each) for each in destinations)
        for selector in by_route
    ) or any(selects(selector, each) for selector in by_destination for each in destinations)


def of_kind(documents: list[Document], kind: str) -> list[Document]:
    """The oldest first."""
    found = [each for each in documents if each["kind"] == kind]
    return sorted(found, key=lambda each: str(each["metadata"]["creationTimestamp"]))


def compiled(gateway: Gateway, table: Document, route: Document) -> Iterator[Route]:
    """All that became of one route: for each matcher, in each virtual host of each listener, with its traps."""
    name = f"apps/{table['metadata']['name']}/{route['name']}"
    for each in all_routes(gateway):
        if each.name.removesuffix("!").partition("#")[0] == name:
            yield each


def refuses(route: Route) -> bool:
    return isinstance(route.action, Respond) and route.action.status >= 400 and route.action.reason is not None


def assert_programs_exist(gateway: Gateway) -> None:
    programs = {program.id: program for program in gateway.programs}
    for route in all_routes(gateway):
        if route.guard is not None:
            assert f"{programs[route.guard.program].policy.namespace}/" in route.guard.policy


@given(sound=sound_documents())
def test_every_covered_route_asks_the_oldest_policy_that_covers_it(sound: list[Document]) -> None:
    gateway = translate_documents(sound).gateway
    assert_programs_exist(gateway)
    for table in of_kind(sound, "RouteTable"):
        for route in table["spec"]["http"]:
            covering = [policy for policy in of_kind(sound, "ExtAuthPolicy") if covers(policy, table, route)]
            expected = f"apps/{covering[0]['metadata']['name']}" if covering else None
            for each in compiled(gateway, table, route):
                if refuses(each):
                    assert each.guard is None
                else:
                    assert (each.guard.policy if each.guard else None) == expected


@given(data=st.data(), sound=sound_documents(), broken=broken_sets())
def test_no_covered_route_is_open_when_policies_are_mutilated(
    data: st.DataObject, sound: list[Document], broken: list[Document]
) -> None:
    """What a policy covered before its steps were spoilt stays guarded or shut."""
    policies = of_kind(sound, "ExtAuthPolicy")
    spoilt = []
    for policy in policies:
        config = data.draw(mutilated([policy["spec"]["config"]]))[0]
        spoilt.append({**policy, "spec": {**policy["spec"], "config": config}})
    others = [each for each in sound if each["kind"] != "ExtAuthPolicy"]
    gateway = translate_documents([*others, *broken, *spoilt]).gateway
    assert_programs_exist(gateway)
    for table in of_kind(sound, "RouteTable"):
        for route in table["spec"]["http"]:
            if any(covers(policy, table, route) for policy in policies):
                for each in compiled(gateway, table, route):
                    assert each.guard is not None or refuses(each)


@given(sound=sound_documents(), unreadable=st.sampled_from(_UNREADABLE))
def test_a_policy_whose_targets_cannot_be_read_leaves_nothing_open(
    sound: list[Document], unreadable: tuple[str, object]
) -> None:
    """Whatever its selectors may have meant: every route, or every route that leads to a destination."""
    field, selectors = unreadable
    policy: Document = {
        "apiVersion": "security.policy.gloo.solo.io/v2",
        "kind": "ExtAuthPolicy",
        "metadata": {"name": "unreadable", "namespace": "apps"},
        "spec": {field: selectors, "config": {"disable": True}},
    }
    gateway = translate_documents([*sound, policy]).gateway
    routes = [each for each in all_routes(gateway) if field == "applyToRoutes" or isinstance(each.action, Forward)]
    assert all(route.guard is not None or refuses(route) for route in routes)


@given(sound=sound_documents())
def test_a_guard_that_is_not_built_shuts_every_route_it_covers(sound: list[Document]) -> None:
    policy: Document = {
        "apiVersion": "security.policy.gloo.solo.io/v2",
        "kind": "JWTPolicy",
        "metadata": {"name": "tokens", "namespace": "apps"},
        "spec": {},
    }
    gateway = translate_documents([*sound, policy]).gateway
    assert all(refuses(route) for route in all_routes(gateway))
    assert gateway.programs == ()
