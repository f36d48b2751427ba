from __future__ import annotations

import pytest
import re2

from apostille.base.limits import MAX_REGEX_PROGRAM
from apostille.model.route import Match, PathKind, PathMatch, PathRewrite, RegexRewrite
from apostille.translate.paths import compile_path_rewrite, literal_prefix, regex_problem, rewrite_trap


def prefix(value: str, *, ignore_case: bool = False) -> PathMatch:
    return PathMatch(kind=PathKind.PREFIX, value=value, ignore_case=ignore_case)


def caught(match: Match | None, path: str) -> bool:
    """Whether a trap takes this path, as Envoy would decide."""
    if match is None:
        return False
    own = match.path
    matches = {
        PathKind.EXACT: own.value == path,
        PathKind.PREFIX: path.startswith(own.value),
        PathKind.REGEX: re2.fullmatch(own.value, path) is not None,
    }[own.kind]
    return matches and all(re2.fullmatch(header.value or "", path) is not None for header in match.headers)


@pytest.mark.parametrize("pattern", ["/v[0-9]+/.*", "", "(?i)/a", "é+"])
def test_what_re2_understands_is_no_problem(pattern: str) -> None:
    assert regex_problem(pattern) is None


@pytest.mark.parametrize("pattern", ["(", ".*(", "(?=x)", "a{1001}", "[z-a]", r"(a)\1"])
def test_what_re2_does_not_understand_is_told_with_the_pattern(pattern: str) -> None:
    problem = regex_problem(pattern)
    assert problem is not None
    assert problem.startswith(f"{pattern!r} is no regular expression for RE2: ")


def test_an_expression_that_compiles_to_too_much_is_refused() -> None:
    problem = regex_problem("(abc){500}")
    assert problem is not None
    assert f"at most {MAX_REGEX_PROGRAM}" in problem


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("/api/(v[12]", "/api/"),
        ("^/api/(v", "/api/"),
        (".*(", ""),
        ("/ab*(", "/a"),
        ("/ab+(", "/ab"),
        ("/ab?(", "/a"),
        ("/ab{0,1}(", "/a"),
        ("/api/(v1|v2", ""),
        ("/plain", "/plain"),
        ("", ""),
    ],
)
def test_the_literal_prefix_is_what_every_match_begins_with(pattern: str, expected: str) -> None:
    assert literal_prefix(pattern) == expected


def test_a_replacement_is_passed_on_as_it_is() -> None:
    assert compile_path_rewrite(prefix("/a"), "/b") == PathRewrite(replacement="/b")


@pytest.mark.parametrize("replacement", ["", "/"])
def test_a_prefix_that_is_cut_off_takes_the_slashes_after_it_along(replacement: str) -> None:
    rewrite = compile_path_rewrite(prefix("/api"), replacement)
    assert isinstance(rewrite, RegexRewrite)
    assert [
        re2.sub(rewrite.pattern, rewrite.substitution, path) for path in ("/api", "/api/x", "/api//x", "/apix")
    ] == [
        "/",
        "/x",
        "/x",
        "/x",
    ]


def test_a_prefix_that_is_cut_off_in_any_case_is_cut_off_in_any_case() -> None:
    rewrite = compile_path_rewrite(prefix("/api", ignore_case=True), "/")
    assert isinstance(rewrite, RegexRewrite)
    assert re2.sub(rewrite.pattern, rewrite.substitution, "/API/x") == "/x"


@pytest.mark.parametrize("path", [prefix("/api/"), PathMatch(kind=PathKind.EXACT, value="/api")])
def test_whole_segments_and_exact_paths_become_a_slash(path: PathMatch) -> None:
    assert compile_path_rewrite(path, "") == PathRewrite(replacement="/")


@pytest.mark.parametrize("path", ["/plain.", "/plain..", "/plain../admin", "/plain./x", "/plain..;x", "/plain..\\x"])
def test_what_would_climb_out_of_the_base_is_trapped(path: str) -> None:
    assert caught(rewrite_trap(Match(path=prefix("/plain")), PathRewrite(replacement="/base/")), path)


@pytest.mark.parametrize("path", ["/plain", "/plain/x", "/plainly", "/plain.html", "/plain...x", "/other../x", "/"])
def test_what_stays_below_the_base_is_not_trapped(path: str) -> None:
    assert not caught(rewrite_trap(Match(path=prefix("/plain")), PathRewrite(replacement="/base/")), path)


def test_a_trap_ignores_case_where_its_route_does() -> None:
    match = Match(path=prefix("/plain", ignore_case=True))
    assert caught(rewrite_trap(match, PathRewrite(replacement="/base/")), "/PLAIN../x")


@pytest.mark.parametrize(
    ("path", "replacement"),
    [
        (prefix("/plain/"), "/base/"),
        (prefix("/plain"), "/base"),
        (PathMatch(kind=PathKind.EXACT, value="/plain"), "/base/"),
    ],
)
def test_where_nothing_can_climb_there_is_no_trap(path: PathMatch, replacement: str) -> None:
    assert rewrite_trap(Match(path=path), PathRewrite(replacement=replacement)) is None


REGEX = RegexRewrite(pattern="^/a/([^/]*)", substitution="/b/\\1")


@pytest.mark.parametrize(
    ("path", "expected"), [("/a/..x", True), ("/a/x..", True), ("/a/x", False), ("/other/x..y", False)]
)
def test_the_trap_of_a_regex_rewrite_takes_two_dots_below_its_own_path_only(path: str, expected: bool) -> None:
    assert caught(rewrite_trap(Match(path=prefix("/a/")), REGEX), path) is expected


def test_the_trap_of_a_regex_rewrite_keeps_the_other_conditions_and_leaves_queries_alone() -> None:
    match = Match(path=prefix("/a/"), method="GET")
    trap = rewrite_trap(match, REGEX)
    assert trap is not None
    assert (trap.path, trap.method) == (match.path, "GET")
    assert not caught(trap, "/a/x?y=..")


def test_an_exact_path_without_dots_needs_no_trap() -> None:
    assert rewrite_trap(Match(path=PathMatch(kind=PathKind.EXACT, value="/a")), REGEX) is None
    assert rewrite_trap(Match(path=PathMatch(kind=PathKind.EXACT, value="/a..b")), REGEX) is not None
