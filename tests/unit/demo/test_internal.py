from __future__ import annotations

import asyncio
import os
import select
from pathlib import Path

import aiohttp
import pytest

from apostille.demo.internal import start_internal


async def test_httpbin_answers_on_a_port_of_its_own(tmp_path: Path) -> None:
    internal = await start_internal(tmp_path)
    try:
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"http://127.0.0.1:{internal.port}/headers", headers={"X-Seen": "yes"}) as answer,
        ):
            assert answer.status == 200
            assert (await answer.json())["headers"]["X-Seen"] == "yes"
    finally:
        await internal.stop()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", internal.port)


async def test_httpbin_leaves_no_process_behind(tmp_path: Path) -> None:
    internal = await start_internal(tmp_path)
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"http://127.0.0.1:{internal.port}/get") as answer,
    ):
        assert answer.status == 200
    pids = Path(f"/proc/{internal.child.pid}/task/{internal.child.pid}/children").read_text().split()
    assert pids
    handles = [os.pidfd_open(int(pid)) for pid in pids]
    await internal.stop()
    try:
        assert sorted(select.select(handles, [], [], 10)[0]) == sorted(handles)
    finally:
        for handle in handles:
            os.close(handle)
