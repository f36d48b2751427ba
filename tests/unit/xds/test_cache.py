from __future__ import annotations

from apostille.xds.cache import Published, SnapshotCache
from apostille.xds.snapshot import build_snapshot

ONE = build_snapshot(raw=[("t", "a", b"1")])
TWO = build_snapshot(raw=[("t", "a", b"2")])


def test_nothing_is_current_before_the_first_snapshot() -> None:
    cache = SnapshotCache()
    assert cache.current("envoy") is None
    cache.set_snapshot("envoy", ONE)
    assert cache.current("envoy") == Published(generation=1, snapshot=ONE)
    assert cache.current("auth") is None


def test_generations_grow_even_when_content_comes_back() -> None:
    cache = SnapshotCache()
    assert [cache.set_snapshot("envoy", each).generation for each in (ONE, TWO, ONE)] == [1, 2, 3]


def test_equal_content_wakes_nobody() -> None:
    cache, heard = SnapshotCache(), list[tuple[str, int]]()
    cache.listen(lambda group, published: heard.append((group, published.generation)))
    cache.set_snapshot("envoy", ONE)
    again = cache.set_snapshot("envoy", build_snapshot(raw=[("t", "a", b"1")]))
    assert again.generation == 1
    assert heard == [("envoy", 1)]


def test_a_listener_hears_what_is_current_and_what_comes_until_it_stops() -> None:
    cache, heard = SnapshotCache(), list[tuple[str, int]]()
    cache.set_snapshot("auth", ONE)
    stop = cache.listen(lambda group, published: heard.append((group, published.generation)))
    cache.set_snapshot("envoy", ONE)
    cache.set_snapshot("auth", TWO)
    stop()
    cache.set_snapshot("envoy", TWO)
    assert heard == [("auth", 1), ("envoy", 1), ("auth", 2)]
