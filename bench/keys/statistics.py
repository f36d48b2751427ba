"""Whether two samples of times differ. Pure."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import NormalDist, median

_RESAMPLES = 10_000
_SHARE = 0.99
# |z| of the rank test up to here is chance, in 99 of 100 cases.
CHANCE = NormalDist().inv_cdf(0.5 + _SHARE / 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Of the second sample from the first, in the unit of the samples. `low` to `high`: where the difference of the
    medians is with a confidence of 99 %. `z`: of the rank test by Mann and Whitney, 0 where neither tends to be longer.
    """

    medians: tuple[float, float]
    low: float
    high: float
    z: float

    @property
    def of_medians(self) -> float:
        return self.medians[1] - self.medians[0]

    @property
    def is_chance(self) -> bool:
        return self.low <= 0 <= self.high or abs(self.z) <= CHANCE


def compare(first: Sequence[float], second: Sequence[float], chance: random.Random) -> Difference:
    one, two = sorted(first), sorted(second)
    differences = sorted(_resampled(two, chance) - _resampled(one, chance) for _ in range(_RESAMPLES))
    cut = int(_RESAMPLES * (1 - _SHARE) / 2)
    return Difference(
        medians=(median(one), median(two)),
        low=differences[cut],
        high=differences[-cut - 1],
        z=rank_test(one, two),
    )


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value that this share of the values does not exceed."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def rank_test(first: Sequence[float], second: Sequence[float]) -> float:
    """z of the Mann-Whitney test, with its correction for ties; above 0 where the second tends to be the larger."""
    both = sorted([(value, 0) for value in first] + [(value, 1) for value in second])
    rank, ranks_of_second, ties = 1, 0.0, 0
    for _, group in groupby(both, key=lambda each: each[0]):
        members = [of for _, of in group]
        ranks_of_second += sum(members) * (rank + (len(members) - 1) / 2)
        rank += len(members)
        ties += len(members) ** 3 - len(members)
    n, m, total = len(first), len(second), len(both)
    found = ranks_of_second - m * (m + 1) / 2
    spread = math.sqrt(n * m / 12 * (total + 1 - ties / (total * (total - 1))))
    return (found - n * m / 2) / spread if spread else 0.0


def _resampled(ordered: Sequence[float], chance: random.Random) -> float:
    """The median of a bootstrap sample, without drawing it: which of the values it is follows a normal law."""
    size = len(ordered)
    index = round(chance.gauss((size - 1) / 2, math.sqrt(size) / 2))
    return ordered[min(max(index, 0), size - 1)]
