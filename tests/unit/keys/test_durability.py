"""What the embedded store has answered outlives a kill, however much was being written."""

from __future__ import annotations

import asyncio

import pytest

from apostille.keys.connection import StoreConnection
from apostille.keys.errors import StoreUnavailable
from tests.unit.keys.valkey import Server

_WRITERS = 8
_LONG = "x" * 20_000


@pytest.mark.parametrize("run", range(3))
async def test_every_answered_change_is_there_after_a_kill(server: Server, run: int) -> None:
    connection = StoreConnection(server.embedded.address)
    answered = [0] * _WRITERS
    enough = asyncio.Event()

    async def write(number: int) -> None:
        try:
            while True:
                await connection.command("SET", f"apo:noise:{number}", _LONG)
                answered[number] = await connection.command("INCR", f"apo:count:{number}")
                if sum(answered) >= 400 * (run + 1):
                    enough.set()
        except StoreUnavailable:
            return

    writing = [asyncio.create_task(write(number)) for number in range(_WRITERS)]
    await enough.wait()
    server.kill()
    await asyncio.gather(*writing)
    server.start()
    again = StoreConnection(server.embedded.address)
    found = [int(await again.ask("GET", f"apo:count:{number}")) for number in range(_WRITERS)]
    await again.close()
    await connection.close()
    # One more of each writer may have been written and not answered.
    assert all(kept in (told, told + 1) for kept, told in zip(found, answered, strict=True)), (found, answered)
