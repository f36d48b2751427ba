"""The matcher tree of a virtual host (xds.type.matcher.v3.Matcher): from a request to the few routes it can find.

Envoy tries a list of routes one by one, and a list of 10,000 makes the last of them cost six times as much as the
first. In a tree all cost the same. The spelling is asked for once, at the top, and not by every route: each copy of
the pattern takes Envoy 11 KB.

The map goes by the beginning of ``:path``, query included, as Envoy allows no other input here that knows the path.
So exact paths stand in it as prefixes too; the route itself compares the whole.

Matchers are put together from serialized parts: what did not change is neither emitted nor copied again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, NewType

from envoy.config.route.v3.route_components_pb2 import Route as EnvoyRoute
from envoy.config.route.v3.route_components_pb2 import RouteList
from envoy.type.matcher.v3.http_inputs_pb2 import HttpRequestHeaderMatchInput
from google.protobuf.message import Message
from xds.core.v3.extension_pb2 import TypedExtensionConfig
from xds.type.matcher.v3.matcher_pb2 import Matcher

from apostille.model.lane import EnvoyLane
from apostille.model.route import Match, PathKind, PathMatch, Route
from apostille.routing.spellings import ODD_PATH, UNSENDABLE_PATH, Spelling, takes
from apostille.routing.tree import NOBODY, Lists, plan_spellings, shared_prefixes
from apostille.xds.packing import emit_any, emit_bytes, emit_field, field_tag, wrap_field
from apostille.xds.predicates import Predicate, header_matches, is_plain, path_begins, path_is

# Different ideas of what is plain, in one virtual host; each costs every request a question. The rest does without.
_MOST_PLAINS = 8

# A tree is kept in parts of about so many prefixes: a power of two.
_PART = 128

# A serialized Matcher.OnMatch.
StepBytes = NewType("StepBytes", bytes)

# What is large, in pieces.
Pieces = tuple[bytes, ...]


class Answers:
    """The parts of matcher trees: for each list of routes what Envoy is to try.

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
        self._known_parts: dict[_PartKey, _KeptPart] = {}
        self._used_parts: dict[_PartKey, _KeptPart] = {}
        self._known_plans: dict[tuple[int, Match], _Plan] = {}
        self._used_plans: dict[tuple[int, Match], _Plan] = {}

    def answer(self, routes: tuple[Route | None, ...]) -> StepBytes:
        """In the order in which they are tried; None is for odd paths.

        The decision is final: when none of the routes matches, Envoy answers 404.
        """
        key = tuple(map(id, routes))
        kept = self._used.get(key) or self._known.get(key)
        if kept is None:
            emitted = [self._odd_path if route is None else self._emit(route) for route in routes]
            if len(emitted) == 1:
                answer = _emit_route_answer(emitted[0])
            else:
                answer = _emit_action("routes", RouteList(routes=emitted))
            kept = _Kept(routes, answer)
        self._used[key] = kept
        return kept.answer

    def lane_answer(self, prefix: str, route: Route, lane: EnvoyLane, otherwise: StepBytes) -> StepBytes:
        """For plain requests whose path begins with `prefix`. `otherwise`: for those that are not for the route."""
        key = (prefix, id(route), id(otherwise))
        kept = self._used_lanes.get(key) or self._known_lanes.get(key)
        if kept is None:
            fast = _emit_route_answer(self._emit_lane(route, lane))
            kept = _KeptLane(route, otherwise, _emit_lane_answer(prefix, route.match.path, fast, otherwise))
        self._used_lanes[key] = kept
        return kept.answer

    def part(self, steps: Sequence[tuple[str, _Step]]) -> bytes:
        """Entries of a map from prefixes to answers."""
        key = tuple([(prefix, step.lane is None, *map(id, step.routes)) for prefix, step in steps])
        kept = self._used_parts.get(key) or self._known_parts.get(key)
        if kept is None:
            kept = self._emit_part(steps)
        else:
            self._used.update(kept.answers)
            self._used_lanes.update(kept.lanes)
        self._used_parts[key] = kept
        return kept.body

    def _emit_part(self, steps: Sequence[tuple[str, _Step]]) -> _KeptPart:
        answers: dict[tuple[int, ...], _Kept] = {}
        lanes: dict[tuple[str, int, int], _KeptLane] = {}
        entries = []
        for prefix, step in steps:
            then = self.answer(step.routes)
            key = tuple(map(id, step.routes))
            answers[key] = self._used[key]
            if step.lane is not None:
                first, otherwise = step.first, then
                then = self.lane_answer(prefix, first, step.lane, otherwise)
                lane_key = (prefix, id(first), id(otherwise))
                lanes[lane_key] = self._used_lanes[lane_key]
            entry = emit_field(_ENTRY_KEY, prefix.encode()) + emit_field(_ENTRY_VALUE, then)
            entries.append(emit_field(_MAP_ENTRIES, entry))
        return _KeptPart(answers, lanes, b"".join(entries))

    def plan(self, routes: Sequence[Route]) -> _Plan:
        """Kept for as long as the same requests find routes at the same places, whatever is done with them."""
        key = (len(routes), routes[0].match if routes else _NOTHING)
        kept = self._used_plans.get(key) or self._known_plans.get(key)
        if kept is None or not kept.fits(routes):
            kept = _Plan.of(routes)
        self._used_plans[key] = kept
        return kept

    def forget(self) -> None:
        """To be called after each configuration: what it did not need goes."""
        self._known, self._used = self._used, {}
        self._known_lanes, self._used_lanes = self._used_lanes, {}
        self._known_parts, self._used_parts = self._used_parts, {}
        self._known_plans, self._used_plans = self._used_plans, {}


@dataclass(frozen=True, slots=True)
class _Kept:
    """`routes` are there because an id means something only as long as its object lives."""

    routes: tuple[Route | None, ...]
    answer: StepBytes


@dataclass(frozen=True, slots=True)
class _KeptLane:
    """The same for the Envoy lane."""

    route: Route
    otherwise: StepBytes
    answer: StepBytes


# For each prefix: the prefix, whether it is for all requests, and which routes.
_PartKey = tuple[tuple[object, ...], ...]


@dataclass(frozen=True, slots=True)
class _KeptPart:
    """`answers` and `lanes` are those that it is made of, and are kept along with it."""

    answers: Mapping[tuple[int, ...], _Kept]
    lanes: Mapping[tuple[str, int, int], _KeptLane]
    body: bytes


class _Step(NamedTuple):
    """What a prefix leads to: `routes` as for `Answers.answer`. `lane`: of the first one, for plain requests."""

    routes: tuple[Route | None, ...]
    lane: EnvoyLane | None = None

    @property
    def first(self) -> Route:
        route = self.routes[0]
        if route is None:
            raise ValueError("odd paths have no lane")
        return route


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is made of the matches of a virtual host's routes. `early`: prefixes for which it is the same whether a
    path is ordinary or odd; `first`: and unsendable."""

    routes: tuple[Route, ...]
    lists: Mapping[Spelling, Lists]
    early: frozenset[str]
    first: frozenset[str]

    @classmethod
    def of(cls, routes: Sequence[Route]) -> _Plan:
        lists = plan_spellings(routes)
        early = shared_prefixes(lists[Spelling.ORDINARY], lists[Spelling.ODD])
        return cls(
            tuple(routes),
            lists,
            early,
            early & shared_prefixes(lists[Spelling.ODD], lists[Spelling.UNSENDABLE]),
        )

    def fits(self, routes: Sequence[Route]) -> bool:
        pairs = zip(self.routes, routes, strict=True)
        return all(known is route or _asked_of(known) == _asked_of(route) for known, route in pairs)


def _asked_of(route: Route) -> tuple[Match, bool, bool]:
    """All that a plan depends on."""
    return route.match, takes(route, Spelling.ODD), takes(route, Spelling.UNSENDABLE)


_NOTHING = Match(path=PathMatch(kind=PathKind.PREFIX, value=""))


def emit_matcher(routes: Sequence[Route], answers: Answers) -> Matcher:
    """`routes` in the order in which they are tried."""
    return Matcher.FromString(b"".join(emit_matcher_pieces(routes, answers)))


def emit_matcher_pieces(routes: Sequence[Route], answers: Answers) -> Pieces:
    """The same, serialized."""
    plan = answers.plan(routes)
    return _emit_lanes(routes, plan.lists[Spelling.ORDINARY], answers, _emit_spellings(routes, plan, answers)).body


@dataclass(frozen=True, slots=True)
class _Parts:
    """Of a serialized Matcher: `question` is the one field that asks something, or empty; `otherwise` is what is done
    when that finds nothing."""

    question: Pieces
    otherwise: Pieces | None

    @property
    def body(self) -> Pieces:
        return (*self.question, *(() if self.otherwise is None else wrap_field(_MATCHER_OTHERWISE, self.otherwise)))

    @property
    def step(self) -> Pieces | None:
        """Without the layer of a matcher that asks nothing; None for one that finds nothing either."""
        return wrap_field(_STEP_MATCHER, self.body) if self.question else self.otherwise


def _emit_lanes(routes: Sequence[Route], lists: Lists, answers: Answers, others: _Parts) -> _Parts:
    """Plain requests come first. What is plain is asked once for all routes that mean the same by it: each copy of the
    question takes Envoy far more than a route."""

    lanes = {prefix: lane for prefix, indexes in lists.items() if (lane := _lane_of_first(routes, indexes)) is not None}
    listed = _with_nobody(routes)
    # Equal ones are the same object mostly, and long to compare.
    plains = {id(lane.plain): lane.plain for lane in lanes.values()}
    matcher = others
    for plain in reversed(list(dict.fromkeys(plains.values()))[:_MOST_PLAINS]):
        same = {identity for identity, each in plains.items() if each == plain}
        steps: dict[str, _Step] = {}
        around: list[str] = []
        for prefix in lists:
            while around and not prefix.startswith(around[-1]):
                around.pop()
            lane = lanes.get(prefix)
            if lane is not None and id(lane.plain) in same:
                around.append(prefix)
                steps[prefix] = _Step(tuple([listed[index] for index in lists[prefix]]), lane)
            elif around:
                # A path that goes on like this is not for the shorter prefix.
                steps[prefix] = _Step(tuple([listed[index] for index in lists[prefix]]))
        matcher = _emit_fork(is_plain(plain), _emit_tree(steps, None, answers).step, matcher.step)
    return matcher


def _with_nobody(routes: Sequence[Route]) -> tuple[Route | None, ...]:
    """To be asked for what stands in lists: `NOBODY`, as the index of the last, is None."""
    return (*routes, None)


def _lane_of_first(routes: Sequence[Route], indexes: tuple[int, ...]) -> EnvoyLane | None:
    """Of the first route only: whether an earlier one takes a request is not asked for plain ones."""
    lane = routes[indexes[0]].lane if indexes and indexes[0] != NOBODY else None
    return lane if isinstance(lane, EnvoyLane) else None


def _emit_spellings(routes: Sequence[Route], plan: _Plan, answers: Answers) -> _Parts:
    ordinary, odd, unsendable = (
        plan.lists[spelling] for spelling in (Spelling.ORDINARY, Spelling.ODD, Spelling.UNSENDABLE)
    )

    listed = _with_nobody(routes)

    def tree(lists: Lists, prefixes: Callable[[str], bool], otherwise: _Parts | None = None) -> _Parts:
        steps = {
            prefix: _Step(tuple([listed[index] for index in indexes]))
            for prefix, indexes in lists.items()
            if prefixes(prefix)
        }
        return _emit_tree(steps, otherwise, answers)

    is_odd, is_unsendable = header_matches(":path", ODD_PATH), header_matches(":path", UNSENDABLE_PATH)
    # What is the same for two spellings stands before the fork between them: once.
    early, first = plan.early, plan.first
    matcher = _emit_fork(
        is_odd,
        tree(odd, lambda prefix: prefix not in early).step,
        tree(ordinary, lambda prefix: prefix not in early).step,
    )
    if odd == unsendable:
        return tree(odd, early.__contains__, matcher)
    matcher = tree(odd, (early - first).__contains__, matcher)
    matcher = _emit_fork(is_unsendable, tree(unsendable, lambda prefix: prefix not in first).step, matcher.step)
    return tree(odd, first.__contains__, matcher)


def _emit_lane_answer(prefix: str, path: PathMatch, fast: StepBytes, otherwise: StepBytes) -> StepBytes:
    if path.kind is PathKind.PREFIX and path.value == prefix:
        return fast
    mine = path_is(path.value) if path.kind is PathKind.EXACT else path_begins(path.value)
    return StepBytes(b"".join(wrap_field(_STEP_MATCHER, _emit_fork(mine, (fast,), (otherwise,)).body)))


def _emit_route_answer(route: EnvoyRoute) -> StepBytes:
    return _emit_action("route", route)


def _emit_action(name: str, decision: Message) -> StepBytes:
    action = TypedExtensionConfig(name=name, typed_config=emit_any(decision))
    return StepBytes(emit_field(_STEP_ACTION, emit_bytes(action)))


def _emit_fork(predicate: Predicate, matching: Pieces | None, others: Pieces | None) -> _Parts:
    """What `matching` comes to no decision on, Envoy tries with `others`."""
    asked = emit_field(_FIELD_PREDICATE, emit_bytes(predicate))
    first = (asked, *(() if matching is None else wrap_field(_FIELD_STEP, matching)))
    return _Parts(wrap_field(_MATCHER_LIST, wrap_field(_LIST_MATCHERS, first)), others)


def _emit_tree(steps: dict[str, _Step], otherwise: _Parts | None, answers: Answers) -> _Parts:
    """`steps` are sorted. `otherwise`: for paths that begin with none of the prefixes."""
    rest = steps.pop("", None)
    if not steps and otherwise is not None:
        return otherwise
    after = otherwise.step if otherwise is not None else (answers.answer(rest.routes),) if rest is not None else None
    if not steps:
        return _Parts((), after)
    by_prefix = [answers.part(part) for part in _parted(steps)]
    return _Parts(wrap_field(_MATCHER_TREE, (_PATH, *wrap_field(_TREE_PREFIXES, by_prefix))), after)


def _parted(steps: Mapping[str, _Step]) -> Iterator[list[tuple[str, _Step]]]:
    """Cut where the prefixes themselves say so: one more or less changes one part, and not all that follow."""
    part: list[tuple[str, _Step]] = []
    for item in steps.items():
        part.append(item)
        if not hash(item[0]) & (_PART - 1):
            yield part
            part = []
    if part:
        yield part


_MATCHER_LIST = field_tag(Matcher, "matcher_list")
_MATCHER_TREE = field_tag(Matcher, "matcher_tree")
_MATCHER_OTHERWISE = field_tag(Matcher, "on_no_match")
_LIST_MATCHERS = field_tag(Matcher.MatcherList, "matchers")
_FIELD_PREDICATE = field_tag(Matcher.MatcherList.FieldMatcher, "predicate")
_FIELD_STEP = field_tag(Matcher.MatcherList.FieldMatcher, "on_match")
_STEP_MATCHER = field_tag(Matcher.OnMatch, "matcher")
_STEP_ACTION = field_tag(Matcher.OnMatch, "action")
_TREE_PREFIXES = field_tag(Matcher.MatcherTree, "prefix_match_map")
_MAP_ENTRIES = field_tag(Matcher.MatcherTree.MatchMap, "map")
_ENTRY_KEY = field_tag(Matcher.MatcherTree.MatchMap.MapEntry, "key")
_ENTRY_VALUE = field_tag(Matcher.MatcherTree.MatchMap.MapEntry, "value")

_PATH = emit_bytes(
    Matcher.MatcherTree(
        input=TypedExtensionConfig(name="path", typed_config=emit_any(HttpRequestHeaderMatchInput(header_name=":path")))
    )
)
