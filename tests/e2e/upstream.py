"""A stand-in for any HTTP service: it remembers the bytes it was sent and answers as the query says.

``status=N``, ``header=NAME:VALUE`` (again for another one), ``long=NAME:LENGTH`` (a header of that many letters),
``body=TEXT``, ``delay=SECONDS`` and ``hang=1`` (no answer ever). Without a body it answers with JSON of what it saw.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Self
from urllib.parse import parse_qs, urlsplit

from tests.e2e.wire import Message, read_message

_LIMIT = 1024 * 1024


class Upstream:
    """Listens on the loopback inside ``async with``."""

    def __init__(self) -> None:
        self.requests: list[Message] = []
        self.port = 0
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=_LIMIT, backlog=512)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Nobody listens here from now on, and what was open is cut."""
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while (request := await read_message(reader)) is not None:
                self.requests.append(request)
                await self._answer(request, writer)

    async def _answer(self, request: Message, writer: asyncio.StreamWriter) -> None:
        method, target, _ = request.first_line.split(" ", 2)
        said = parse_qs(urlsplit(target).query)
        if "hang" in said:
            await asyncio.Event().wait()
        if "delay" in said:
            await asyncio.sleep(float(said["delay"][0]))
        body = said["body"][0].encode() if "body" in said else _describe(request)
        headers = [(name, value) for name, _, value in (each.partition(":") for each in said.get("header", ()))]
        headers += [(name, "h" * int(length)) for name, length in (each.split(":") for each in said.get("long", ()))]
        lines = [
            f"HTTP/1.1 {said.get('status', ['200'])[0]} Said",
            *(f"{name}: {value}" for name, value in headers),
            f"content-length: {len(body)}",
        ]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode()
        writer.write(head if method == "HEAD" else head + body)
        await writer.drain()


def _describe(request: Message) -> bytes:
    seen = {"line": request.first_line, "headers": request.headers, "body": request.body.decode("utf-8", "replace")}
    return json.dumps(seen).encode()
