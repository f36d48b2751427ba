from __future__ import annotations

import pytest

from bench.figures import Placement, Round, Sandwich, spread, summarise


def make_round(cpu_us: float, *, rate: int = 1000, others: float = 0.0, load_share: float = 0.5) -> Round:
    return Round(
        requests=rate,
        failed=0,
        seconds=1.0,
        cpu_ns=int(cpu_us * 1000 * rate),
        others=others,
        load_share=load_share,
        p50=0.001,
        p99=0.002,
    )


def make_sandwich(
    start: int,
    cpu_us: float,
    *,
    bare: tuple[float, float] = (40, 40),
    rate: int = 1000,
    others: float = 0.0,
    load_share: float = 0.5,
    placement: Placement = "pinned",
) -> Sandwich:
    return Sandwich(
        start=start,
        placement=placement,
        before=make_round(bare[0]),
        middle=make_round(cpu_us, rate=rate, others=others, load_share=load_share),
        after=make_round(bare[1]),
    )


def test_a_ratio_is_over_the_mean_of_both_neighbours() -> None:
    assert make_sandwich(0, 90, bare=(40, 80)).cpu_ratio == pytest.approx(1.5)


def test_throughput_is_compared_with_the_neighbours_too() -> None:
    assert make_sandwich(0, 90, rate=500).rate_ratio == pytest.approx(0.5)


def test_failed_requests_are_no_throughput() -> None:
    one = Round(requests=10, failed=4, seconds=2, cpu_ns=1, others=0, load_share=0, p50=0, p99=0)
    assert one.rate == 3


@pytest.mark.parametrize(
    ("values", "low", "median", "high"),
    [([5.0], 5, 5, 5), ([1.0, 2.0, 3.0, 4.0, 5.0], 2, 3, 4), ([4.0, 1.0], 1.75, 2.5, 3.25)],
)
def test_quartiles(values: list[float], low: float, median: float, high: float) -> None:
    found = spread(values)
    assert (found.low, found.median, found.high, found.count) == (low, median, high, len(values))


def test_nothing_has_no_median() -> None:
    with pytest.raises(ValueError, match="no values"):
        spread([])


def test_many_rounds_of_one_start_are_one_value() -> None:
    lucky = [make_sandwich(0, 40) for _ in range(9)]
    found = summarise([*lucky, make_sandwich(1, 80), make_sandwich(2, 80)])
    assert found is not None
    assert (found.starts, found.cpu_ratio.median) == (3, 2.0)


def test_noisy_rounds_are_left_out_where_enough_quiet_ones_remain() -> None:
    found = summarise([*(make_sandwich(start, 40) for start in range(3)), make_sandwich(3, 400, others=0.5)])
    assert found is not None
    assert (found.quiet, found.starts, found.cpu_ratio.high) == (True, 3, 1.0)


def test_with_too_few_quiet_rounds_all_count_and_it_is_said() -> None:
    found = summarise([make_sandwich(0, 40), make_sandwich(1, 80, others=0.5)])
    assert found is not None
    assert (found.quiet, found.starts, found.cpu_ratio.median) == (False, 2, 1.5)


def test_a_full_generator_bounds_what_was_seen() -> None:
    found = summarise([make_sandwich(0, 14, load_share=0.99)])
    assert found is not None
    assert found.load_bound


def test_no_rounds_have_no_summary() -> None:
    assert summarise([]) is None
