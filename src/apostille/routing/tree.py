"""Which routes a path can find, known from its first characters: the plan of a matcher tree.

Routes are tried in order, and the first that matches wins; a tree alone would let the longest prefix win. So each
prefix in the plan has a list: every route that a path with this prefix can find, in the order of the table. A path is
judged by the list of the longest prefix that it begins with, and by no other.

Lists repeat routes: one for every path stands in all of them. So a prefix has a list of its own only where at least
half of it is not repeated; else its routes join the list of the next shorter prefix. All lists together then hold at
most twice as many entries as there are routes, and a path sees few routes in vain.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import re2

from apostille.model.route import Match, PathKind, PathMatch, Route
from apostille.routing.spellings import Spelling, takes

# How much of what a regular expression begins with is of use; its price rises with the length.
_LONGEST_BEGINNING = 128
_REMEMBERED = 20_000


Lists = Mapping[str, tuple[int, ...]]

NOBODY = -1
"""Stands at the end of a list in place of a route: an odd path gets so far and is told so."""

_EVERYTHING = Match(path=PathMatch(kind=PathKind.PREFIX, value=""))


def plan_spellings(routes: Sequence[Route]) -> Mapping[Spelling, Lists]:
    """A plan for the paths of each spelling, with indexes into `routes`. Those for odd ones know every path."""
    plans: dict[Spelling, Lists] = {}
    planned: dict[tuple[int, ...], Lists] = {}
    for spelling in Spelling:
        indexes = tuple(index for index, route in enumerate(routes) if takes(route, spelling))
        matches = [routes[index].match for index in indexes]
        if spelling is not Spelling.ORDINARY:
            indexes = (*indexes, NOBODY)
            matches.append(_EVERYTHING)
        if indexes not in planned:
            lists = plan_lists(matches)
            planned[indexes] = {prefix: tuple([indexes[place] for place in places]) for prefix, places in lists.items()}
        plans[spelling] = planned[indexes]
    return plans


def shared_prefixes(some: Lists, others: Lists) -> frozenset[str]:
    """Prefixes from which on down two plans are the same: whatever a path is that begins with one of them."""
    differing = sorted(prefix for prefix in {*some, *others} if some.get(prefix) != others.get(prefix))

    def differs_below(prefix: str) -> bool:
        place = bisect_left(differing, prefix)
        return place < len(differing) and differing[place].startswith(prefix)

    return frozenset(prefix for prefix in some if prefix and not differs_below(prefix))


def plan_lists(matches: Sequence[Match]) -> Lists:
    """Prefix → indexes into `matches`, ascending; sorted by prefix.

    A path (with its query) that begins with none of the prefixes finds nothing. The prefix may be empty. What can
    never be reached, because a route before it takes everything there, is in no list.
    """
    own: dict[str, list[int]] = {"": []}
    for index, match in enumerate(matches):
        own.setdefault(beginning(match.path), []).append(index)
    plan = _Plan(matches)
    for prefix in sorted(own):
        plan.add(prefix, own[prefix])
    return plan.finish()


def beginning(path: PathMatch) -> str:
    """What every path that matches begins with, as far as it is known."""
    if path.kind is PathKind.REGEX:
        text = _beginning_of_regex(path.value)
    else:
        text = path.value
        if path.ignore_case:
            text = text[: next((i for i, char in enumerate(text) if char.isascii() and char.isalpha()), len(text))]
    # Paths are matched without their query: beyond it nothing can match.
    return text.partition("?")[0].partition("#")[0]


# Every configuration asks for the same ones again.
@lru_cache(maxsize=_REMEMBERED)
def _beginning_of_regex(pattern: str) -> str:
    options = re2.Options()
    options.log_errors = False
    try:
        least, most = re2.compile(pattern, options).possiblematchrange(_LONGEST_BEGINNING)
    except re2.error:
        return ""
    # Every match lies between the two, so it begins with what both begin with. A cut character is left out.
    return least[: _shared(least, most)].decode(errors="ignore")


def _shared(some: str | bytes, other: str | bytes) -> int:
    """How much both begin with."""
    pairs = enumerate(zip(some, other, strict=False))
    return next((end for end, (a, b) in pairs if a != b), min(len(some), len(other)))


@dataclass(slots=True)
class _Node:
    """A prefix on the way from the empty one to the one that is looked at.

    `lasting`: its routes that longer paths can match too. `joined`: routes of longer prefixes without a list of their
    own. `last`: the first route that takes every path with this prefix; nothing after it is reached.
    """

    prefix: str
    last: int
    own: list[int] = field(default_factory=list)
    lasting: list[int] = field(default_factory=list)
    joined: list[int] = field(default_factory=list)


class _Plan:
    """Prefixes come in sorted order, so those that begin alike come together and one stack is enough."""

    def __init__(self, matches: Sequence[Match]) -> None:
        self._matches = matches
        self._stack: list[_Node] = []
        # The lasting routes of all prefixes on the stack, ascending.
        self._above: list[int] = []
        self._lists: dict[str, tuple[int, ...]] = {}

    def add(self, prefix: str, own: list[int]) -> None:
        while self._stack and not prefix.startswith(self._stack[-1].prefix):
            node = self._leave()
            above = self._stack[-1]
            # A prefix that nobody wrote, where the ways part, is a place for a list that several share.
            if prefix[: len(above.prefix) + 1] == node.prefix[: len(above.prefix) + 1]:
                self._stack.append(_Node(prefix[: _shared(node.prefix, prefix)], above.last))
            self._settle(node)
        limit = self._stack[-1].last if self._stack else len(self._matches)
        node = _Node(prefix, limit, own)
        for index in own:
            match = self._matches[index]
            if _lasts(match.path, prefix):
                node.lasting.append(index)
                insort(self._above, index)
            if _takes_everything(match, prefix):
                node.last = min(node.last, index)
        self._stack.append(node)

    def finish(self) -> Lists:
        while self._stack:
            self._settle(self._leave())
        return dict(sorted(self._lists.items()))

    def _leave(self) -> _Node:
        node = self._stack.pop()
        for index in node.lasting:
            del self._above[bisect_left(self._above, index)]
        return node

    def _settle(self, node: _Node) -> None:
        """A list of its own, or its routes join those of the next shorter prefix."""
        fresh = [index for index in (*node.own, *node.joined) if index <= node.last]
        repeated = bisect_right(self._above, node.last)
        if not fresh:
            return
        if not self._stack or len(fresh) >= repeated:
            self._lists[node.prefix] = tuple(sorted((*self._above[:repeated], *fresh)))
        else:
            self._stack[-1].joined += fresh


def _lasts(path: PathMatch, prefix: str) -> bool:
    """Whether paths can match that go on after `prefix`, which is the route's `beginning`."""
    return path.kind is not PathKind.EXACT or path.value != prefix


def _takes_everything(match: Match, prefix: str) -> bool:
    """Whether every path that begins with `prefix` matches, whatever else the request is."""
    path = match.path
    if match.headers or match.query or match.method or path.kind is not PathKind.PREFIX:
        return False
    return prefix.startswith(path.value)
