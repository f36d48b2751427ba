"""Which of Envoy's few key filters a ring of keys gets."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType

from apostille.model.lane import KEY_SLOTS

SlotAssignment = Callable[[Sequence[str]], Mapping[str, int]]


def assign_slots(
    rings: Sequence[str], kept: Mapping[str, int] = MappingProxyType({}), resting: Collection[int] = ()
) -> Mapping[str, int]:
    """Slots by ring: those in `kept` stay, the others get what is free, the first ring first; some may get none.

    `resting`: slots that nobody may have for now. Routes and rings reach Envoy one after the other: were a slot given
    to another ring at once, its keys would open the doors of the one before it for a moment.
    """
    slots = {ring: kept[ring] for ring in rings if ring in kept}
    free = iter(sorted(set(range(KEY_SLOTS)) - set(slots.values()) - set(resting)))
    for ring in rings:
        if ring not in slots and (slot := next(free, None)) is not None:
            slots[ring] = slot
    return slots
