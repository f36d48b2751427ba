from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass

import pytest

from apostille.base.secrets import SecretText

CANARY = "canary-7f3a"


@dataclass(frozen=True)
class Holder:
    token: SecretText


def test_no_representation_shows_it() -> None:
    secret = SecretText(CANARY)
    shown = [repr(secret), str(secret), f"{secret}", f"{secret!r:>40}", repr(Holder(secret)), repr({"k": [secret]})]
    assert not any(CANARY in text for text in shown)


def test_it_gives_itself_only_when_asked() -> None:
    assert SecretText(CANARY).reveal() == CANARY


def test_it_compares_by_value_and_with_nothing_else() -> None:
    assert SecretText("a") == SecretText("a")
    assert SecretText("a") != SecretText("b")
    assert SecretText("a") != "a"
    assert hash(SecretText("a")) == hash(SecretText("a"))


@pytest.mark.parametrize("leak", [pickle.dumps, copy.deepcopy])
def test_it_cannot_be_serialized_by_accident(leak: object) -> None:
    assert callable(leak)
    with pytest.raises(TypeError):
        leak(SecretText(CANARY))
