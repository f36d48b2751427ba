from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apostille.model.caller import (
    NOBODY,
    Caller,
    explain_lack,
    fill_placeholders,
    find_placeholders,
    placeholder_faults,
)

ALICE = Caller(consumer="alice", key="apo_live_1", metadata={"team": "blue", "cost center": "42"})


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("gateway", "gateway"),
        ("gw-{consumer}", "gw-alice"),
        ("{key}{key}", "apo_live_1apo_live_1"),
        ("{metadata.team}/{metadata.cost center}", "blue/42"),
        ("{{consumer}}", "{alice}"),
        ("${consumer}", "$alice"),
        ("} {consumer} {", "} alice {"),
        ("{} { } {1} {a b}", "{} { } {1} {a b}"),
    ],
)
def test_placeholders_are_filled_and_other_braces_are_left(text: str, filled: str) -> None:
    assert fill_placeholders(text, ALICE) == filled
    assert placeholder_faults(text) == ()


@given(st.text(st.sampled_from("{}consumerky.metadata "), max_size=30))
def test_no_text_breaks_anything_and_without_placeholders_it_is_what_it_was(text: str) -> None:
    placeholder_faults(text)
    assert fill_placeholders(text, ALICE) == text or find_placeholders(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gw-{consumr}", "`{consumr}` stands for nothing; write `{consumer}`."),
        ("{Consumer}", "`{Consumer}` stands for nothing; write `{consumer}`."),
        ("{ consumer }", "`{ consumer }` stands for nothing; write `{consumer}`."),
        ("{consumer.name}", "`{consumer.name}` stands for nothing; write `{consumer}`."),
        ("{keys}", "`{keys}` stands for nothing; write `{key}`."),
        ("{metadata.}", "`{metadata.}` names no entry of the key's metadata; write for example `{metadata.team}`."),
        ("{metadata}", "`{metadata}` names no entry of the key's metadata; write for example `{metadata.team}`."),
        ("{metadata. team}", "`{metadata. team}` stands for nothing; write `{metadata.team}`."),
        ("{metdata.team}", "`{metdata.team}` stands for nothing; write `{metadata.team}`."),
        ("{user}", "`{user}` stands for nothing; write `{consumer}`, `{key}` or `{metadata.NAME}`."),
        ("${aws:username}", "`{aws:username}` stands for nothing; write `{consumer}`, `{key}` or `{metadata.NAME}`."),
        ("gw-{consumer", "`{consumer` has no closing brace; write `{consumer}`."),
        ("{metadata.team{key}", "`{metadata.team` has no closing brace; write `{metadata.NAME}`."),
    ],
)
def test_what_is_nearly_a_placeholder_is_told_with_what_to_write(text: str, said: str) -> None:
    assert placeholder_faults(text) == (said,)


def test_an_entry_that_no_key_can_have_is_no_placeholder() -> None:
    assert find_placeholders("{metadata.a\nb}") == ()
    assert len(placeholder_faults("{metadata.a\nb}")) == 1


def test_callers_who_differ_in_what_is_not_asked_for_are_one() -> None:
    other = Caller(consumer="bob", key="apo_live_1", metadata={"team": "blue"})
    asked = ("key", "metadata.team")
    assert other != ALICE
    assert ALICE.only(asked) == other.only(asked) == Caller(key="apo_live_1", metadata={"team": "blue"})
    assert len({ALICE.only(asked), other.only(asked)}) == 1
    assert ALICE.only(()) == NOBODY


def test_a_filled_in_text_needs_all_of_its_facts() -> None:
    with pytest.raises(LookupError) as caught:
        fill_placeholders("{consumer}{key}", Caller(key="apo_live_1"))
    assert "{consumer} stands for who is calling" in str(caught.value)
    assert Caller(consumer="", metadata={"team": ""}).lacks(("consumer", "key", "metadata.team")) == (
        "consumer",
        "key",
        "metadata.team",
    )


def test_what_is_lacking_is_said_once_for_each_and_shows_no_value() -> None:
    said = explain_lack(("key", "metadata.team", "key"))
    assert said.count("{key} stands") == 1
    assert "{metadata.team} stands" in said


def test_a_caller_shows_no_metadata() -> None:
    assert "blue" not in repr(ALICE)
