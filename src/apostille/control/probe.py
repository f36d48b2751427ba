"""Does a child process answer on its Unix socket? Asked several times a second, so without an HTTP client's cost: a
session of aiohttp for each question took a hundredth of a processor."""

from __future__ import annotations

import asyncio
from pathlib import Path


async def answers(socket: Path, page: str) -> bool:
    """Whether a GET of `page` gives 200. Raises OSError when nobody listens or no answer comes.

    The kernel takes connections for a process that is stopped: only an answer shows that it lives.
    """
    reader, writer = await asyncio.open_unix_connection(str(socket))
    try:
        writer.write(f"GET {page} HTTP/1.1\r\nhost: child\r\nconnection: close\r\n\r\n".encode())
        words = (await reader.readline()).split()
        if len(words) < 2:
            raise ConnectionResetError(f"no answer on {socket}")
        return words[1] == b"200"
    finally:
        writer.close()
