from __future__ import annotations

from apostille.model.lane import KEY_SLOTS
from apostille.translate.slots import assign_slots

MANY = [f"apps/users-{number}/key" for number in range(KEY_SLOTS + 2)]


def test_the_first_rings_get_the_slots_and_the_others_none() -> None:
    assert assign_slots(MANY) == {ring: slot for slot, ring in enumerate(MANY[:KEY_SLOTS])}


def test_a_ring_keeps_its_slot_whoever_comes_before_it() -> None:
    assert assign_slots(["new", "old"], kept={"old": 0}) == {"old": 0, "new": 1}


def test_a_slot_that_rests_is_given_to_nobody() -> None:
    assert assign_slots(["new"], resting=range(KEY_SLOTS - 1)) == {"new": KEY_SLOTS - 1}
    assert assign_slots(["new"], resting=range(KEY_SLOTS)) == {}


def test_a_ring_that_is_back_has_its_slot_though_it_rests() -> None:
    assert assign_slots(["back"], kept={"back": 3}, resting=[3]) == {"back": 3}


def test_what_is_gone_holds_no_slot() -> None:
    assert assign_slots(["other"], kept={"gone": 0}) == {"other": 0}
