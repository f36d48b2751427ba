from __future__ import annotations

import pytest
import re2
from envoy.type.matcher.v3.http_inputs_pb2 import HttpRequestHeaderMatchInput

from apostille.model.lane import HeaderPattern, Plain
from apostille.xds.predicates import Predicate, all_of, header_matches, is_plain, path_begins, path_is


def holds(predicate: Predicate, headers: dict[str, bytes]) -> bool:
    """As Envoy answers it: about a header that is not there every question is answered no."""
    match predicate.WhichOneof("match_type"):
        case "single_predicate":
            asked = predicate.single_predicate
            header = HttpRequestHeaderMatchInput.FromString(asked.input.typed_config.value).header_name
            value = headers.get(header)
            match asked.value_match.WhichOneof("match_pattern"):
                case "exact":
                    return value == asked.value_match.exact.encode()
                case "prefix":
                    return value is not None and value.startswith(asked.value_match.prefix.encode())
                case "safe_regex":
                    # One character for each byte, as Envoy sees them.
                    text = None if value is None else value.decode("latin-1")
                    return text is not None and re2.fullmatch(asked.value_match.safe_regex.regex, text) is not None
                case other:
                    raise AssertionError(other)
        case "and_matcher":
            return all(holds(each, headers) for each in predicate.and_matcher.predicate)
        case "or_matcher":
            return any(holds(each, headers) for each in predicate.or_matcher.predicate)
        case "not_matcher":
            return not holds(predicate.not_matcher, headers)
        case other:
            raise AssertionError(other)


GET = {":method": b"GET", ":path": b"/x"}
PLAIN = Plain(
    path="/x.*",
    methods=("GET", "M-SEARCH", "A|B"),
    absent=("content-type",),
    only=(HeaderPattern(name="key", pattern="[a-z]*"),),
    never=(HeaderPattern(name="key", pattern="bearer .*"),),
)


def test_a_request_without_anything_odd_is_plain() -> None:
    assert holds(is_plain(PLAIN), GET)
    assert holds(is_plain(PLAIN), {**GET, "key": b"abc"})
    assert holds(is_plain(PLAIN), {**GET, "key": b""})
    assert holds(is_plain(PLAIN), {**GET, ":method": b"M-SEARCH"})


@pytest.mark.parametrize(
    "odd",
    [
        *({":method": method} for method in (b"PUT", b"get", b"GETS", b"A", b"B", b"MXSEARCH", b"")),
        {":path": b"/y"},
        *({"content-type": value} for value in (b"", b"a", b"\xff", b"a\nb", "\u00e9".encode())),
        *({"key": value} for value in (b"a,b", b"\xff", b"bearer x", b"A")),
    ],
)
def test_each_oddity_by_itself_is_enough(odd: dict[str, bytes]) -> None:
    assert not holds(is_plain(PLAIN), {**GET, **odd})


@pytest.mark.parametrize(
    ("path", "plain"), [(b"/x", True), (b"/a%20b?c=//", True), (b"/a//b", False), (b"/%7E", False)]
)
def test_without_a_pattern_of_its_own_the_path_is_spelled_in_the_ordinary_way(path: bytes, plain: bool) -> None:
    assert holds(is_plain(Plain()), {**GET, ":path": path}) is plain


def test_a_path_is_told_from_its_query() -> None:
    for path, same in ((b"/x", True), (b"/x?", True), (b"/x?y", True), (b"/xy", False), (b"/x/", False), (b"/", False)):
        assert holds(path_is("/x"), {":path": path}) is same
    assert [holds(path_begins("/x"), {":path": path}) for path in (b"/x", b"/xy", b"/")] == [True, True, False]


def test_envoy_takes_no_list_of_one() -> None:
    one, other = header_matches("a", ".*"), header_matches("b", ".*")
    assert all_of([one]) == one
    assert list(all_of([one, other]).and_matcher.predicate) == [one, other]
