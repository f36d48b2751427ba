from __future__ import annotations

import random

import pytest

from apostille.keys.format import new_key
from bench.keys.records import forge, id_of
from bench.keys.statistics import CHANCE, compare, quantile, rank_test


def _chance(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - a test's, no secret


def _drawn(mean: float, count: int, seed: int) -> list[float]:
    chance = _chance(seed)
    return [chance.gauss(mean, 10.0) for _ in range(count)]


def test_two_samples_of_one_kind_differ_by_chance() -> None:
    found = compare(_drawn(100, 5000, 1), _drawn(100, 5000, 2), _chance(3))
    assert found.is_chance
    assert found.low <= found.of_medians <= found.high


@pytest.mark.parametrize(("mean", "sign"), [(102.0, 1), (98.0, -1)])
def test_two_samples_of_different_kinds_do_not(mean: float, sign: int) -> None:
    found = compare(_drawn(100, 5000, 1), _drawn(mean, 5000, 2), _chance(3))
    assert not found.is_chance
    assert found.low < mean - 100 < found.high
    assert found.z * sign > CHANCE


def test_the_rank_test_agrees_with_its_textbook() -> None:
    """Mann and Whitney's U is 4 of 12 here, 6 are expected, with a standard deviation of the square root of 8."""
    assert rank_test([1, 2, 4], [0, 1.5, 1.7, 3]) == pytest.approx((4 - 6) / 8**0.5)
    assert rank_test([1, 2], [1, 2]) == 0
    assert rank_test([1, 1], [1, 1]) == 0


def test_quantiles_of_few_values() -> None:
    assert [quantile([1, 2, 3, 4], share) for share in (0, 0.5, 0.99, 1)] == [1, 3, 4, 4]


def test_a_forged_key_has_the_id_and_another_secret() -> None:
    key = new_key("live", _chance(1).randbytes).key.reveal()
    forged = forge(key)
    assert id_of(forged) == id_of(key)
    assert forged != key
