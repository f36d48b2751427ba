"""A real xDS server on a Unix socket, for fake and real clients."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from apostille.xds.cache import ENVOY_GROUP, Published, SnapshotCache
from apostille.xds.feedback import Feedback, Nack
from apostille.xds.server import XdsServer
from apostille.xds.snapshot import build_snapshot
from tests.wire.client import AdsClient, connect


@dataclass(kw_only=True)
class ControlPlane:
    socket: Path
    cache: SnapshotCache
    feedback: Feedback
    server: XdsServer
    nacks: list[Nack] = field(default_factory=list)

    def publish(self, resources: Mapping[str, Mapping[str, bytes]], group: str = ENVOY_GROUP) -> Published:
        """Opaque resources: type URL, then name, then body."""
        raw = [(type_url, name, body) for type_url, named in resources.items() for name, body in named.items()]
        return self.cache.set_snapshot(group, build_snapshot(raw=raw))

    def connect(self, node: str = "one", group: str = ENVOY_GROUP) -> AbstractAsyncContextManager[AdsClient]:
        return connect(self.socket, group=group, node=node)


@pytest.fixture
async def control_plane(socket_dir: Path) -> AsyncIterator[ControlPlane]:
    """It waits for every answer."""
    async with _serve(socket_dir, patience=3600) as plane:
        yield plane


@pytest.fixture
async def hasty_plane(socket_dir: Path) -> AsyncIterator[ControlPlane]:
    """It hardly waits for clusters to get ready before it sends listeners."""
    async with _serve(socket_dir, patience=0.1) as plane:
        yield plane


@asynccontextmanager
async def _serve(socket_dir: Path, *, patience: float) -> AsyncIterator[ControlPlane]:
    cache, feedback = SnapshotCache(), Feedback()
    socket = socket_dir / "xds.sock"
    server = XdsServer(socket, cache, feedback, patience=patience)
    plane = ControlPlane(socket=socket, cache=cache, feedback=feedback, server=server)
    feedback.listen(nacked=plane.nacks.append)
    await server.start()
    yield plane
    await server.stop()
