"""HTTP/1.1 as bytes: what a well-behaved client library would not let a test send, or would hide in what came back."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Self

_HEAD_LIMIT = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A request or an answer. `head` is the first line and the headers, as on the wire; `body` is without chunks."""

    head: bytes
    body: bytes

    @property
    def first_line(self) -> str:
        return self.head.split(b"\r\n", 1)[0].decode("latin-1")

    @property
    def status(self) -> int:
        return int(self.first_line.split(" ")[1])

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Every header line in its order, names in lower case."""
        pairs = (line.partition(":") for line in self.head.decode("latin-1").split("\r\n")[1:] if line)
        return tuple((name.lower(), value.strip()) for name, _, value in pairs)

    def values(self, name: str) -> tuple[str, ...]:
        return tuple(value for other, value in self.headers if other == name.lower())


async def read_message(reader: asyncio.StreamReader, *, answers: str | None = None) -> Message | None:
    """The next request, or with `answers` (a method) the answer to it. None when the peer has closed in between."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    message = Message(head=head, body=b"")
    bodiless = answers is not None and (answers == "HEAD" or message.status in (100, 204, 304))
    return Message(head=head, body=b"" if bodiless else await read_body(message, reader, to_end=answers is not None))


async def read_body(message: Message, reader: asyncio.StreamReader, *, to_end: bool) -> bytes:
    """What follows the head of `message`. `to_end`: without a length it goes on until the peer closes."""
    if "chunked" in message.values("transfer-encoding"):
        return await _read_chunks(reader)
    if length := message.values("content-length"):
        return await reader.readexactly(int(length[0]))
    return await reader.read() if to_end else b""


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        body += (await reader.readexactly(size + 2))[:-2]
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass
    return body


def emit_request(
    method: str, path: str, headers: list[tuple[str, str]], body: bytes = b"", *, host: str = "gateway.example"
) -> bytes:
    """A request as bytes, UTF-8. The Host and a Content-Length are added where `headers` has none of its own."""
    names = {name.lower() for name, _ in headers}
    lines = [f"{method} {path} HTTP/1.1"]
    if "host" not in names:
        lines.append(f"Host: {host}")
    lines += [f"{name}: {value}" for name, value in headers]
    if body and not names & {"content-length", "transfer-encoding"}:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


class Connection:
    """One connection to the gateway, kept open for the next request; inside ``async with``."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        if self._streams is not None:
            _, writer = self._streams
            self._streams = None
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def send(self, request: bytes) -> Message:
        """Send the bytes as they are and read one answer. Raises ConnectionError when there is none."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=_HEAD_LIMIT)
        reader, writer = self._streams
        try:
            writer.write(request)
            await writer.drain()
            method = request.split(b" ", 1)[0].decode("latin-1")
            while (answer := await read_message(reader, answers=method)) is not None and answer.status == 100:
                pass
        except asyncio.IncompleteReadError as error:
            raise ConnectionError(f"the answer was cut after {len(error.partial)} bytes") from error
        if answer is None:
            await self.close()
            raise ConnectionError("the connection was closed without an answer")
        if "close" in answer.values("connection"):
            await self.close()
        return answer


async def ask(port: int, request: bytes, *, within: float = 20.0) -> Message:
    """One request on a connection of its own."""
    async with asyncio.timeout(within), Connection(port) as connection:
        return await connection.send(request)


async def get(port: int, path: str, **headers: str) -> Message:
    """A plain GET; underscores in the names of `headers` stand for hyphens."""
    named = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return await ask(port, emit_request("GET", path, named))
