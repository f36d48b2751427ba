from __future__ import annotations

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from apostille.xds.patterns import everything_but

NAMES = ("content-length", "date", "server")
PREFIXES = ("x-envoy-", "x-apostille-")

header_names = st.text(alphabet="abcdeghlnostvx-", min_size=1, max_size=20)


@pytest.mark.parametrize("name", [*NAMES, *PREFIXES, "x-envoy-internal", "x-apostille-reason", ":path", ":status"])
def test_excluded_names_and_pseudo_headers_do_not_match(name: str) -> None:
    assert re2.fullmatch(everything_but(NAMES, PREFIXES), name) is None


@pytest.mark.parametrize(
    "name", ["authorization", "dat", "dates", "serve", "x-envoy", "x-apostill", "x", "content-type"]
)
def test_neighbours_of_excluded_names_match(name: str) -> None:
    assert re2.fullmatch(everything_but(NAMES, PREFIXES), name) is not None


@given(
    names=st.sets(header_names, max_size=6),
    prefixes=st.sets(header_names, max_size=4),
    probe=st.one_of(header_names, st.just("x")),
    tail=st.text(alphabet="ab-", max_size=3),
)
def test_it_matches_exactly_what_is_not_excluded(names: set[str], prefixes: set[str], probe: str, tail: str) -> None:
    pattern = everything_but(names, prefixes)
    for word in [probe, *(name + tail for name in names), *(prefix + tail for prefix in prefixes)]:
        excluded = word in names or any(word.startswith(prefix) for prefix in prefixes)
        assert (re2.fullmatch(pattern, word) is None) == excluded, word


def test_an_empty_prefix_is_refused() -> None:
    with pytest.raises(ValueError, match="everything"):
        everything_but((), ("",))
