from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from apostille.auth.codec import KEYRING_TYPE_URL, PROGRAM_TYPE_URL
from apostille.auth.feed import Feed
from apostille.xds.cache import AUTH_GROUP, SnapshotCache
from apostille.xds.feedback import Feedback, Outcome
from apostille.xds.server import XdsServer
from apostille.xds.snapshot import build_snapshot

DEADLINE = 20.0


@dataclass
class Sink:
    """Remembers what it holds and what was done to it; refuses the body ``bad`` as a sink should, ``worse`` as not."""

    programs: dict[str, bytes] = field(default_factory=dict)
    keyrings: dict[str, bytes] = field(default_factory=dict)
    upstreams: dict[str, bytes] = field(default_factory=dict)
    deeds: list[str] = field(default_factory=list)

    def put_program(self, name: str, body: bytes) -> None:
        self.deeds.append(f"+{name}")
        if body == b"bad":
            raise ValueError("no such step")
        if body == b"worse":
            raise KeyError("a secret")
        self.programs[name] = body

    def drop_program(self, name: str) -> None:
        self.deeds.append(f"-{name}")
        del self.programs[name]

    def put_keyring(self, name: str, body: bytes) -> None:
        self.deeds.append(f"+{name}")
        self.keyrings[name] = body

    def drop_keyring(self, name: str) -> None:
        self.deeds.append(f"-{name}")
        del self.keyrings[name]

    def put_upstream(self, name: str, body: bytes) -> None:
        self.deeds.append(f"+{name}")
        self.upstreams[name] = body

    def drop_upstream(self, name: str) -> None:
        self.deeds.append(f"-{name}")
        del self.upstreams[name]


class Plane:
    """A control plane that can go away and come back."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.cache, self.feedback = SnapshotCache(), Feedback()
        self.server: XdsServer | None = None

    async def start(self) -> None:
        self.server = XdsServer(self.socket, self.cache, self.feedback)
        await self.server.start()

    async def stop(self) -> None:
        if self.server is not None:
            await self.server.stop()
            self.server = None

    async def publish(
        self, *, programs: dict[str, bytes] | None = None, keyrings: dict[str, bytes] | None = None
    ) -> Outcome:
        """Publish and wait for the worker's answer."""
        raw = [(PROGRAM_TYPE_URL, name, body) for name, body in (programs or {}).items()]
        raw += [(KEYRING_TYPE_URL, name, body) for name, body in (keyrings or {}).items()]
        published = self.cache.set_snapshot(AUTH_GROUP, build_snapshot(raw=raw))
        return await self.feedback.wait_acked(AUTH_GROUP, published.snapshot.version, DEADLINE)


@pytest.fixture
async def plane(socket_dir: Path) -> AsyncIterator[Plane]:
    built = Plane(socket_dir / "xds.sock")
    yield built
    await built.stop()


async def at_once(_: float) -> None:
    await asyncio.sleep(0)


@asynccontextmanager
async def following(
    plane: Plane,
    sink: Sink,
    *,
    sleep: Callable[[float], Awaitable[None]] = at_once,
    jitter: Callable[[float, float], float] = lambda low, high: high,
) -> AsyncIterator[Feed]:
    feed = Feed(plane.socket, sink, node="worker-1", sleep=sleep, jitter=jitter)
    running = asyncio.create_task(feed.run())
    try:
        yield feed
    finally:
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


async def synced(feed: Feed) -> None:
    async with asyncio.timeout(DEADLINE):
        await feed.first_sync.wait()


async def test_what_is_published_is_put_and_what_is_deleted_is_dropped(plane: Plane) -> None:
    sink = Sink()
    await plane.start()
    async with following(plane, sink):
        assert (await plane.publish(programs={"p": b"1", "q": b"1"}, keyrings={"k": b"1"})).acked
        assert (sink.programs, sink.keyrings) == ({"p": b"1", "q": b"1"}, {"k": b"1"})
        assert (await plane.publish(programs={"p": b"2"}, keyrings={"k": b"2"})).acked
        assert (sink.programs, sink.keyrings) == ({"p": b"2"}, {"k": b"2"})
        outcome = await plane.publish()
        assert (outcome.acked, outcome.nodes) == (True, 1)
        assert (sink.programs, sink.keyrings) == ({}, {})
        assert plane.feedback.nodes(AUTH_GROUP)[0].node == "worker-1"


async def test_six_megabytes_are_not_too_much(plane: Plane) -> None:
    sink = Sink()
    await plane.start()
    async with following(plane, sink):
        assert (await plane.publish(programs={"big": bytes(6 * 1024 * 1024)})).acked
        assert len(sink.programs["big"]) == 6 * 1024 * 1024


async def test_key_rings_are_there_before_the_programs_that_use_them(plane: Plane) -> None:
    sink = Sink()
    await plane.start()
    async with following(plane, sink):
        await plane.publish(programs={"a-program": b"1"}, keyrings={"z-ring": b"1"})
        assert sink.deeds == ["+z-ring", "+a-program"]


async def test_an_empty_snapshot_is_a_first_sync_but_silence_is_none(plane: Plane) -> None:
    sink = Sink()
    await plane.start()
    connected = asyncio.Event()
    plane.feedback.listen(changed=lambda group: connected.set())
    async with following(plane, sink) as feed:
        async with asyncio.timeout(DEADLINE):
            await connected.wait()
        assert not feed.first_sync.is_set()
        await plane.publish()
        await synced(feed)
        assert sink.deeds == []


async def test_a_program_that_cannot_be_used_harms_no_other_and_is_reported(plane: Plane) -> None:
    sink = Sink()
    await plane.start()
    async with following(plane, sink) as feed:
        await plane.publish(programs={"b": b"1"})
        outcome = await plane.publish(programs={"a": b"1", "b": b"bad", "c": b"worse", "d": b"1"})
        await synced(feed)
        assert sink.programs == {"a": b"1", "b": b"1", "d": b"1"}
        assert outcome.complete
        assert [(nack.type_url, nack.names, nack.text) for nack in outcome.refusals] == [
            (PROGRAM_TYPE_URL, ("b",), "b: no such step"),
            (PROGRAM_TYPE_URL, ("c",), "c: KeyError"),
        ]
        assert [deed for deed in sink.deeds if deed in {"+a", "+d"}] == ["+a", "+d"]

        repaired = await plane.publish(programs={"a": b"1", "b": b"2", "c": b"2", "d": b"1"})
        assert repaired.acked
        assert sink.programs == {"a": b"1", "b": b"2", "c": b"2", "d": b"1"}


async def test_a_bad_program_does_not_keep_the_worker_from_its_first_sync(plane: Plane) -> None:
    sink = Sink()
    await plane.start()
    async with following(plane, sink) as feed:
        await plane.publish(programs={"a": b"bad"})
        await synced(feed)


async def test_programs_are_kept_without_the_control_plane_and_only_changes_come_on_return(plane: Plane) -> None:
    sink = Sink()
    await plane.start()
    lost = asyncio.Event()

    async def sleep(_: float) -> None:
        lost.set()
        await asyncio.sleep(0)

    async with following(plane, sink, sleep=sleep):
        await plane.publish(programs={"changed": b"1", "deleted": b"1", "same": b"1"}, keyrings={"k": b"1"})
        await plane.stop()
        async with asyncio.timeout(DEADLINE):
            await lost.wait()
        assert sink.programs == {"changed": b"1", "deleted": b"1", "same": b"1"}
        assert sink.keyrings == {"k": b"1"}

        sink.deeds.clear()
        plane.cache = SnapshotCache()
        await plane.start()
        assert (await plane.publish(programs={"changed": b"2", "same": b"1"}, keyrings={"k": b"1"})).acked
        assert sink.deeds == ["+changed", "-deleted"]


async def test_attempts_become_rarer_and_start_afresh_after_a_connection(plane: Plane) -> None:
    sink = Sink()
    limits = list[float]()
    enough = asyncio.Event()
    go_on = asyncio.Event()

    def jitter(low: float, high: float) -> float:
        assert low == 0
        limits.append(high)
        return high / 2

    async def sleep(seconds: float) -> None:
        assert seconds == limits[-1] / 2
        if len(limits) in {7, 8}:
            enough.set()
            await go_on.wait()

    async with following(plane, sink, sleep=sleep, jitter=jitter) as feed:
        async with asyncio.timeout(DEADLINE):
            await enough.wait()
        assert limits == [0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
        await plane.start()
        enough.clear()
        go_on.set()
        await plane.publish()
        await synced(feed)
        go_on.clear()
        await plane.stop()
        async with asyncio.timeout(DEADLINE):
            await enough.wait()
        assert limits[7:] == [0.2]
