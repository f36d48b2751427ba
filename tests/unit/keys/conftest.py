from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from apostille.keys.store import KeyStore
from tests.unit.credentials.stand_ins import FakeClock
from tests.unit.keys.valkey import Server, server_in


@pytest.fixture(scope="session")
def shared_server() -> Iterator[Server]:
    """One for each worker of the test run. Its tests make up new ids, so that none sees the keys of another."""
    with tempfile.TemporaryDirectory(prefix="ap-") as folder:
        server = server_in(Path(folder))
        server.start()
        yield server
        server.kill()


@pytest.fixture
async def store(shared_server: Server) -> AsyncIterator[KeyStore]:
    async with shared_server.opened() as store:
        yield store


@pytest.fixture
def server(socket_dir: Path) -> Iterator[Server]:
    """One of the test's own: empty, running, and to be killed at will."""
    server = server_in(socket_dir / "keys")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()
