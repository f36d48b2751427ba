from __future__ import annotations

from typing import Annotated

import pytest

from apostille.resources.broken import BrokenItem, Tolerates
from apostille.resources.fields import Duration, Milliseconds, PortNumber, ProtoEnum
from apostille.resources.resource import Spec
from apostille.resources.rules import Choice, Ruled
from apostille.resources.validation import validate_spec
from apostille.status.problem import field_text
from apostille.status.reasons import Effect, Reason


class Colour(ProtoEnum):
    RED = 0
    BLUE = 1


class Inner(Ruled):
    choices = (Choice(("leftSide", "rightSide"), required=True),)

    left_side: str | None = None
    right_side: int | None = None


class InnerHead(Spec):
    left_side: str | None = None


class Outer(Spec):
    port: PortNumber = 1
    flag: bool = False
    ratio: float = 1.0
    colour: Colour = Colour.RED
    wait: Duration | None = None
    exact_wait: Milliseconds | None = None
    names: tuple[str, ...] = ()
    labels: dict[str, str] | None = None
    items: tuple[
        Annotated[Inner | BrokenItem[InnerHead], Tolerates(Inner, keeps=InnerHead, effect=Effect.PARTIAL)], ...
    ] = ()


def problems(raw: object) -> dict[str, str]:
    validated = validate_spec(Outer, raw, ("spec",))
    assert validated.spec is None
    return {field_text(problem.at): problem.message for problem in validated.fatal}


def test_all_problems_are_told_at_once_in_plain_words() -> None:
    found = problems(
        {
            "port": "8080",
            "flag": "true",
            "ratio": "x",
            "colour": "GREEN",
            "wait": "soon",
            "exactWait": "1us",
            "names": {"a": 1},
            "labels": {"a": True, "b": None},
        }
    )
    assert found == {
        "spec.port": "`port` must be a whole number, not text; remove the quotes, or write a number.",
        "spec.flag": "`flag` must be true or false without quotes, not text.",
        "spec.ratio": "`ratio` must be a number, not text.",
        "spec.colour": "This is no value of the field; write `RED` or `BLUE`.",
        "spec.wait": "'soon' is not a duration; write for example 250ms, 1.5s or 1h30m.",
        "spec.exactWait": "This duration must be at least 1ms and a whole number of milliseconds.",
        "spec.names": "`names` must be a list, not a mapping; begin each entry with a dash.",
        "spec.labels.a": '`a` must be text, not true or false; put it in quotes ("…").',
        "spec.labels.b": "`b` is missing; write it.",
    }


@pytest.mark.parametrize(
    ("port", "words"), [(0, "1 or more"), (65536, "65535 or less"), (True, "whole"), (1.0, "whole")]
)
def test_a_port_is_a_number_in_its_range(port: object, words: str) -> None:
    assert words in problems({"port": port})["spec.port"]


@pytest.mark.parametrize("raw", ["BLUE", 1])
def test_an_enum_is_written_by_name_or_by_number(raw: object) -> None:
    validated = validate_spec(Outer, {"colour": raw})
    assert validated.spec is not None
    assert validated.spec.colour is Colour.BLUE


@pytest.mark.parametrize("raw", [True, 2, "blue", None])
def test_nothing_else_is_a_value_of_an_enum(raw: object) -> None:
    validated = validate_spec(Outer, {"colour": raw})
    assert (validated.spec is None) == (raw is not None)


def test_the_proto_spelling_is_accepted_and_null_counts_as_absent() -> None:
    validated = validate_spec(Outer, {"exact_wait": "5ms", "port": None, "items": [{"left_side": "x"}]})
    assert validated.spec is not None
    assert validated.spec.exact_wait is not None
    assert validated.spec.port == 1
    assert not validated.unknown


def test_unknown_fields_are_pruned_at_any_depth_and_the_rest_counts() -> None:
    validated = validate_spec(
        Outer, {"prot": 1, "port": 5, "items": [{"leftside": 1, "leftSide": "a", "zzz": {}}]}, ("spec",)
    )
    assert validated.spec is not None
    assert validated.spec.port == 5
    assert validated.spec.items == (Inner(left_side="a"),)
    told = {field_text(problem.at): problem.message for problem in validated.unknown}
    assert "did you mean `port`?" in told["spec.prot"]
    assert "did you mean `leftSide`?" in told["spec.items[0].leftside"]
    assert "did you mean" not in told["spec.items[0].zzz"]
    assert {problem.reason for problem in validated.unknown} == {Reason.UNKNOWN_FIELD}


def test_a_bad_element_keeps_what_can_be_read_and_spares_its_neighbours() -> None:
    raw = {"items": [{"leftSide": "good"}, {"leftSide": "kept", "rightSide": "x"}, {"leftSide": 5}, "text"]}
    validated = validate_spec(Outer, raw, ("spec",))
    assert validated.spec is not None
    good, conflict, lost, text = validated.spec.items
    assert isinstance(good, Inner)
    assert isinstance(conflict, BrokenItem)
    assert conflict.kept == InnerHead(left_side="kept")
    # The bad field and the rule between the fields are both told.
    assert len(conflict.problems) == 2
    assert isinstance(lost, BrokenItem)
    assert lost.kept == InnerHead()
    assert lost.lost == ("leftSide",)
    assert isinstance(text, BrokenItem)
    assert text.kept is None
    assert {effect for _, effect in validated.contained} == {Effect.PARTIAL}
    assert len(validated.contained) == 4


def test_the_rule_of_exactly_one_names_the_fields() -> None:
    validated = validate_spec(Inner, {})
    assert [problem.message for problem in validated.fatal] == [
        "One of `leftSide` or `rightSide` is missing; write exactly one."
    ]
    validated = validate_spec(Inner, {"left_side": "a", "rightSide": 1})
    assert [problem.message for problem in validated.fatal] == [
        "`leftSide` and `rightSide` exclude each other; keep one of them."
    ]


def test_ten_thousand_unknown_fields_are_pruned_in_one_go() -> None:
    raw = {"items": [{"leftSide": "a", "bogus": 1} for _ in range(10_000)]}
    validated = validate_spec(Outer, raw)
    assert validated.spec is not None
    assert len(validated.unknown) == 10_000
    assert all(item == Inner(left_side="a") for item in validated.spec.items)
