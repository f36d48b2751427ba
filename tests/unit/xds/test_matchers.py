from __future__ import annotations

from dataclasses import replace

from envoy.config.route.v3.route_components_pb2 import Route as EnvoyRoute
from envoy.config.route.v3.route_components_pb2 import RouteList
from xds.type.matcher.v3.matcher_pb2 import Matcher

from apostille.base.refs import Ref
from apostille.model.lane import EnvoyLane, Plain
from apostille.model.route import Forward, Match, PathKind, PathMatch, Respond, Route, WeightedDestination
from apostille.routing.spellings import ODD_PATH, UNSENDABLE_PATH
from apostille.xds.matchers import Answers, emit_matcher, emit_matcher_pieces

ODD = "odd"


def route(name: str, path: str, *, raw: bool = False, answers: bool = False, exact: bool = False) -> Route:
    return Route(
        name=name,
        owner=Ref("RouteTable", "apps", "shop"),
        match=Match(path=PathMatch(kind=PathKind.EXACT if exact else PathKind.PREFIX, value=path)),
        action=Respond(status=200)
        if answers
        else Forward(destinations=(WeightedDestination(destination="shop"),), signed=raw),
        raw_path=raw,
    )


def emit_lane(route: Route, lane: EnvoyLane) -> EnvoyRoute:
    return EnvoyRoute(name=lane.name)


def begin() -> Answers:
    return Answers(lambda each: EnvoyRoute(name=each.name), EnvoyRoute(name=ODD), emit_lane)


def told(matcher: Matcher) -> object:
    """In short: a tree is a mapping of prefixes, a fork a pair of the pattern and what follows from it."""
    if matcher.HasField("matcher_list"):
        [first] = matcher.matcher_list.matchers
        pattern = first.predicate.single_predicate.value_match.safe_regex.regex
        return {
            {ODD_PATH: "odd", UNSENDABLE_PATH: "unsendable"}[pattern]: step(first.on_match),
            "else": step(matcher.on_no_match) if matcher.HasField("on_no_match") else None,
        }
    lists = {prefix: step(each) for prefix, each in matcher.matcher_tree.prefix_match_map.map.items()}
    return {**lists, **({"else": step(matcher.on_no_match)} if matcher.HasField("on_no_match") else {})}


def step(then: Matcher.OnMatch) -> object:
    if then.HasField("matcher"):
        return told(then.matcher)
    action = then.action.typed_config
    if action.type_url.endswith(".RouteList"):
        return [each.name for each in RouteList.FromString(action.value).routes]
    return [EnvoyRoute.FromString(action.value).name]


def test_the_spelling_is_asked_for_once_and_only_ordinary_paths_see_the_routes() -> None:
    found = told(emit_matcher([route("a", "/a"), route("b", "/b")], begin()))
    assert found == {"odd": [ODD], "else": {"/a": ["a"], "/b": ["b"]}}


def test_without_routes_odd_paths_are_told_so_all_the_same() -> None:
    assert told(emit_matcher([], begin())) == {"odd": [ODD], "else": None}


def test_what_takes_every_spelling_stands_before_the_question_and_only_once() -> None:
    found = told(emit_matcher([route("page", "/page", answers=True), route("a", "/a")], begin()))
    assert found == {"/page": ["page"], "else": {"odd": [ODD], "else": {"/a": ["a"]}}}


def test_an_answer_for_one_path_is_not_for_longer_odd_ones() -> None:
    found = told(emit_matcher([route("page", "/page", answers=True, exact=True)], begin()))
    assert found == {"odd": {"/page": ["page", ODD], "else": [ODD]}, "else": {"/page": ["page"]}}


def test_raw_paths_are_kept_from_what_nobody_can_send() -> None:
    found = told(emit_matcher([route("raw", "/raw", raw=True), route("a", "/a")], begin()))
    assert found == {
        "unsendable": [ODD],
        "else": {"/raw": ["raw"], "else": {"odd": [ODD], "else": {"/a": ["a"]}}},
    }


def test_what_is_different_below_a_prefix_stands_behind_the_question() -> None:
    found = told(emit_matcher([route("plain", "/raw/plain"), route("raw", "/raw", raw=True)], begin()))
    assert found == {
        "unsendable": [ODD],
        "else": {
            "odd": {"/raw": ["raw"], "else": [ODD]},
            "else": {"/raw": ["raw"], "/raw/plain": ["plain"]},
        },
    }


def test_answers_are_kept_for_the_very_same_routes_and_forgotten_with_them() -> None:
    asked: list[str] = []

    def emit(each: Route) -> EnvoyRoute:
        asked.append(each.name)
        return EnvoyRoute(name=each.name)

    answers = Answers(emit, EnvoyRoute(name=ODD), emit_lane)
    kept, goes, comes = route("kept", "/kept"), route("goes", "/goes"), route("comes", "/comes")
    first = emit_matcher([kept, goes], answers)
    answers.forget()
    emit_matcher([kept, comes], answers)
    answers.forget()
    assert sorted(asked) == ["comes", "goes", "kept"]
    assert emit_matcher([kept, goes], answers) == first
    assert sorted(asked) == ["comes", "goes", "goes", "kept"]


def table(size: int, *, lanes: int = 1) -> list[Route]:
    """Of many prefixes, some below others, in `lanes` lanes; among them routes that say something themselves."""
    routes = []
    for number in range(size):
        made = route(f"r{number}", f"/r{number}" + "/x" * (number % 3), raw=number % 2 == 0, answers=number % 7 == 0)
        plain = Plain(absent=(f"x-{number % lanes}",))
        routes.append(made if number % 7 == 0 else replace(made, lane=EnvoyLane(name=f"{made.name}!", plain=plain)))
    return [*routes, route("rest", "/", exact=size % 2 == 0)]


def test_every_byte_of_the_pieces_is_one_of_the_message() -> None:
    for routes in ([], table(1), table(40), table(700), table(700, lanes=3)):
        written = b"".join(emit_matcher_pieces(routes, begin()))
        assert len(Matcher.FromString(written).SerializeToString()) == len(written)


def test_what_is_made_of_kept_parts_is_what_would_be_made_of_nothing() -> None:
    answers, routes = begin(), table(700, lanes=2)
    for turn, place in enumerate((0, 699, 350, 350, 123)):
        emit_matcher(routes, answers)
        answers.forget()
        changed = route(f"changed{turn}", f"/changed{turn}") if turn % 2 else replace(routes[place], lane=None)
        routes = [*routes[:place], replace(changed, name=f"turn{turn}"), *routes[place + turn % 3 :]]
        assert emit_matcher_pieces(routes, answers) == emit_matcher_pieces(routes, begin())


def test_the_plan_is_kept_no_longer_than_the_matches_are_the_same() -> None:
    answers = begin()
    first, second = route("a", "/a"), route("b", "/b")
    emit_matcher([first, second], answers)
    answers.forget()
    for changed in (route("b", "/c"), route("b", "/b", raw=True), route("b", "/b", answers=True)):
        assert emit_matcher([first, changed], answers) == emit_matcher([first, changed], begin())


def test_a_route_is_emitted_once_though_many_lists_and_configurations_have_it() -> None:
    asked: list[str] = []

    def emit(each: Route) -> EnvoyRoute:
        asked.append(each.name)
        return EnvoyRoute(name=each.name)

    answers, routes = Answers(emit, EnvoyRoute(name=ODD), emit_lane), table(300)
    for _ in range(3):
        emit_matcher(routes, answers)
        answers.forget()
    emitted = len(asked)
    emit_matcher([*routes[:100], route("new", "/r100"), *routes[101:]], answers)
    assert asked[emitted:] == ["new", "new"] or asked[emitted:] == ["new"]
