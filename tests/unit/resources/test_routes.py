from __future__ import annotations

import pytest

from apostille.resources.broken import BrokenItem
from apostille.resources.routes import ForwardTo, HTTPRequestMatcher, HTTPRoute, RouteTable
from apostille.resources.validation import Validated, validate_spec
from apostille.status.problem import field_text
from apostille.status.reasons import Effect

FORWARD = {"destinations": ({"ref": {"name": "a"}},)}


def table(*routes: object, **fields: object) -> Validated[RouteTable]:
    return validate_spec(RouteTable, {"hosts": ("*",), "http": routes, **fields}, ("spec",))


def spec_of(validated: Validated[RouteTable]) -> RouteTable:
    assert validated.spec is not None
    return validated.spec


def fatal(validated: Validated[RouteTable]) -> list[str]:
    return [field_text(problem.at) for problem in validated.fatal]


def test_one_bad_route_spares_its_neighbours_and_keeps_its_name_labels_and_matchers() -> None:
    validated = table(
        {"name": "first", "forwardTo": FORWARD},
        {
            "name": "bad",
            "labels": {"x": "1"},
            "matchers": ({"uri": {"prefix": "/b"}},),
            "forwardTo": {"destinations": ({"ref": {"name": "a"}, "port": {"number": "80"}},)},
        },
        {"name": "last", "directResponse": {"status": 200}},
    )
    first, bad, last = spec_of(validated).http
    assert isinstance(first, HTTPRoute)
    assert isinstance(last, HTTPRoute)
    assert isinstance(bad, BrokenItem)
    assert bad.kept is not None
    assert (bad.kept.name, bad.kept.labels, bad.lost) == ("bad", {"x": "1"}, ())
    (matcher,) = bad.kept.matchers
    assert isinstance(matcher, HTTPRequestMatcher)
    ((problem, effect),) = validated.contained
    assert field_text(problem.at) == "spec.http[1].forwardTo.destinations[0].port.number"
    assert effect is Effect.REPLACED


@pytest.mark.parametrize(
    "actions", [{}, {"forwardTo": FORWARD, "directResponse": {"status": 200}}, {"redirect": {}}, {"forwardTo": None}]
)
def test_a_route_needs_exactly_one_sound_action(actions: dict[str, object]) -> None:
    (route,) = spec_of(table({"name": "r", **actions})).http
    assert isinstance(route, BrokenItem)


def test_a_bad_matcher_spares_the_route_and_keeps_at_least_the_requests_that_were_meant() -> None:
    matchers = (
        {"uri": {"exact": "/good"}},
        {"uri": {"prefix": "/p"}, "headers": ({"name": "a", "value": 5, "invertMatch": True}, {"name": "b"})},
        {"uri": {"exact": "/x", "prefix": "/y"}, "method": "GET"},
    )
    validated = table({"matchers": matchers, "forwardTo": FORWARD})
    (route,) = spec_of(validated).http
    assert isinstance(route, HTTPRoute)
    good, header, uri = route.matchers
    assert isinstance(good, HTTPRequestMatcher)
    assert isinstance(header, BrokenItem)
    assert header.kept is not None
    assert header.kept.uri is not None
    assert header.kept.uri.prefix == "/p"
    assert [each.name for each in header.kept.headers] == ["b"]
    assert header.lost == ("headers[0]",)
    assert isinstance(uri, BrokenItem)
    assert uri.kept == HTTPRequestMatcher(method="GET")
    assert uri.lost == ("uri",)


def test_a_broken_route_with_matchers_that_are_no_list_says_that_they_are_lost() -> None:
    (route,) = spec_of(table({"name": "r", "matchers": {"uri": {}}, "forwardTo": FORWARD})).http
    assert isinstance(route, BrokenItem)
    assert route.lost == ("matchers",)
    assert route.kept is not None
    assert route.kept.name == "r"


def test_a_broken_route_keeps_its_broken_matchers_too() -> None:
    raw = {"matchers": ({"uri": {"prefix": "/p"}, "method": 5},), "forwardTo": {"bogus": 1, "destinations": 5}}
    validated = table(raw)
    (route,) = spec_of(validated).http
    assert isinstance(route, BrokenItem)
    assert route.kept is not None
    (matcher,) = route.kept.matchers
    assert isinstance(matcher, BrokenItem)
    assert matcher.kept is not None
    assert matcher.kept.uri is not None
    assert {field_text(problem.at) for problem, _ in validated.contained} == {
        "spec.http[0].matchers[0].method",
        "spec.http[0].forwardTo.destinations",
    }
    assert [field_text(problem.at) for problem in validated.unknown] == ["spec.http[0].forwardTo.bogus"]


def test_what_is_not_built_is_known() -> None:
    lambda_ = {"destinations": ({"awsLambda": {"function": "f"}},)}
    validated = table(
        {"delegate": {"routeTables": ()}},
        {"graphql": {"schema": {}}},
        {"forwardTo": lambda_},
        tcp=({"forwardTo": {}},),
        tls=({},),
        portalMetadata={"title": "x"},
        weight=-5,
        failureMode="FREEZE_CONFIG",
    )
    assert validated.spec is not None
    assert not validated.unknown
    assert not validated.contained


def test_a_child_has_none_of_the_fields_of_a_root() -> None:
    raw = {"http": ({"forwardTo": FORWARD},), "virtualGateways": ({"name": "g"},), "failureMode": 1}
    assert fatal(validate_spec(RouteTable, raw, ("spec",))) == ["spec.virtualGateways", "spec.failureMode"]
    assert validate_spec(RouteTable, {"http": ({"forwardTo": FORWARD},)}).spec is not None


def test_a_table_needs_routes_of_some_sort() -> None:
    assert fatal(validate_spec(RouteTable, {"hosts": ("*",)}, ("spec",))) == ["spec"]


def test_a_forward_without_destinations_needs_the_default_and_breaks_alone() -> None:
    routes: tuple[object, ...] = ({"forwardTo": {}}, {"forwardTo": FORWARD})
    empty, full = spec_of(table(*routes)).http
    assert isinstance(empty, BrokenItem)
    assert isinstance(full, HTTPRoute)
    empty, full = spec_of(table(*routes, defaultDestination={"ref": {"name": "d"}})).http
    assert isinstance(empty, HTTPRoute)


def test_a_default_destination_needs_a_route_that_forwards() -> None:
    assert table({"directResponse": {"status": 200}}, defaultDestination={"ref": {"name": "d"}}).fatal


@pytest.mark.parametrize("host", ["*", "a", "api.example.com", "*.foo.com", "*-bar.foo.com", "istio.io."])
def test_host_names_as_solo_writes_them_are_accepted(host: str) -> None:
    assert table({"forwardTo": FORWARD}, hosts=(host,)).spec is not None


@pytest.mark.parametrize(
    "host", ["", "a b", "http://x", "x:80", "a.*.com", "**", "-a.com", "a..b", "1.2.3.4", "x/y", "a" * 64, "a." * 130]
)
def test_other_host_names_are_refused(host: str) -> None:
    assert fatal(table({"forwardTo": FORWARD}, hosts=("good.com", host))) == ["spec.hosts[1]"]


@pytest.mark.parametrize(
    ("written", "counts"),
    [
        ([50, 25, 25], (50, 25, 25)),
        ([50, 25, None], (50, 25, 25)),
        ([None, None, None], (34, 33, 33)),
        ([10, None, None], (10, 45, 45)),
        ([7], (100,)),
        ([100, 0], (100, 0)),
    ],
)
def test_weights_add_up_to_a_hundred(written: list[int | None], counts: tuple[int, ...]) -> None:
    destinations = tuple({"ref": {"name": "a"}, "weight": weight} for weight in written)
    forward = validate_spec(ForwardTo, {"destinations": destinations}).spec
    assert forward is not None
    assert forward.weights == counts
    assert sum(forward.weights) == 100


@pytest.mark.parametrize("written", [[50, 50, 25], [50, 50, None], [10, 10], [98, None, None, None]])
def test_other_weights_are_refused(written: list[int | None]) -> None:
    destinations = tuple({"ref": {"name": "a"}, "weight": weight} for weight in written)
    validated = validate_spec(ForwardTo, {"destinations": destinations})
    assert [field_text(problem.at) for problem in validated.fatal] == ["destinations"]


@pytest.mark.parametrize(("code", "status"), [("FOUND", 302), (0, 301), ("PERMANENT_REDIRECT", 308)])
def test_a_redirect_code_is_a_name_or_a_proto_number(code: object, status: int) -> None:
    (route,) = spec_of(table({"redirect": {"hostRedirect": "x", "responseCode": code}})).http
    assert isinstance(route, HTTPRoute)
    assert route.redirect is not None
    assert route.redirect.response_code.status == status


def test_an_http_status_is_no_redirect_code() -> None:
    (route,) = spec_of(table({"redirect": {"hostRedirect": "x", "responseCode": 302}})).http
    assert isinstance(route, BrokenItem)
    assert "`FOUND`" in route.problems[0].message


@pytest.mark.parametrize(
    ("status", "body", "good"), [(200, "", True), (599, "x", True), (199, "", False), (600, "", False)]
)
def test_a_direct_response_has_a_status_that_can_be_sent(status: int, body: str, *, good: bool) -> None:
    (route,) = spec_of(table({"directResponse": {"status": status, "body": body}})).http
    assert isinstance(route, HTTPRoute) is good


def test_a_direct_response_above_a_mebibyte_is_refused() -> None:
    (route,) = spec_of(table({"directResponse": {"status": 200, "body": "é" * 600_000}})).http
    assert isinstance(route, BrokenItem)
