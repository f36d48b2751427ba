from __future__ import annotations

from datetime import timedelta

import pytest

from apostille.base.durations import parse_duration


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("1s", 1000), ("1.5s", 1500), ("250ms", 250), ("1h30m", 5_400_000), ("1s500ms", 1500), ("0s", 0), (".5s", 500)],
)
def test_go_and_proto_forms_are_read(text: str, milliseconds: int) -> None:
    assert parse_duration(text) == timedelta(milliseconds=milliseconds)


@pytest.mark.parametrize("text", ["", "1", "s", "1x", "1 s", "-1s", "1s ", "1e3s", "∞s"])
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="write for example"):
        parse_duration(text)


def test_ten_years_are_enough() -> None:
    with pytest.raises(ValueError, match="ten years"):
        parse_duration("999999999h")
