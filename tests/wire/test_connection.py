"""The socket and the streams: who may connect, and what happens when one side goes away."""

from __future__ import annotations

import asyncio
import logging
import socket as sockets
import stat
from pathlib import Path

import grpc
import pytest

from apostille.base.errors import StartError
from apostille.xds.cache import SnapshotCache
from apostille.xds.feedback import Feedback
from apostille.xds.server import XdsServer, serve_xds
from apostille.xds.snapshot import CLUSTER
from tests.wire.client import DEADLINE, connect, names
from tests.wire.conftest import ControlPlane


def build_server(socket: Path) -> XdsServer:
    return XdsServer(socket, SnapshotCache(), Feedback())


async def test_only_the_owner_may_use_the_socket(control_plane: ControlPlane) -> None:
    assert stat.S_IMODE(control_plane.socket.stat().st_mode) == 0o600


async def test_a_socket_that_nobody_listens_on_is_replaced(socket_dir: Path) -> None:
    path = socket_dir / "xds.sock"
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as left_behind:
        left_behind.bind(str(path))
    server = build_server(path)
    await server.start()
    await server.stop()
    assert not path.exists()


async def test_a_socket_in_use_is_left_alone(control_plane: ControlPlane) -> None:
    with pytest.raises(StartError, match="another process already listens on"):
        await build_server(control_plane.socket).start()
    control_plane.publish({CLUSTER: {"a": b"1"}})
    async with control_plane.connect() as client:
        await client.ask(CLUSTER)
        assert names(await client.take(CLUSTER)) == ["a"]


async def test_a_file_that_is_no_socket_is_left_alone(socket_dir: Path) -> None:
    path = socket_dir / "xds.sock"
    path.write_text("mine")
    with pytest.raises(StartError, match="is not a socket"):
        await build_server(path).start()
    assert path.read_text() == "mine"


async def test_a_path_too_long_for_the_kernel_and_a_missing_folder_are_named(socket_dir: Path) -> None:
    with pytest.raises(StartError, match="longer than 107 bytes"):
        await build_server(socket_dir / ("x" * 120)).start()
    with pytest.raises(StartError, match="does not exist"):
        await build_server(socket_dir / "none" / "xds.sock").start()


async def test_a_client_that_does_not_say_who_it_is_is_told_how_to(control_plane: ControlPlane) -> None:
    async with control_plane.connect(group="") as client:
        await client.ask(CLUSTER)
        assert await client.status() == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_client_that_hangs_up_is_forgotten_without_noise(
    control_plane: ControlPlane, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    gone = asyncio.Event()
    control_plane.publish({CLUSTER: {"a": b"1"}})
    control_plane.feedback.listen(changed=lambda group: None if control_plane.feedback.nodes(group) else gone.set())
    async with control_plane.connect() as client:
        await client.ask(CLUSTER)
        await client.take(CLUSTER)
        await client.hang_up()
        assert await client.status() == grpc.StatusCode.OK
    async with asyncio.timeout(DEADLINE):
        await gone.wait()

    gone.clear()
    async with control_plane.connect() as client:
        await client.ask(CLUSTER)
        await client.receive()
    async with asyncio.timeout(DEADLINE):
        await gone.wait()
    control_plane.publish({CLUSTER: {"a": b"2"}})
    assert caplog.records == []


async def test_a_cut_line_in_the_middle_of_a_large_response_is_no_error(
    control_plane: ControlPlane, caplog: pytest.LogCaptureFixture
) -> None:
    gone = asyncio.Event()
    control_plane.publish({CLUSTER: {"a": bytes(30 * 1024 * 1024)}})
    here = asyncio.Event()
    control_plane.feedback.listen(changed=lambda group: (here if control_plane.feedback.nodes(group) else gone).set())
    async with control_plane.connect() as client:
        await client.ask(CLUSTER)
        async with asyncio.timeout(DEADLINE):
            await here.wait()
    async with asyncio.timeout(DEADLINE):
        await gone.wait()
    assert caplog.records == []


async def test_stopping_ends_the_streams_in_order(socket_dir: Path) -> None:
    cache, feedback, stop = SnapshotCache(), Feedback(), asyncio.Event()
    connected = asyncio.Event()
    feedback.listen(changed=lambda group: connected.set())
    path = socket_dir / "xds.sock"
    serving = asyncio.create_task(serve_xds(path, cache, feedback, stop))
    async with connect(path) as client:
        # The server comes up while the client already knocks.
        await client.ask(CLUSTER)
        async with asyncio.timeout(DEADLINE):
            await connected.wait()
        stop.set()
        assert await client.status() == grpc.StatusCode.OK
    async with asyncio.timeout(DEADLINE):
        await serving
    assert not path.exists()
    assert feedback.nodes("envoy") == ()
