"""A stand-in for any HTTP service: it remembers the bytes it was sent and answers as the query says.

``status=N``, ``header=NAME:VALUE`` (again for another one), ``long=NAME:LENGTH`` (a header of that many letters),
``body=TEXT``, ``delay=SECONDS`` and ``hang=1`` (no answer ever). Without a body it answers with JSON of what it saw.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from urllib.parse import parse_qs, urlsplit

from tests.e2e.listening import Listening
from tests.e2e.wire import Message, read_message


class Upstream(Listening):
    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Message] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
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
