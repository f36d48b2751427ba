from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from apostille.base.collector import collector_paused, relax_collector


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    threshold = gc.get_threshold()
    yield
    gc.set_threshold(*threshold)
    gc.enable()


def test_the_collector_is_on_again_afterwards_whatever_happens() -> None:
    with collector_paused():
        assert not gc.isenabled()
        with collector_paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ValueError, match="broken"), collector_paused():
        raise ValueError("broken")
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    with collector_paused():
        pass
    assert not gc.isenabled()


def test_a_relaxed_collector_looks_at_what_is_new_as_often_as_before() -> None:
    young, middle, _ = gc.get_threshold()
    relax_collector()
    assert gc.get_threshold()[:2] == (young, middle)
    assert gc.get_threshold()[2] >= 100
