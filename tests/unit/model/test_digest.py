from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apostille.base.refs import Ref
from apostille.base.secrets import SecretText
from apostille.model.auth import HeaderUse, Step
from apostille.model.digest import content_digest, program_id

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False) | st.text().map(SecretText),
    lambda inner: st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Config:
    first: object
    second: object = ""


@given(VALUES)
def test_equal_content_has_an_equal_digest(value: object) -> None:
    assert content_digest(Config(value)) == content_digest(Config(value))


@given(st.dictionaries(st.text(), st.integers()))
def test_the_order_of_a_mapping_does_not_count(mapping: dict[str, int]) -> None:
    backwards = dict(reversed(mapping.items()))
    assert content_digest(mapping) == content_digest(backwards)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (("ab", "c"), ("a", "bc")),
        ((), ("",)),
        (1, "1"),
        (1, True),
        (None, "None"),
        (1, 1.0),
        ("red", Colour.RED),
        ("x", SecretText("x")),
        (SecretText("x"), SecretText("y")),
        (Config("a", "b"), Config("b", "a")),
        ({"a": "b"}, (("a", "b"),)),
    ],
)
def test_different_content_has_a_different_digest(left: object, right: object) -> None:
    assert content_digest(left) != content_digest(right)


def test_what_has_no_stable_content_is_refused_without_being_shown() -> None:
    with pytest.raises(TypeError, match=r"^a function has no content digest$"):
        content_digest((lambda: "canary",))


def test_a_program_id_names_the_policy_and_the_content() -> None:
    policy = Ref("ExtAuthPolicy", "gateway", "keys")
    step = Step(name="key", kind="apiKeyAuth", config=Config("a"), headers=HeaderUse(reads=("api-key",)))
    other = Step(name="key", kind="apiKeyAuth", config=Config("b"), headers=HeaderUse(reads=("api-key",)))
    name, _, digits = program_id(policy, (step,), 2000).partition("@")
    assert name == "gateway/keys"
    assert len(digits) == 12
    ids = {program_id(policy, (step,), 2000), program_id(policy, (other,), 2000), program_id(policy, (step,), 1000)}
    assert len(ids) == 3
