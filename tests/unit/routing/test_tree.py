from __future__ import annotations

import pytest
import re2

from apostille.model.route import HeaderMatch, Match, PathKind, PathMatch
from apostille.routing.tree import beginning, plan_lists


def exact(value: str) -> Match:
    return Match(path=PathMatch(kind=PathKind.EXACT, value=value))


def prefix(value: str, *, method: str | None = None) -> Match:
    return Match(path=PathMatch(kind=PathKind.PREFIX, value=value), method=method)


def regex(value: str) -> Match:
    return Match(path=PathMatch(kind=PathKind.REGEX, value=value))


def test_a_list_has_all_that_a_path_can_find_in_the_order_of_the_table() -> None:
    matches = [prefix("/a", method="GET"), exact("/a/b"), prefix("/a/b/c"), prefix("/a"), exact("/a/b/c")]
    # A list for /a/b would have more of /a than of its own. The last route is behind one that takes its path.
    assert plan_lists(matches) == {"/a": (0, 1, 3), "/a/b/c": (0, 2)}


def test_what_stands_behind_a_route_for_everything_is_in_no_list() -> None:
    assert plan_lists([prefix("/a"), prefix("/a/b"), exact("/a")]) == {"/a": (0,)}
    assert plan_lists([prefix("/a"), prefix("/b"), prefix("/"), prefix("/c")]) == {"/": (2,), "/a": (0,), "/b": (1,)}


def test_what_asks_for_more_than_a_path_takes_nothing_away() -> None:
    asking = Match(path=prefix("/a").path, headers=(HeaderMatch(name="x"),))
    assert plan_lists([asking, prefix("/a", method="GET"), prefix("/a")]) == {"/a": (0, 1, 2)}


def test_an_exact_path_is_not_repeated_for_longer_ones() -> None:
    assert plan_lists([exact("/a"), prefix("/ab")]) == {"/a": (0,), "/ab": (1,)}


def test_few_routes_for_every_path_leave_each_other_route_its_own_list() -> None:
    lists = plan_lists([*(exact(f"/r{number}") for number in range(1000)), prefix("/")])
    assert lists["/r7"] == (7, 1000)
    assert len(lists) == 1001


def test_many_routes_for_every_path_are_not_repeated_for_each_other_route() -> None:
    anywhere = [regex(f".*{number}") for number in range(100)]
    matches = [*anywhere, *(exact(f"/{number:04}") for number in range(1000))]
    lists = plan_lists(matches)
    assert sum(map(len, lists.values())) <= 2 * len(matches)
    assert max(map(len, lists.values())) < 400
    assert all(set(range(100)) <= set(indexes) for indexes in lists.values())


def test_deep_nesting_is_neither_slow_nor_large() -> None:
    matches = [prefix("/a" * depth, method="GET") for depth in range(1, 3000)]
    lists = plan_lists(matches)
    assert sum(map(len, lists.values())) <= 2 * len(matches)
    assert set().union(*lists.values()) == set(range(len(matches)))


def test_no_routes_are_no_lists() -> None:
    assert plan_lists([]) == {}


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        (exact("/a"), "/a"),
        (exact("/a?b"), "/a"),
        (prefix("/a#b"), "/a"),
        (prefix("é/ü"), "é/ü"),
        (Match(path=PathMatch(kind=PathKind.PREFIX, value="/1/Ab", ignore_case=True)), "/1/"),
        (Match(path=PathMatch(kind=PathKind.PREFIX, value="/é/b", ignore_case=True)), "/é/"),
        (regex("/api/v[0-9]/users"), "/api/v"),
        (regex(r"(?s)\/plain\.{1,2}(?:[/;\\].*)?"), "/plain."),
        (regex("/abc|/abd"), "/ab"),
        (regex("/ab*"), "/a"),
        (regex("(?i)/a"), "/"),
        (regex("/a(?i)b"), "/a"),
        (regex("/[éè].*"), "/"),
        (regex("/a[?]b"), "/a"),
        (regex(".*"), ""),
        (regex("^/a$"), "/a"),
        (regex("a{2}b"), "aab"),
        (regex("("), ""),
    ],
)
def test_a_match_begins_with_what_all_its_paths_begin_with(match: Match, expected: str) -> None:
    assert beginning(match.path) == expected


def test_a_long_expression_is_looked_at_as_far_as_is_of_use() -> None:
    long = "/" + "a" * 500
    assert re2.fullmatch(long, long)
    assert long.startswith(beginning(regex(long).path))
    assert len(beginning(regex(long).path)) > 50
