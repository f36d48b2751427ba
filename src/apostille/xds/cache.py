"""Which snapshot each group of clients should hold now, and who wants to hear of the next.

It knows neither gRPC nor streams. All calls are made on one event loop; nothing here waits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from apostille.xds.snapshot import Snapshot

ENVOY_GROUP = "envoy"
AUTH_GROUP = "auth"


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A snapshot and its place in line: of one group, a later snapshot has a greater generation."""

    generation: int
    snapshot: Snapshot


class SnapshotCache:
    """Groups are named by the clients themselves, in ``node.cluster``."""

    def __init__(self) -> None:
        self._current: dict[str, Published] = {}
        self._listeners: list[Callable[[str, Published], None]] = []

    def set_snapshot(self, group: str, snapshot: Snapshot) -> Published:
        """Make it the group's current one. Equal content is no change and wakes nobody."""
        before = self._current.get(group)
        if before is not None and before.snapshot.version == snapshot.version:
            return before
        published = Published(generation=before.generation + 1 if before else 1, snapshot=snapshot)
        self._current[group] = published
        for listener in tuple(self._listeners):
            listener(group, published)
        return published

    def current(self, group: str) -> Published | None:
        """None as long as nothing was published: clients then wait, as they must not take "not yet" for "empty"."""
        return self._current.get(group)

    def listen(self, listener: Callable[[str, Published], None]) -> Callable[[], None]:
        """Call it at once with what is current, then at every change. Returns how to stop listening."""
        self._listeners.append(listener)
        for group, published in tuple(self._current.items()):
            listener(group, published)
        return lambda: self._listeners.remove(listener)
