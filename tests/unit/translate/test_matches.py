from __future__ import annotations

from apostille.model.route import HeaderMatch, PathKind, PathMatch, QueryMatch
from apostille.resources.broken import BrokenItem
from apostille.resources.routes import HTTPRequestMatcher
from apostille.status.problem import field_text
from apostille.translate.matches import EVERYTHING, CompiledMatch, compile_match

AT = ("spec", "http", 0, "matchers", 0)


def compiled(written: dict[str, object]) -> tuple[CompiledMatch, list[str]]:
    """And where its problems are."""
    match, problems = compile_match(HTTPRequestMatcher.model_validate(written), AT)
    return match, [field_text(problem.at[len(AT) :]) for problem in problems]


def test_a_matcher_without_a_path_takes_every_path() -> None:
    found, problems = compiled({"method": "GET"})
    assert found.match is not None
    assert (found.match.path, found.match.method, found.sound, problems) == (EVERYTHING, "GET", True, [])


def test_all_conditions_are_kept_and_header_names_are_in_lower_case() -> None:
    found, _ = compiled(
        {
            "uri": {"prefix": "/A", "ignoreCase": True},
            "headers": [{"name": "X-One", "value": "1", "invertMatch": True}, {"name": "X-Two"}],
            "queryParameters": [{"name": "Q", "value": "[0-9]", "regex": True}],
            "port": 8080,
        }
    )
    assert found.match is not None
    assert found.match.path == PathMatch(kind=PathKind.PREFIX, value="/A", ignore_case=True)
    assert found.match.headers == (HeaderMatch(name="x-one", value="1", invert=True), HeaderMatch(name="x-two"))
    assert found.match.query == (QueryMatch(name="Q", value="[0-9]", regex=True),)
    assert found.port == 8080


def test_port_zero_is_every_port() -> None:
    assert compiled({"port": 0})[0].port is None


def test_a_broken_regex_takes_at_least_what_begins_like_it() -> None:
    found, problems = compiled({"uri": {"regex": "/api/(v1"}})
    assert found.match is not None
    assert (found.match.path, found.sound) == (PathMatch(kind=PathKind.PREFIX, value="/api/"), False)
    assert problems == ["uri.regex"]


def test_of_a_regex_that_may_begin_with_anything_nothing_is_left() -> None:
    for regex in (".*(", "/(", "("):
        found, problems = compiled({"uri": {"regex": regex}})
        assert (found.match, found.sound, problems) == (None, False, ["uri.regex"])


def test_a_suffix_is_told_and_matches_nothing() -> None:
    found, problems = compiled({"uri": {"suffix": ".json"}})
    assert (found.match, problems) == (None, ["uri.suffix"])


def test_bad_conditions_are_left_out_and_all_are_told() -> None:
    found, problems = compiled(
        {
            "uri": {"exact": "/a"},
            "headers": [{"name": "good", "value": "1"}, {"name": "bad", "value": "(", "regex": True}],
            "queryParameters": [{"name": "bad", "value": "[", "regex": True}],
        }
    )
    assert found.match is not None
    assert (found.match.headers, found.match.query, found.sound) == ((HeaderMatch(name="good", value="1"),), (), False)
    assert problems == ["headers[1].value", "queryParameters[0].value"]


def test_what_could_be_read_of_a_broken_matcher_is_matched_to_be_refused() -> None:
    kept = HTTPRequestMatcher.model_validate({"uri": {"prefix": "/a"}})
    found, problems = compile_match(BrokenItem(problems=(), kept=kept, lost=("headers[0]",)), AT)
    assert found.match is not None
    assert (found.match.path.value, found.sound, problems) == ("/a", False, ())


def test_a_broken_matcher_without_its_path_matches_nothing() -> None:
    kept = HTTPRequestMatcher.model_validate({"method": "GET"})
    nothing: BrokenItem[HTTPRequestMatcher] = BrokenItem(problems=())
    for broken in (BrokenItem(problems=(), kept=kept, lost=("uri",)), nothing):
        assert compile_match(broken, AT) == (CompiledMatch(match=None, sound=False), ())
