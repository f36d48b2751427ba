from __future__ import annotations

from bench.schedule import plan


def test_every_design_is_started_as_often_as_asked() -> None:
    visits = plan({"a": 3, "b": 1, "c": 2}, seed=7)
    assert sorted((visit.design, visit.start) for visit in visits) == [
        ("a", 0),
        ("a", 1),
        ("a", 2),
        ("b", 0),
        ("c", 0),
        ("c", 1),
    ]


def test_a_pass_ends_before_the_next_begins() -> None:
    assert [visit.start for visit in plan({"a": 2, "b": 2, "c": 2}, seed=7)] == [0, 0, 0, 1, 1, 1]


def test_a_seed_repeats_an_order_and_another_changes_it() -> None:
    starts = dict.fromkeys("abcdefghij", 2)
    assert plan(starts, seed=1) == plan(dict(reversed(starts.items())), seed=1)
    assert plan(starts, seed=1) != plan(starts, seed=2)


def test_the_order_differs_from_pass_to_pass() -> None:
    visits = plan(dict.fromkeys("abcdefghij", 2), seed=1)
    assert [visit.design for visit in visits[:10]] != [visit.design for visit in visits[10:]]


def test_nothing_to_start_is_no_plan() -> None:
    assert plan({}, seed=1) == ()
