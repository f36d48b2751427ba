"""One connection to a gateway that stays open, and the status of one request after another."""

from __future__ import annotations

import asyncio
import re
from typing import Self

from bench.design import KEY_HEADER

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Caller:
    def __init__(self, port: int, path: str) -> None:
        self._port, self._path = port, path

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def ask(self, key: str) -> int:
        """The status that a GET with this key is answered with."""
        self._writer.write(f"GET {self._path} HTTP/1.1\r\nhost: bench\r\n{KEY_HEADER}: {key}\r\n\r\n".encode())
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        await self._reader.readexactly(int(length[1]) if length is not None else 0)
        return int(head[9:12])
