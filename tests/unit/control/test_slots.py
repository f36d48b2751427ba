from __future__ import annotations

import stat
from pathlib import Path

import pytest

from apostille.control.slots import FILE, REST, SlotBook
from tests.unit.credentials.stand_ins import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_a_slot_that_was_given_up_rests_before_another_ring_gets_it(tmp_path: Path, clock: FakeClock) -> None:
    book = SlotBook(tmp_path, clock)
    assert book.assign(["one"]) == {"one": 0}
    # The routes of the first ring may still be Envoy's: its door must not open for the keys of the second.
    assert book.assign(["two"]) == {"two": 1}
    clock.advance(REST - 1)
    assert book.assign(["two", "three"]) == {"two": 1, "three": 2}
    clock.advance(1)
    assert book.assign(["two", "three", "four"]) == {"two": 1, "three": 2, "four": 0}


def test_the_next_control_plane_gives_every_ring_the_same_slot(tmp_path: Path, clock: FakeClock) -> None:
    first = SlotBook(tmp_path, clock)
    first.assign(["one", "two"])
    first.assign(["two"])
    assert SlotBook(tmp_path, clock).assign(["new", "two"])["two"] == 1
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"one": 99}', '{"one": -1}', '{"one": true}', '{"one": "0"}', '{"one": 1, "two": 1}']
)
def test_a_file_that_makes_no_sense_is_forgotten(tmp_path: Path, clock: FakeClock, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    assert SlotBook(tmp_path, clock).assign(["one"]) == {"one": 0}


def test_without_a_folder_nothing_is_kept(clock: FakeClock) -> None:
    assert SlotBook(None, clock).assign(["one"]) == {"one": 0}


def test_a_folder_that_cannot_be_written_costs_only_the_memory(tmp_path: Path, clock: FakeClock) -> None:
    gone = tmp_path / "gone"
    assert SlotBook(gone, clock).assign(["one"]) == {"one": 0}
    assert not gone.exists()
