"""What every test gets: no network but loopback, short folders for sockets, the same examples on every run."""

from __future__ import annotations

import gc
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples everywhere and no deadline: a slow machine is no bug. HYPOTHESIS_PROFILE=explore looks further.
settings.register_profile("apostille", derandomize=True, deadline=None)
settings.register_profile("explore", max_examples=2000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "apostille"))


class ForeignConnectionError(AssertionError):
    """A test reached for the network."""


def refuse_foreign_connections(event: str, arguments: tuple[object, ...]) -> None:
    """An audit hook: sees every socket that Python code of this process connects, whichever library does it."""
    if event != "socket.connect":
        return
    sock, address = arguments
    if not isinstance(sock, socket.socket) or sock.family == socket.AF_UNIX or not isinstance(address, tuple):
        return
    host = str(address[0])
    try:
        local = host in {"localhost", ""} or ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        local = False
    if not local:
        raise ForeignConnectionError(f"a test may not connect to {host}: start what it needs on 127.0.0.1, port 0")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden files anew instead of comparing")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--update-golden") and os.environ.get("CI"):
        raise pytest.UsageError("golden files are not updated in CI: run make golden-update and commit the result")
    sys.addaudithook(refuse_foreign_connections)


@pytest.fixture(scope="module", autouse=True)
def _leaks_show_where_they_happen() -> Iterator[None]:
    """A socket or task left open is noticed when it is collected: that is to be in its own file, not in a neighbour."""
    yield
    gc.collect()


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether golden files are to be written anew."""
    return bool(request.config.getoption("--update-golden"))


@pytest.fixture
def socket_dir() -> Iterator[Path]:
    """A folder with a short path: a Unix socket's path ends at 107 bytes, and `tmp_path` takes most of them."""
    with tempfile.TemporaryDirectory(prefix="ap-") as folder:
        yield Path(folder)
