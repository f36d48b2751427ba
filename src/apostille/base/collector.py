"""Python's garbage collector, held back where it would only look for what is not there."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

# So many collections of the middle generation come before one of everything; Python's own number is 10.
_OLD = 1000


def relax_collector() -> None:
    """For a process that holds much and changes little of it: Python would look through all of it with every few
    changes, and stand still for a third of a second with 10,000 routes. What is new is looked at as often as before.
    """
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, _OLD)


@contextmanager
def collector_paused() -> Iterator[None]:
    """For work that builds much and drops little, such as reading 10,000 routes: the collector would go through all
    of it again and again, and take two fifths of the time. What has no cycles is freed at once all the same."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
