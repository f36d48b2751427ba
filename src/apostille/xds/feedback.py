"""What the connected clients made of what they were sent: who holds what, and who refused what with which words.

It must not know gRPC or how responses come about; a stream reports, listeners are told, nobody polls.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType

from apostille.xds.cache import Published

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Nack:
    """A client refused a resource.

    `names` holds the one resource that was sent alone and refused (none, if the response was empty). `text` is the
    client's own. `version` is the snapshot's.
    """

    group: str
    node: str
    type_url: str
    names: tuple[str, ...]
    version: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Acked:
    """The latest snapshot with which the client agrees for one type, resources it refused apart."""

    version: str
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReport:
    """One connected client: `acked` has every type it subscribes to (None: nothing agreed yet), `refusals` what it
    refuses of the current snapshot."""

    stream: int
    group: str
    node: str
    acked: Mapping[str, Acked | None] = field(default_factory=lambda: MappingProxyType({}))
    refusals: tuple[Nack, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a snapshot fared. `complete`: every client of the group gave its answer in time, be it yes or no."""

    complete: bool
    nodes: int
    refusals: tuple[Nack, ...]

    @property
    def acked(self) -> bool:
        return self.complete and not self.refusals


class Feedback:
    def __init__(self) -> None:
        self._reports: dict[int, NodeReport] = {}
        self._published: dict[str, dict[str, Published]] = {}
        self._bells: set[asyncio.Event] = set()
        self._on_change: list[Callable[[str], None]] = []
        self._on_nack: list[Callable[[Nack], None]] = []

    def nodes(self, group: str) -> tuple[NodeReport, ...]:
        """The connected clients of a group, in the order they came."""
        return tuple(report for report in self._reports.values() if report.group == group)

    def refusals(self, group: str) -> tuple[Nack, ...]:
        """What connected clients refuse of the current snapshot."""
        return tuple(nack for report in self.nodes(group) for nack in report.refusals)

    def listen(
        self, *, changed: Callable[[str], None] | None = None, nacked: Callable[[Nack], None] | None = None
    ) -> Callable[[], None]:
        """`changed(group)`: look at `nodes(group)` again. `nacked(nack)`: once for each NACK. Returns how to stop."""
        if changed is not None:
            self._on_change.append(changed)
        if nacked is not None:
            self._on_nack.append(nacked)

        def stop() -> None:
            if changed is not None:
                self._on_change.remove(changed)
            if nacked is not None:
                self._on_nack.remove(nacked)

        return stop

    async def wait_acked(
        self,
        group: str,
        snapshot_version: str,
        timeout: float,
        *,
        minimum_nodes: int = 1,
    ) -> Outcome:
        """Wait until every connected client of the group has answered for this snapshot, or for a later one.

        A client has answered when it agrees for every type it subscribes to and subscribes to every type the snapshot
        has; one that refused something need not subscribe to what depends on it. `timeout` is in seconds; when it has
        passed, or fewer than `minimum_nodes` are connected by then, the outcome is not complete. With
        `minimum_nodes=0` and nobody connected the answer comes at once.
        """
        bell = asyncio.Event()
        self._bells.add(bell)
        complete = True
        try:
            async with asyncio.timeout(timeout):
                while not self._answered(group, snapshot_version, minimum_nodes):
                    bell.clear()
                    await bell.wait()
        except TimeoutError:
            complete = False
        finally:
            self._bells.discard(bell)
        return Outcome(complete=complete, nodes=len(self.nodes(group)), refusals=self.refusals(group))

    def published(self, group: str, published: Published) -> None:
        """Told by the cache: a snapshot that was superseded before anybody saw it still has its place in line."""
        known = self._published.setdefault(group, {})
        known.pop(published.snapshot.version, None)
        known[published.snapshot.version] = published
        while len(known) > _REMEMBERED:
            del known[next(iter(known))]

    def update(self, report: NodeReport) -> None:
        """Told by a stream, whenever its client's state may have changed."""
        if self._reports.get(report.stream) == report:
            return
        self._reports[report.stream] = report
        self._tell_change(report.group)

    def forget(self, stream: int) -> None:
        """Told by a stream that has ended."""
        report = self._reports.pop(stream, None)
        if report is not None:
            self._tell_change(report.group)

    def nack(self, nack: Nack) -> None:
        """Told by a stream, once for each NACK."""
        for listener in tuple(self._on_nack):
            with _spared():
                listener(nack)

    def _answered(self, group: str, version: str, minimum_nodes: int) -> bool:
        published = self._published.get(group, {}).get(version)
        nodes = self.nodes(group)
        if len(nodes) < minimum_nodes:
            return False
        if not nodes:
            return True
        return published is not None and all(_has_answered(report, published) for report in nodes)

    def _tell_change(self, group: str) -> None:
        for bell in self._bells:
            bell.set()
        for listener in tuple(self._on_change):
            with _spared():
                listener(group)


# Far more than can be in doubt at a time; it only keeps the list from growing for ever.
_REMEMBERED = 64


def _has_answered(report: NodeReport, published: Published) -> bool:
    if not all(acked is not None and acked.generation >= published.generation for acked in report.acked.values()):
        return False
    if report.refusals:
        return bool(report.acked)
    return bool(report.acked) and published.snapshot.resources.keys() <= report.acked.keys()


@contextmanager
def _spared() -> Iterator[None]:
    """A listener's mistake is not the stream's: it must not end the delivery of configuration."""
    try:
        yield
    except Exception:  # noqa: BLE001 (whatever it is)
        _log.exception("a listener of the xDS feedback failed")
