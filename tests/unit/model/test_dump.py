from __future__ import annotations

import pytest

from apostille.base.refs import Ref
from apostille.base.secrets import SecretText
from apostille.model.auth import Key, KeyRing
from apostille.model.dump import dump_model
from apostille.model.route import Match, PathKind, PathMatch, Respond, Route

HUSH = "hush-hush"


def test_dataclasses_become_plain_data_without_what_has_its_default() -> None:
    route = Route(
        name="r",
        owner=Ref("RouteTable", "apps", "shop"),
        match=Match(path=PathMatch(kind=PathKind.EXACT, value="/a"), method="GET"),
        action=Respond(status=200),
        labels=(("a", "b"),),
    )
    assert dump_model(route) == {
        "name": "r",
        "owner": "RouteTable/apps/shop",
        "match": {"path": {"kind": "exact", "value": "/a"}, "method": "GET"},
        "action": {"status": 200},
        "labels": [["a", "b"]],
    }


def test_entries_of_mappings_are_sorted() -> None:
    assert list(dump_model({"b": 1, "a": 2})) == ["a", "b"]  # type: ignore[call-overload]  # a mapping stays one


def test_no_secret_and_no_whole_digest_of_one_is_in_it() -> None:
    digest = "0123456789abcdef" * 4
    ring = KeyRing(id="ring", keys=(Key(digest=digest, consumer="alice", metadata={"mail": SecretText(HUSH)}),))
    dumped = dump_model(ring)
    assert dumped == {
        "id": "ring",
        "keys": [{"digest": "0123456789ab...", "consumer": "alice", "metadata": {"mail": "[redacted]"}}],
    }


@pytest.mark.parametrize("value", [None, True, 0, 1.5, "text"])
def test_scalars_stay_as_they_are(value: object) -> None:
    assert dump_model(value) == value


def test_what_has_no_plain_form_is_named_by_its_type_only() -> None:
    with pytest.raises(TypeError, match=r"^a set has no plain form$"):
        dump_model({HUSH})
