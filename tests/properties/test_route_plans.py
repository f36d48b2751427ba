"""The plan of a matcher tree loses no route, adds none, and stays small."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from apostille.model.route import Match
from apostille.routing.choice import Request, matches
from apostille.routing.tree import beginning, plan_lists
from tests.properties.route_tables import PIECES, QUERIES, path_texts
from tests.properties.route_tables import matches as random_matches


def first(table: Sequence[Match], indexes: Sequence[int], request: Request) -> int | None:
    return next((index for index in indexes if matches(table[index], request)), None)


def paths() -> st.SearchStrategy[str]:
    return st.tuples(path_texts(), st.sampled_from(("", *PIECES)), st.sampled_from(QUERIES)).map("".join)


@given(table=st.lists(random_matches(), max_size=30), asked=st.lists(paths(), min_size=1, max_size=20))
@settings(max_examples=500)
def test_the_list_of_the_longest_prefix_has_the_first_route_that_matches(table: list[Match], asked: list[str]) -> None:
    lists = plan_lists(table)
    for path in asked:
        request = Request(host="a.test", path=path)
        longest = max((prefix for prefix in lists if path.startswith(prefix)), key=len, default=None)
        found = first(table, lists[longest], request) if longest is not None else None
        assert found == first(table, range(len(table)), request)


@given(table=st.lists(random_matches(), max_size=60))
def test_the_lists_are_sorted_and_no_more_than_twice_the_table(table: list[Match]) -> None:
    lists = plan_lists(table)
    assert list(lists) == sorted(lists)
    assert all(list(indexes) == sorted(set(indexes)) for indexes in lists.values())
    assert sum(map(len, lists.values())) <= 2 * len(table)


@given(match=random_matches(), path=paths())
@settings(max_examples=2000)
def test_every_path_that_matches_begins_with_the_beginning(match: Match, path: str) -> None:
    if matches(Match(path=match.path), Request(host="a", path=path)):
        assert path.startswith(beginning(match.path))
