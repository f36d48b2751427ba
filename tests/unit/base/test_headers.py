from __future__ import annotations

import pytest

from apostille.base.headers import is_header_name, is_header_value, is_settable_name, is_upstream_name


@pytest.mark.parametrize("name", ["x-user", "X-User", "authorization", "a.b_c~1"])
def test_a_token_is_a_header_name(name: str) -> None:
    assert is_header_name(name)


@pytest.mark.parametrize("name", ["", ":path", "x user", "x-user\n", "x\r", "x:y", "é", "x-user "])
def test_anything_else_is_no_header_name(name: str) -> None:
    assert not is_header_name(name)


@pytest.mark.parametrize("value", ["", "a b", "a\tb", "zażółć", "a,b"])
def test_text_without_control_characters_is_a_value(value: str) -> None:
    assert is_header_value(value)


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\0b", "a\x7f", "\x1b[0m", "a\n", "\udcff"])
def test_control_characters_and_half_surrogates_are_no_value(value: str) -> None:
    assert not is_header_value(value)


@pytest.mark.parametrize(
    "name",
    ["Host", "content-length", "Transfer-Encoding", "connection", "X-Envoy-Foo", "x-apostille-consumer", ":path"],
)
def test_the_framing_and_what_is_reserved_is_never_set_by_a_step(name: str) -> None:
    assert not is_settable_name(name)
    assert not is_upstream_name(name)


def test_a_content_type_can_be_set_for_the_client_only() -> None:
    assert is_settable_name("content-type")
    assert not is_upstream_name("Content-Type")
