from __future__ import annotations

from apostille.model.lane import KEY_SLOTS
from apostille.translate.slots import assign_slots


def test_the_first_rings_get_the_first_slots_and_those_beyond_get_none() -> None:
    rings = [f"ring-{number}" for number in range(KEY_SLOTS + 2)]
    assert assign_slots(rings) == {ring: slot for slot, ring in enumerate(rings[:KEY_SLOTS])}


def test_a_ring_keeps_its_slot_and_the_others_get_what_is_free() -> None:
    assert assign_slots(["new", "old", "newer"], {"old": 0, "gone": 1}) == {"old": 0, "new": 1, "newer": 2}


def test_nobody_gets_a_slot_that_rests_but_who_has_it() -> None:
    assert assign_slots(["new"], resting={0, 1}) == {"new": 2}
    assert assign_slots(["old", "new"], {"old": 0}, {0}) == {"old": 0, "new": 1}


def test_when_all_rest_a_ring_has_to_wait() -> None:
    assert assign_slots(["new"], resting=range(KEY_SLOTS)) == {}
