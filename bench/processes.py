"""Starting the programs that are measured. It must not know what they are measured for."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from apostille.base.clock import SystemClock
from apostille.base.errors import StartError
from apostille.demo.child import Child, run_listening_child
from apostille.proxy.binary import find_envoy
from apostille.proxy.process import EnvoyCommand, EnvoyProcess
from apostille.proxy.spawn import kill_session, spawn

START_SECONDS = 60.0
_POLL_SECONDS = 0.02


@asynccontextmanager
async def run_envoy(
    config: Mapping[str, object], folder: Path, *, workers: int
) -> AsyncIterator[tuple[EnvoyProcess, int]]:
    """An Envoy with this static configuration, and the port of its only listener. Its log is ``envoy.log``."""
    folder.mkdir(mode=0o700, exist_ok=True)
    admin = folder / "admin.sock"
    file = folder / "envoy.json"
    file.write_text(json.dumps({"admin": {"address": {"pipe": {"path": str(admin), "mode": 0o600}}}, **config}))
    command = EnvoyCommand(binary=find_envoy().path, config=file, admin_socket=admin, concurrency=workers)
    with (folder / "envoy.log").open("ab") as log, (folder / "access.log").open("ab") as out:
        envoy = await EnvoyProcess.start(command, clock=SystemClock(), stdout=out.fileno(), stderr=log.fileno())
    try:
        await envoy.wait_ready(START_SECONDS)
        ports = await envoy.listener_ports()
        yield envoy, next(iter(ports.values()))
    finally:
        await envoy.kill()


@asynccontextmanager
async def run_program(argv: Sequence[str], folder: Path, *, port: int) -> AsyncIterator[Process]:
    """A program that listens on `port` sooner or later; what it says is in ``NAME.log``."""
    name = Path(argv[0]).name
    log = folder / f"{name}.log"
    with log.open("ab") as words:
        process = await spawn(argv, env={"PATH": os.defpath}, stdout=words.fileno(), stderr=words.fileno())
    try:
        await _wait_open(process, port, log)
        yield process
    finally:
        kill_session(process)
        await process.wait()


@asynccontextmanager
async def run_listening(name: str, argv: Sequence[str], folder: Path) -> AsyncIterator[tuple[Child, int]]:
    """A program that chooses its own port and prints ``{"listening": PORT}``."""
    child, port = await run_listening_child(name, argv, log=folder / f"{name}.log")
    try:
        yield child, port
    finally:
        await child.stop()


def free_port() -> int:
    """A port that was free a moment ago, for programs that cannot choose one themselves."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


async def _wait_open(process: Process, port: int, log: Path) -> None:
    async with asyncio.timeout(START_SECONDS):
        while True:
            if process.returncode is not None:
                raise StartError(f"it ended with {process.returncode}; {log} says:\n{log.read_text()[-2000:]}")
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(_POLL_SECONDS)
                continue
            writer.close()
            await writer.wait_closed()
            return
