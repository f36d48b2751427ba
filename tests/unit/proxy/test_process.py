from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Self

import aiohttp
import pytest

from apostille.base.clock import SystemClock
from apostille.base.errors import StartError
from apostille.proxy.admin import AdminError, EnvoyAdmin
from apostille.proxy.binary import EnvoyBinary
from apostille.proxy.process import EnvoyCommand, EnvoyProcess, validate


class Upstream:
    """Holds every request until the gate opens."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._gate = asyncio.Event()
        self._arrived = asyncio.Semaphore(0)
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._answer, self._socket)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self._gate.set()
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)

    async def arrived(self, count: int) -> None:
        for _ in range(count):
            await self._arrived.acquire()

    def open(self) -> None:
        self._gate.set()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                self._arrived.release()
                await self._gate.wait()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


async def test_a_listener_on_port_0_tells_its_port(running: EnvoyProcess) -> None:
    port = (await running.listener_ports())["web"]
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/direct") as answer:
        assert (answer.status, await answer.text()) == (200, "direct")


async def test_stats_are_told_by_pattern_and_in_prometheus_format(running: EnvoyProcess) -> None:
    assert await running.stats(r"^server\.live$") == {"server.live": 1}
    assert "envoy_server_live{} 1" in await running.admin.prometheus()


async def test_a_drain_loses_no_request_in_flight(running: EnvoyProcess, socket_dir: Path) -> None:
    port = (await running.listener_ports())["web"]
    url = f"http://127.0.0.1:{port}/slow"
    connector = aiohttp.TCPConnector(limit=0)
    async with (
        Upstream(socket_dir / "upstream.sock") as upstream,
        aiohttp.ClientSession(connector=connector) as session,
    ):

        async def ask() -> tuple[int, str, str | None]:
            async with session.get(url) as answer:
                return answer.status, await answer.text(), answer.headers.get("connection")

        requests = [asyncio.create_task(ask()) for _ in range(50)]
        await upstream.arrived(50)
        stop = asyncio.create_task(running.drain_and_stop(30))
        # The listener has closed (its drain time is one second), and the requests are still under way.
        while await listener_is_open(port):
            pass
        assert not stop.done()
        assert not any(request.done() for request in requests)
        upstream.open()
        assert await asyncio.gather(*requests) == [(200, "done", "close")] * 50
        assert await stop
    assert await running.wait() == 0


async def listener_is_open(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


async def test_a_drain_under_load_fails_no_request_on_an_open_connection(running: EnvoyProcess) -> None:
    port = (await running.listener_ports())["web"]
    request = b"GET /direct HTTP/1.1\r\nhost: x\r\n\r\n"
    connected = asyncio.Semaphore(0)

    async def client() -> tuple[int, str]:
        """Asks on one connection until it is told to close it; what happened last tells whether something was cut."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        answers = 0
        try:
            while True:
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(len("direct"))
                answers += 1
                if answers == 1:
                    connected.release()
                if b"connection: close" in head:
                    return answers, "told to close"
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            return answers, f"cut: {error!r}"
        finally:
            writer.close()

    clients = [asyncio.create_task(client()) for _ in range(20)]
    for _ in clients:
        await connected.acquire()
    assert await running.drain_and_stop(30)
    ends = await asyncio.gather(*clients)
    assert {end for _, end in ends} == {"told to close"}


async def test_idle_connections_do_not_hold_a_drain_longer_than_the_drain_time(running: EnvoyProcess) -> None:
    port = (await running.listener_ports())["web"]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /direct HTTP/1.1\r\nhost: x\r\n\r\n")
    await reader.readuntil(b"direct")
    clock = SystemClock()
    started = clock.monotonic()
    assert await running.drain_and_stop(60)
    # One second of drain time; far from the limit of the call.
    assert clock.monotonic() - started < 30
    writer.close()


async def test_a_request_that_outlasts_the_limit_is_cut_and_the_answer_says_so(
    running: EnvoyProcess, socket_dir: Path
) -> None:
    port = (await running.listener_ports())["web"]
    async with Upstream(socket_dir / "upstream.sock") as upstream, aiohttp.ClientSession() as session:
        request = asyncio.create_task(session.get(f"http://127.0.0.1:{port}/slow").__aenter__())
        await upstream.arrived(1)
        assert not await running.drain_and_stop(0.2)
        with pytest.raises(aiohttp.ClientError):
            await request


async def test_a_kill_leaves_no_shared_memory(envoy: EnvoyBinary, socket_dir: Path) -> None:
    (socket_dir / "envoy.json").write_text(
        json.dumps({"admin": {"address": {"pipe": {"path": f"{socket_dir}/admin.sock"}}}})
    )
    command = EnvoyCommand(binary=envoy.path, config=socket_dir / "envoy.json", admin_socket=socket_dir / "admin.sock")
    process = await EnvoyProcess.start(command, clock=SystemClock())
    await process.wait_ready()
    mapped = Path(f"/proc/{process.pid}/maps").read_text()
    open_files = {str(link.readlink()) for link in Path(f"/proc/{process.pid}/fd").iterdir()}
    await process.kill()
    assert "envoy_shared_memory" not in mapped
    assert not any("envoy_shared_memory" in name for name in open_files)


async def test_an_envoy_that_cannot_start_is_an_error_and_not_a_wait(envoy: EnvoyBinary, socket_dir: Path) -> None:
    (socket_dir / "envoy.json").write_text('{"no such field": 1}')
    command = EnvoyCommand(binary=envoy.path, config=socket_dir / "envoy.json", admin_socket=socket_dir / "admin.sock")
    process = await EnvoyProcess.start(command, clock=SystemClock())
    with pytest.raises(StartError, match="ended with 1 before it was ready"):
        await process.wait_ready(20)


async def test_an_admin_interface_that_is_not_there_is_named(socket_dir: Path) -> None:
    admin = EnvoyAdmin(socket_dir / "none.sock", clock=SystemClock())
    assert not await admin.ready()
    assert not await admin.drain(1)
    with pytest.raises(AdminError, match=r"none\.sock"):
        await admin.listener_ports()


async def test_validation_takes_what_envoy_takes_and_leaves_no_file(
    envoy: EnvoyBinary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert await validate(json.dumps({"node": {"id": "x"}}), envoy.path) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ('{"node": {"hunter": 1}}', "no such field: 'hunter'"),
        ('{"node": {"id": "hunter2"}', "Unable to parse JSON as proto"),
        (
            '{"node": {"id": "hunter2"}, "static_resources": {"clusters": [{"name": ""}]}}',
            "ClusterValidationError.Name: value length must be at least 1 characters",
        ),
    ],
)
async def test_validation_gives_envoys_reason_and_not_the_configuration(
    envoy: EnvoyBinary, config: str, words: str
) -> None:
    refusal = await validate(config, envoy.path)
    assert refusal is not None
    assert words in refusal
    assert "hunter2" not in refusal
    assert ".json" not in refusal
    assert "critical" not in refusal


async def test_no_judgement_in_time_is_a_refusal(envoy: EnvoyBinary) -> None:
    assert await validate("{}", envoy.path, limit=0) == "Envoy did not judge the configuration within 0 s"
