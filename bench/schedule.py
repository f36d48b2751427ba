"""Who is measured when: every design once in each pass, in an order that is shuffled anew for each pass. Pure."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One fresh start of a design."""

    start: int
    design: str


def plan(starts: Mapping[str, int], seed: int) -> tuple[Visit, ...]:
    """`starts`: name of the design → how many fresh starts. The same seed gives the same plan.

    By passes, so that a slow hour of the machine falls on all designs alike.
    """
    chance = random.Random(seed)  # noqa: S311 - an order, no secret
    visits: list[Visit] = []
    for number in range(max(starts.values(), default=0)):
        names = sorted(name for name, count in starts.items() if number < count)
        chance.shuffle(names)
        visits += [Visit(start=number, design=name) for name in names]
    return tuple(visits)
