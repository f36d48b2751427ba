"""The web server under the admin pages: one Unix socket for ourselves, one loopback port for people and probes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from apostille.base.errors import StartError


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the command's business; uvicorn would take them for itself."""
        yield


def open_admin_port(port: int) -> socket.socket:
    """A listening socket on 127.0.0.1; `port` of 0 lets the system choose. Raises StartError when it is taken."""
    opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        opened.bind(("127.0.0.1", port))
    except OSError as error:
        opened.close()
        raise StartError(
            f"the admin port 127.0.0.1:{port} cannot be opened: {error.strerror}; choose another with --admin-port"
        ) from error
    return opened


def open_admin_socket(path: Path) -> socket.socket:
    """A listening Unix socket for our own user alone."""
    path.unlink(missing_ok=True)
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    opened.bind(str(path))
    path.chmod(0o600)
    return opened


async def serve_admin(app: Starlette, sockets: list[socket.socket], stop: asyncio.Event) -> None:
    """Serve until `stop` is set."""
    server = _Server(
        uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1)
    )
    serving = asyncio.create_task(server.serve(sockets))
    await stop.wait()
    server.should_exit = True
    await serving
