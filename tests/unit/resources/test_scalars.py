from __future__ import annotations

import pytest

from apostille.resources.scalars import resolve_plain, resolve_tagged


@pytest.mark.parametrize("text", ["y", "Yes", "true", "ON"])
def test_the_words_for_true_are_those_of_yaml_1_1(text: str) -> None:
    assert resolve_plain(text) is True


@pytest.mark.parametrize("text", ["n", "No", "FALSE", "off"])
def test_the_words_for_false_are_those_of_yaml_1_1(text: str) -> None:
    assert resolve_plain(text) is False


@pytest.mark.parametrize("text", ["", "~", "null"])
def test_nothing_is_written_in_three_ways(text: str) -> None:
    assert resolve_plain(text) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        ("-7", -7),
        ("+7", 7),
        ("0x1F", 31),
        ("0b101", 5),
        ("0o17", 15),
        ("017", 15),
        ("1_000", 1000),
        ("0", 0),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("08", 8.0),
    ],
)
def test_numbers_are_read_as_kubectl_reads_them(text: str, value: float) -> None:
    resolved = resolve_plain(text)
    assert resolved == value
    assert type(resolved) is type(value)


@pytest.mark.parametrize(
    "text", ["12:30:45", "2024-04-25", "2024-04-25T10:00:00Z", "1.2.3.4", "v2", "-", ".", "nope", "0xZZ"]
)
def test_times_dates_and_addresses_stay_text(text: str) -> None:
    assert resolve_plain(text) == text


def test_a_number_of_a_million_digits_is_no_long_integer() -> None:
    assert resolve_plain("9" * 1_000_000) == float("inf")


def test_an_explicit_tag_decides() -> None:
    assert resolve_tagged("12", "tag:yaml.org,2002:str") == "12"
    assert resolve_tagged("12", "tag:yaml.org,2002:int") == 12
    assert resolve_tagged("12", "tag:yaml.org,2002:float") == 12.0
    assert resolve_tagged("yes", "tag:yaml.org,2002:bool") is True
    assert resolve_tagged("", "tag:yaml.org,2002:null") is None


@pytest.mark.parametrize("tag", ["tag:yaml.org,2002:int", "tag:yaml.org,2002:binary", "!vault"])
def test_a_tag_that_does_not_fit_is_refused_without_the_value(tag: str) -> None:
    with pytest.raises(ValueError, match="tag") as refused:
        resolve_tagged("canary", tag)
    assert "canary" not in str(refused.value)
