from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apostille.model.scopes import Asked, Dimension, Scopes, first_miss

ASKED = Asked(
    method="GET",
    host="api.example.com",
    path="/orders/7",
    labels={"team": "a", "tier": "1"},
    destinations=("apps/shop",),
)


def ask(path: str) -> Asked:
    return Asked(method="GET", host="h", path=path)


def test_no_scopes_allow_everything() -> None:
    assert first_miss(Scopes(), ASKED) is None


@pytest.mark.parametrize(
    ("scopes", "miss"),
    [
        (Scopes(methods=("POST", "GET")), None),
        (Scopes(methods=("POST",)), Dimension.METHOD),
        (Scopes(hosts=("api.example.com",)), None),
        (Scopes(hosts=("*.example.com",)), None),
        (Scopes(hosts=("*",)), None),
        (Scopes(hosts=("example.com",)), Dimension.HOST),
        (Scopes(hosts=("*.api.example.com",)), Dimension.HOST),
        (Scopes(paths=("/orders",)), None),
        (Scopes(paths=("/order",)), Dimension.PATH),
        (Scopes(labels={"team": "a"}), None),
        (Scopes(labels={"team": "a", "tier": "2"}), Dimension.ROUTE),
        (Scopes(destinations=("apps/shop",)), None),
        (Scopes(destinations=("apps/bank",)), Dimension.DESTINATION),
        (Scopes(methods=("POST",), hosts=("elsewhere",)), Dimension.METHOD),
    ],
)
def test_the_first_dimension_that_does_not_fit_is_named(scopes: Scopes, miss: Dimension | None) -> None:
    assert first_miss(scopes, ASKED) is miss


def test_a_host_is_compared_without_case_and_port() -> None:
    scopes = Scopes(hosts=("*.example.com",))
    assert first_miss(scopes, Asked(method="GET", host="API.Example.com:8443", path="/")) is None
    assert first_miss(scopes, Asked(method="GET", host="*.example.com", path="/")) is Dimension.HOST


def test_a_request_for_no_named_destination_does_not_fit_a_list_of_them() -> None:
    assert first_miss(Scopes(destinations=("apps/shop",)), ask("/")) is Dimension.DESTINATION


@pytest.mark.parametrize("path", ["/a", "/a/", "/a/b", "/a//b", "/a/b%2Fc", "/a/..b", "/a/b..", "/a/%41"])
def test_a_prefix_fits_whole_segments(path: str) -> None:
    assert first_miss(Scopes(paths=("/a",)), ask(path)) is None


@pytest.mark.parametrize(
    "path",
    [
        "/ab",
        "/",
        "",
        "/A",
        "/a%2Fb/../c",
        "/a/..",
        "/a/../b",
        "/a/%2e%2e/b",
        "/a/.%2E/b",
        "/a/%252e%252e/b",
        "/a/%25252525252e./b",
        "/a/..%2fb",
        "/a\\..\\b",
        "/a/..%5cb",
        "/a/..;x=1/b",
        "/a/./b",
        "//a",
        "/%61",
    ],
)
def test_a_path_that_ends_elsewhere_does_not_fit(path: str) -> None:
    assert first_miss(Scopes(paths=("/a",)), ask(path)) is Dimension.PATH


@given(st.text(max_size=30))
def test_no_path_raises(path: str) -> None:
    assert first_miss(Scopes(paths=("/a",)), ask(path)) in (None, Dimension.PATH)


@pytest.mark.parametrize(
    "fields",
    [
        {"methods": ("get",)},
        {"hosts": ("a b",)},
        {"hosts": ("a.*.b",)},
        {"hosts": ("Example.com",)},
        {"paths": ("orders",)},
        {"paths": ("/a/../b",)},
        {"paths": ("/a?b",)},
        {"labels": {"": "a"}},
        {"destinations": ("",)},
    ],
)
def test_words_that_could_never_fit_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="write"):
        Scopes(**fields)  # type: ignore[arg-type]
