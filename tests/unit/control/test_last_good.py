from __future__ import annotations

import json
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from apostille.control.last_good import LastGood, LastGoodStore, Unusable

NOW = datetime(2026, 11, 22, 12, 30, tzinfo=UTC)
TEXTS = {"b.yaml": "kind: Ä\r\n", "a/c.json": "{}"}


class StoppedClock:
    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return 0.0


@pytest.fixture
def store(tmp_path: Path) -> LastGoodStore:
    return LastGoodStore(tmp_path / "state", clock=StoppedClock())


def why(store: LastGoodStore) -> str:
    loaded = store.load()
    assert isinstance(loaded, Unusable)
    return str(loaded)


def test_what_was_saved_is_loaded_with_the_time_it_was_saved(store: LastGoodStore) -> None:
    assert store.load() is None
    assert store.save({"x": "older"}) is None
    assert store.save(TEXTS) is None
    assert store.load() == LastGood(texts=TEXTS, saved=NOW)


def test_it_is_for_its_owner_alone_and_nothing_is_left_beside_it(store: LastGoodStore) -> None:
    store.save(TEXTS)
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(store.path.parent.stat().st_mode) == 0o700
    assert list(store.path.parent.iterdir()) == [store.path]


def test_what_a_kill_in_the_middle_left_behind_is_overwritten(store: LastGoodStore) -> None:
    store.save(TEXTS)
    leftover = store.path.with_name(f".{store.path.name}")
    leftover.write_text("half a docu")
    leftover.chmod(0o644)
    assert store.load() == LastGood(texts=TEXTS, saved=NOW)
    assert store.save({"a": "b"}) is None
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert list(store.path.parent.iterdir()) == [store.path]


def test_a_copy_cut_off_anywhere_is_not_used(store: LastGoodStore) -> None:
    store.save(TEXTS)
    raw = store.path.read_bytes()
    for length in range(len(raw)):
        store.path.write_bytes(raw[:length])
        assert "damaged" in why(store)


def test_no_flipped_bit_changes_what_is_loaded(store: LastGoodStore) -> None:
    store.save(TEXTS)
    raw = store.path.read_bytes()
    unusable = 0
    for position in range(len(raw) * 8):
        damaged = bytearray(raw)
        damaged[position // 8] ^= 1 << position % 8
        store.path.write_bytes(damaged)
        loaded = store.load()
        # A few bits say nothing, such as the case of a hexadecimal escape.
        assert isinstance(loaded, Unusable) or loaded == LastGood(texts=TEXTS, saved=NOW)
        unusable += isinstance(loaded, Unusable)
    assert unusable > len(raw) * 8 * 0.95


def test_a_copy_of_a_later_version_is_named_as_such(store: LastGoodStore) -> None:
    store.save(TEXTS)
    document = json.loads(store.path.read_text())
    store.path.write_text(json.dumps({**document, "format": 2}))
    assert "has format 2; this version of Apostille reads format 1" in why(store)


@pytest.mark.parametrize("content", [b"", b"\xff", b"null", b"[]", b"{}", b'{"format": 1}', b"[" * 100_000])
def test_what_was_never_ours_is_not_used(store: LastGoodStore, content: bytes) -> None:
    store.save(TEXTS)
    store.path.write_bytes(content)
    assert str(store.path) in why(store)


def test_a_place_that_cannot_be_written_is_told_and_not_raised(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = LastGoodStore(tmp_path / "file", clock=StoppedClock())
    told = store.save(TEXTS)
    assert told is not None
    assert str(tmp_path / "file") in told
    assert "cannot be read" in why(store)


def test_its_texts_are_not_shown() -> None:
    assert "hunter2" not in repr(LastGood(texts={"a": "hunter2"}, saved=NOW))
