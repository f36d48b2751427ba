"""The web server under the admin API: a Unix socket for ourselves, a port for people and probes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from apostille.admin.token import TOKEN, TOKEN_FILE
from apostille.base.errors import StartError


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the command's business; uvicorn would take them for itself."""
        yield


def parse_admin_address(text: str, *, has_token: bool) -> str:
    """The IP address to open the port on. Raises StartError where others could come in without a token."""
    try:
        address = ip_address(text)
    except ValueError:
        raise StartError(f"--admin-bind {text!r} is no IP address; write for example 127.0.0.1") from None
    if not address.is_loopback and not has_token:
        raise StartError(
            f"--admin-bind {text} lets other machines at the admin API, which creates API keys: set {TOKEN} or "
            f"{TOKEN_FILE} to a token of 32 characters or more, or leave --admin-bind out"
        )
    return str(address)


def open_admin_port(port: int, address: str = "127.0.0.1") -> socket.socket:
    """A listening socket; `port` of 0 lets the system choose. Raises StartError when it is taken."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    # With the protocol named asyncio sees that it is TCP, and lets no half answer wait for an acknowledgement.
    opened = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        opened.bind((address, port))
        # Who connects before it is served waits.
        opened.listen()
    except OSError as error:
        opened.close()
        raise StartError(
            f"the admin port {describe_address(address, port)} cannot be opened: {error.strerror}; "
            "choose another with --admin-port or --admin-bind"
        ) from error
    return opened


def describe_address(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def open_admin_socket(path: Path) -> socket.socket:
    """A listening Unix socket for our own user alone."""
    path.unlink(missing_ok=True)
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    opened.bind(str(path))
    path.chmod(0o600)
    return opened


async def serve_admin(app: ASGIApp, sockets: list[socket.socket], stop: asyncio.Event) -> None:
    """Serve until `stop` is set."""
    server = _Server(
        uvicorn.Config(
            app,
            log_config=None,
            # Nothing of a request is logged: a key may have got into a path by mistake.
            access_log=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=1,
            # The audit names who really connected, and not whom a header names.
            proxy_headers=False,
            server_header=False,
        )
    )
    serving = asyncio.create_task(server.serve(sockets))
    await stop.wait()
    server.should_exit = True
    await serving
