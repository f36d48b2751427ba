"""The loop with its real parts and a real Envoy as the judge; only the connected clients are stand-ins."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import structlog
from prometheus_client import CollectorRegistry

from apostille.base.clock import SystemClock
from apostille.base.errors import StartError
from apostille.control.app import compile_judging
from apostille.control.last_good import LastGood, LastGoodStore
from apostille.control.metrics import ControlMetrics
from apostille.control.plane import ControlPlane
from apostille.control.publish import Published, Publisher
from apostille.model.gateway import Gateway
from apostille.sources.contract import Source
from apostille.sources.files import FilesSource
from apostille.sources.memory import MemorySource
from apostille.status.report import Approval
from apostille.xds.cache import ENVOY_GROUP
from apostille.xds.site import Site
from tests.unit.control.nodes import Nodes

NOT_YAML = "kind: [RouteTable\n"
GATEWAY = """apiVersion: networking.gloo.solo.io/v2
kind: VirtualGateway
metadata: {name: ingress, namespace: apps}
spec: {listeners: [{port: {number: 8080}, http: {}}]}
"""


def table(body: str, name: str = "hello") -> str:
    return f"""apiVersion: networking.gloo.solo.io/v2
kind: RouteTable
metadata: {{name: {name}, namespace: apps}}
spec:
  hosts: [{name}.example.com]
  virtualGateways: [{{name: ingress}}]
  http: [{{name: answer, directResponse: {{status: 200, body: {body}}}}}]
"""


@dataclass
class World:
    state: Path
    nodes: Nodes = field(default_factory=Nodes)
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    @property
    def last_good(self) -> LastGoodStore:
        return LastGoodStore(self.state, clock=SystemClock())

    def plane(self, source: Source | Mapping[str, str], publisher: Publisher | None = None) -> ControlPlane:
        # A new process, a new registry.
        self.registry = CollectorRegistry()
        return ControlPlane(
            source=MemorySource(source) if isinstance(source, Mapping) else source,
            judging=compile_judging(address="127.0.0.1", ports={}, envoy=None),
            publisher=publisher or Publisher(self.nodes.cache, self.nodes.feedback, SystemClock()),
            last_good=self.last_good,
            metrics=ControlMetrics(self.registry),
            clock=SystemClock(),
            log=structlog.get_logger(),
        )

    def saved(self) -> Mapping[str, str] | None:
        copy = self.last_good.load()
        return copy.texts if isinstance(copy, LastGood) else None

    def served(self) -> bytes:
        """Everything Envoy was given, in one."""
        current = self.nodes.cache.current(ENVOY_GROUP)
        assert current is not None
        return b"".join(each.body for named in current.snapshot.resources.values() for each in named.values())


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(state=tmp_path / "state")


async def test_a_start_publishes_and_keeps_a_copy(world: World) -> None:
    files = {"gateway.yaml": GATEWAY, "table.yaml": table("first")}
    plane = world.plane(files)
    await plane.start()
    assert (plane.state.generation, plane.state.acknowledged, plane.state.degraded) == (1, True, None)
    assert [status.approval for status in plane.state.report.statuses] == [Approval.ACCEPTED, Approval.ACCEPTED]
    assert b"first" in world.served()
    assert world.saved() == files


async def test_a_start_with_unreadable_files_and_no_copy_tells_all_of_them(world: World) -> None:
    plane = world.plane({"a.yaml": NOT_YAML, "b.yaml": GATEWAY, "c.yaml": "kind: {\n"})
    with pytest.raises(StartError) as raised:
        await plane.start()
    assert "a.yaml:" in str(raised.value)
    assert "c.yaml:" in str(raised.value)
    assert world.nodes.seen == []
    assert plane.state.generation == 0


async def test_a_start_without_the_folder_and_without_a_copy_is_refused(world: World, tmp_path: Path) -> None:
    with pytest.raises(StartError, match="there is no last good copy"):
        await world.plane(FilesSource(tmp_path / "gone")).start()


async def test_a_start_with_an_unreadable_file_serves_the_copy_and_says_so(world: World) -> None:
    await world.plane({"gateway.yaml": GATEWAY, "table.yaml": table("first")}).start()
    plane = world.plane({"gateway.yaml": GATEWAY, "table.yaml": NOT_YAML})
    await plane.start()
    assert b"first" in world.served()
    assert plane.state.degraded == "table.yaml cannot be read; served as last read"
    assert world.saved() == {"gateway.yaml": GATEWAY, "table.yaml": table("first")}


async def test_a_start_with_an_emptied_folder_serves_the_copy(world: World) -> None:
    await world.plane({"gateway.yaml": GATEWAY, "table.yaml": table("first")}).start()
    plane = world.plane({})
    await plane.start()
    assert b"first" in world.served()
    assert plane.state.degraded is not None


async def test_a_damaged_copy_is_left_aside(world: World) -> None:
    await world.plane({"gateway.yaml": GATEWAY}).start()
    world.last_good.path.write_text("{")
    with structlog.testing.capture_logs() as logs:
        plane = world.plane({"gateway.yaml": GATEWAY, "table.yaml": table("second")})
        await plane.start()
    assert b"second" in world.served()
    assert [each["event"] for each in logs if each["log_level"] == "warning"] == ["last_good.ignored"]
    assert world.saved() == {"gateway.yaml": GATEWAY, "table.yaml": table("second")}


async def test_a_file_that_breaks_and_is_mended_never_takes_its_routes_down(world: World) -> None:
    source = MemorySource({"gateway.yaml": GATEWAY, "table.yaml": table("first")})
    plane = world.plane(source)
    await plane.start()
    version = plane.state.version

    source.put({"gateway.yaml": GATEWAY, "table.yaml": NOT_YAML})
    broken = await plane.apply(source.read())
    assert (broken.generation, broken.version) == (2, version)
    assert broken.degraded == "table.yaml cannot be read; served as last read"
    assert broken.report.has_errors

    source.put({"gateway.yaml": GATEWAY, "table.yaml": table("second")})
    mended = await plane.apply(source.read())
    assert (mended.generation, mended.degraded, mended.report.has_errors) == (3, None, False)
    assert b"second" in world.served()


async def test_a_bad_resource_is_told_and_its_neighbour_is_served(world: World) -> None:
    bad = table("bad", name="bad").replace("status: 200", "status: 7")
    plane = world.plane({"gateway.yaml": GATEWAY, "bad.yaml": bad, "good.yaml": table("good", name="good")})
    await plane.start()
    approvals = {status.ref.name: status.approval for status in plane.state.report.statuses}
    assert approvals == {"bad": Approval.INVALID, "good": Approval.ACCEPTED, "ingress": Approval.ACCEPTED}
    assert b"good.example.com" in world.served()
    assert world.registry.get_sample_value("apostille_control_findings", {"severity": "error"}) == 1


async def test_what_envoy_refuses_is_told_and_no_good_copy(world: World) -> None:
    world.nodes.connect(ENVOY_GROUP)
    world.nodes.refuses[ENVOY_GROUP] = "cannot bind: Address already in use"
    plane = world.plane({"gateway.yaml": GATEWAY})
    await plane.start()
    [status] = plane.state.report.statuses
    assert (status.approval, plane.state.acknowledged) == (Approval.FAILED, False)
    assert "Address already in use" in status.findings[0].problem.message
    assert world.saved() is None


async def test_apply_needs_a_start(world: World) -> None:
    with pytest.raises(RuntimeError, match="start comes first"):
        await world.plane({}).apply(MemorySource({}).read())


async def test_the_loop_follows_the_source_until_it_is_stopped(world: World) -> None:
    source = MemorySource({"gateway.yaml": GATEWAY, "table.yaml": table("first")})
    plane = world.plane(source)
    await plane.start()
    stop, changed = asyncio.Event(), asyncio.Event()
    world.nodes.cache.listen(lambda *_: changed.set())
    changed.clear()
    loop = asyncio.create_task(plane.run(stop))
    source.put({"gateway.yaml": GATEWAY, "table.yaml": table("second")})
    await changed.wait()
    stop.set()
    await loop
    assert b"second" in world.served()
    assert plane.state.generation == 2


class FailingOnce(Publisher):
    """Fails the second time; `failed` is set then."""

    def __init__(self, nodes: Nodes) -> None:
        super().__init__(nodes.cache, nodes.feedback, SystemClock())
        self.failed = asyncio.Event()
        self._count = 0

    async def publish(self, gateway: Gateway, site: Site) -> Published:
        self._count += 1
        if self._count == 2:
            self.failed.set()
            raise ValueError("a bug of ours")
        return await super().publish(gateway, site)


async def test_a_failure_of_ours_is_counted_and_the_loop_goes_on(world: World) -> None:
    source, publisher = MemorySource({"gateway.yaml": GATEWAY}), FailingOnce(world.nodes)
    plane = world.plane(source, publisher)
    await plane.start()
    stop, changed = asyncio.Event(), asyncio.Event()
    world.nodes.cache.listen(lambda *_: changed.set())
    changed.clear()
    with structlog.testing.capture_logs() as logs:
        loop = asyncio.create_task(plane.run(stop))
        source.put({"gateway.yaml": GATEWAY, "table.yaml": table("second")})
        await publisher.failed.wait()
        assert plane.state.generation == 1
        source.put({"gateway.yaml": GATEWAY, "table.yaml": table("third")})
        await changed.wait()
        stop.set()
        await loop
    assert b"third" in world.served()
    assert "configuration.failed" in [each["event"] for each in logs]
    assert world.registry.get_sample_value("apostille_control_failures_total") == 1
