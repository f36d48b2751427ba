"""The matcher tree of a virtual host (xds.type.matcher.v3.Matcher): from a request to the few routes it can find.

Envoy tries a list of routes one by one, and a list of 10,000 makes the last of them cost six times as much as the
first. In a tree all cost the same. The spelling is asked for once, at the top, and not by every route: each copy of
the pattern takes Envoy 11 KB.

The map goes by the beginning of ``:path``, query included, as Envoy allows no other input here that knows the path.
So exact paths stand in it as prefixes too; the route itself compares the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from envoy.config.route.v3.route_components_pb2 import Route as EnvoyRoute
from envoy.config.route.v3.route_components_pb2 import RouteList
from envoy.type.matcher.v3.http_inputs_pb2 import HttpRequestHeaderMatchInput
from xds.core.v3.extension_pb2 import TypedExtensionConfig
from xds.type.matcher.v3.matcher_pb2 import Matcher

from apostille.model.lane import EnvoyLane
from apostille.model.route import PathKind, PathMatch, Route
from apostille.routing.spellings import ODD_PATH, UNSENDABLE_PATH, Spelling
from apostille.routing.tree import NOBODY, Lists, plan_spellings, shared_prefixes
from apostille.xds.packing import emit_any
from apostille.xds.predicates import Predicate, header_matches, is_plain, path_begins, path_is

# Different ideas of what is plain, in one virtual host; each costs every request a question. The rest does without.
_MOST_PLAINS = 8


class Answers:
    """The decisions of matcher trees: for each list of routes what Envoy is to try.

    They are kept from one configuration to the next, for as long as the routes are the very same objects: of thousands
    of routes one or two change at a time.
    """

    def __init__(
        self,
        emit: Callable[[Route], EnvoyRoute],
        odd_path: EnvoyRoute,
        emit_lane: Callable[[Route, EnvoyLane], EnvoyRoute],
    ) -> None:
        """`odd_path`: answers what is spelled oddly and finds no route. `emit_lane`: for the plain requests of a route
        in the Envoy lane."""
        self._emit = emit
        self._emit_lane = emit_lane
        self._odd_path = odd_path
        self._known: dict[tuple[int, ...], _Kept] = {}
        self._used: dict[tuple[int, ...], _Kept] = {}
        self._known_lanes: dict[tuple[str, int, int], _KeptLane] = {}
        self._used_lanes: dict[tuple[str, int, int], _KeptLane] = {}

    def answer(self, routes: tuple[Route | None, ...]) -> Matcher.OnMatch:
        """In the order in which they are tried; None is for odd paths. The answer is not to be changed.

        The decision is final: when none of the routes matches, Envoy answers 404.
        """
        key = tuple(map(id, routes))
        kept = self._used.get(key) or self._known.get(key)
        if kept is None:
            emitted = [self._odd_path if route is None else self._emit(route) for route in routes]
            if len(emitted) == 1:
                answer = _emit_route_answer(emitted[0])
            else:
                action = TypedExtensionConfig(name="routes", typed_config=emit_any(RouteList(routes=emitted)))
                answer = Matcher.OnMatch(action=action)
            kept = _Kept(routes, answer)
        self._used[key] = kept
        return kept.answer

    def lane_answer(self, prefix: str, route: Route, lane: EnvoyLane, otherwise: Matcher.OnMatch) -> Matcher.OnMatch:
        """For plain requests whose path begins with `prefix`. `otherwise`: for those that are not for the route."""
        key = (prefix, id(route), id(otherwise))
        kept = self._used_lanes.get(key) or self._known_lanes.get(key)
        if kept is None:
            fast = _emit_route_answer(self._emit_lane(route, lane))
            kept = _KeptLane(route, otherwise, _emit_lane_answer(prefix, route.match.path, fast, otherwise))
        self._used_lanes[key] = kept
        return kept.answer

    def forget(self) -> None:
        """To be called after each configuration: what it did not need goes."""
        self._known, self._used = self._used, {}
        self._known_lanes, self._used_lanes = self._used_lanes, {}


@dataclass(frozen=True, slots=True)
class _Kept:
    """`routes` are there because an id means something only as long as its object lives."""

    routes: tuple[Route | None, ...]
    answer: Matcher.OnMatch


@dataclass(frozen=True, slots=True)
class _KeptLane:
    """The same for the Envoy lane."""

    route: Route
    otherwise: Matcher.OnMatch
    answer: Matcher.OnMatch


def emit_matcher(routes: Sequence[Route], answers: Answers) -> Matcher:
    """`routes` in the order in which they are tried."""
    plans = plan_spellings(routes)
    return _emit_lanes(routes, plans[Spelling.ORDINARY], answers, _emit_spellings(routes, plans, answers))


def _emit_lanes(routes: Sequence[Route], lists: Lists, answers: Answers, others: Matcher) -> Matcher:
    """Plain requests come first. What is plain is asked once for all routes that mean the same by it: each copy of the
    question takes Envoy far more than a route."""

    def answer(indexes: tuple[int, ...]) -> Matcher.OnMatch:
        return answers.answer(tuple(None if index == NOBODY else routes[index] for index in indexes))

    lanes = {prefix: lane for prefix, indexes in lists.items() if (lane := _lane_of_first(routes, indexes)) is not None}
    matcher = others
    for plain in reversed(list(dict.fromkeys(lane.plain for lane in lanes.values()))[:_MOST_PLAINS]):
        steps: dict[str, Matcher.OnMatch] = {}
        around: list[str] = []
        for prefix in sorted(lists):
            while around and not prefix.startswith(around[-1]):
                around.pop()
            lane = lanes.get(prefix)
            if lane is not None and lane.plain == plain:
                around.append(prefix)
                indexes = lists[prefix]
                steps[prefix] = answers.lane_answer(prefix, routes[indexes[0]], lane, answer(indexes))
            elif around:
                # A path that goes on like this is not for the shorter prefix.
                steps[prefix] = answer(lists[prefix])
        matcher = _emit_fork(is_plain(plain), _emit_tree(steps, None), matcher)
    return matcher


def _lane_of_first(routes: Sequence[Route], indexes: tuple[int, ...]) -> EnvoyLane | None:
    """Of the first route only: whether an earlier one takes a request is not asked for plain ones."""
    lane = routes[indexes[0]].lane if indexes and indexes[0] != NOBODY else None
    return lane if isinstance(lane, EnvoyLane) else None


def _emit_spellings(routes: Sequence[Route], plans: Mapping[Spelling, Lists], answers: Answers) -> Matcher:
    ordinary, odd, unsendable = (plans[spelling] for spelling in (Spelling.ORDINARY, Spelling.ODD, Spelling.UNSENDABLE))

    def tree(lists: Lists, prefixes: Callable[[str], bool], otherwise: Matcher | None = None) -> Matcher:
        steps = {
            prefix: answers.answer(tuple(None if index == NOBODY else routes[index] for index in indexes))
            for prefix, indexes in lists.items()
            if prefixes(prefix)
        }
        return _emit_tree(steps, otherwise)

    is_odd, is_unsendable = header_matches(":path", ODD_PATH), header_matches(":path", UNSENDABLE_PATH)
    # What is the same for two spellings stands before the fork between them: once.
    early = shared_prefixes(ordinary, odd)
    matcher = _emit_fork(
        is_odd, tree(odd, lambda prefix: prefix not in early), tree(ordinary, lambda prefix: prefix not in early)
    )
    if odd == unsendable:
        return tree(odd, early.__contains__, matcher)
    first = early & shared_prefixes(odd, unsendable)
    matcher = tree(odd, (early - first).__contains__, matcher)
    matcher = _emit_fork(is_unsendable, tree(unsendable, lambda prefix: prefix not in first), matcher)
    return tree(odd, first.__contains__, matcher)


def _emit_lane_answer(
    prefix: str, path: PathMatch, fast: Matcher.OnMatch, otherwise: Matcher.OnMatch
) -> Matcher.OnMatch:
    if path.kind is PathKind.PREFIX and path.value == prefix:
        return fast
    mine = path_is(path.value) if path.kind is PathKind.EXACT else path_begins(path.value)
    first = Matcher.MatcherList.FieldMatcher(predicate=mine, on_match=fast)
    return Matcher.OnMatch(matcher=Matcher(matcher_list=Matcher.MatcherList(matchers=[first]), on_no_match=otherwise))


def _emit_route_answer(route: EnvoyRoute) -> Matcher.OnMatch:
    return Matcher.OnMatch(action=TypedExtensionConfig(name="route", typed_config=emit_any(route)))


def _emit_fork(predicate: Predicate, matching: Matcher, others: Matcher) -> Matcher:
    """What `matching` comes to no decision on, Envoy tries with `others`."""
    first = Matcher.MatcherList.FieldMatcher(predicate=predicate, on_match=_emit_step(matching))
    return Matcher(matcher_list=Matcher.MatcherList(matchers=[first]), on_no_match=_emit_step(others))


def _emit_step(matcher: Matcher) -> Matcher.OnMatch | None:
    """Without the layer of a matcher that asks nothing; None for one that finds nothing either."""
    if matcher.WhichOneof("matcher_type") is not None:
        return Matcher.OnMatch(matcher=matcher)
    return matcher.on_no_match if matcher.HasField("on_no_match") else None


def _emit_tree(steps: dict[str, Matcher.OnMatch], otherwise: Matcher | None) -> Matcher:
    """`otherwise`: for paths that begin with none of the prefixes."""
    rest = steps.pop("", None)
    if not steps and otherwise is not None:
        return otherwise
    return Matcher(
        matcher_tree=Matcher.MatcherTree(input=_PATH, prefix_match_map=Matcher.MatcherTree.MatchMap(map=steps))
        if steps
        else None,
        on_no_match=rest if otherwise is None else _emit_step(otherwise),
    )


_PATH = TypedExtensionConfig(name="path", typed_config=emit_any(HttpRequestHeaderMatchInput(header_name=":path")))
