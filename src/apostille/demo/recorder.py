"""A proxy that changes nothing and remembers what passed: the exact bytes a backend was sent, and under which name.

It reads HTTP/1.1 only as far as needed to know where a request ends. It must not know what the backend is.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, replace
from typing import Self
from weakref import WeakKeyDictionary

from apostille.demo.certificates import Certificate

_BODY_LIMIT = 64 * 1024
_HEAD_LIMIT = 1024 * 1024
_PIECE = 64 * 1024
# What a peer that goes away, or speaks something else than HTTP/1.1, can cause.
_CUT = (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One request as it was on the wire.

    `head` is the request line and the headers, with the empty line that ends them. `body` holds the first 64 KiB of the
    body, without the chunked framing; `body_length` counts all of it. `sni` is the server name of the TLS handshake,
    None without TLS or name. `complete` is False when the connection was cut before the end.
    """

    head: bytes
    sni: str | None
    body: bytes = b""
    body_length: int = 0
    complete: bool = True

    @property
    def method(self) -> str:
        return self._request_line[0]

    @property
    def target(self) -> str:
        """The path with its query, as sent."""
        return self._request_line[1]

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Every header line in its order, names in lower case."""
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        pairs = (line.partition(":") for line in lines if line)
        return tuple((name.lower(), value.strip()) for name, _, value in pairs)

    def values(self, name: str) -> tuple[str, ...]:
        """The values of all header lines of this name."""
        return tuple(value for other, value in self.headers if other == name.lower())

    @property
    def _request_line(self) -> tuple[str, str]:
        method, target, *_ = self.head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        return method, target


class Recorder:
    """A running proxy, inside ``async with``.

    A request is on record before its last byte reaches the backend, so before the answer that it gets.
    """

    def __init__(self, backend: tuple[str, int], certificate: Certificate | None, address: tuple[str, int]) -> None:
        self._backend = backend
        self._certificate = certificate
        self._address = address
        self._requests: list[Recorded] = []
        self._changed = asyncio.Condition()
        self._names: WeakKeyDictionary[ssl.SSLObject, str] = WeakKeyDictionary()
        self._connections: set[asyncio.Task[None]] = set()
        self._exit = contextlib.AsyncExitStack()

    @property
    def port(self) -> int:
        return self._address[1]

    @property
    def requests(self) -> tuple[Recorded, ...]:
        return tuple(self._requests)

    def clear(self) -> None:
        self._requests.clear()

    async def wait_for(self, count: int, *, within: float = 10.0) -> tuple[Recorded, ...]:
        """Wait until at least `count` requests are on record. Raises TimeoutError after `within` seconds."""
        async with self._changed:
            try:
                await asyncio.wait_for(self._changed.wait_for(lambda: len(self._requests) >= count), within)
            except TimeoutError:
                raise TimeoutError(f"{len(self._requests)} requests, not {count}, after {within:g} s") from None
        return self.requests

    async def __aenter__(self) -> Self:
        server = await asyncio.start_server(
            self._accept, *self._address, ssl=self._server_context(), limit=_HEAD_LIMIT, backlog=512
        )
        self._address = server.sockets[0].getsockname()[:2]
        self._exit.push_async_callback(_cancel, self._connections)
        self._exit.callback(server.close)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exit.aclose()

    def _server_context(self) -> ssl.SSLContext | None:
        if self._certificate is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._certificate.chain, self._certificate.key)
        context.set_alpn_protocols(["http/1.1"])
        context.sni_callback = self._note_name
        return context

    def _note_name(self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
        if name is not None and isinstance(connection, ssl.SSLObject):
            self._names[connection] = name

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("ssl_object")
        sni = self._names.get(connection) if connection is not None else None
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(writer.close)
            stack.enter_context(contextlib.suppress(*_CUT))
            backend_reader, backend_writer = await asyncio.open_connection(*self._backend)
            stack.callback(backend_writer.close)
            requests = asyncio.create_task(self._copy_requests(reader, backend_writer, sni))
            answers = asyncio.create_task(_copy_all(backend_reader, writer))
            stack.push_async_callback(_cancel, (requests, answers))
            # A client that has sent all it will still wants its answer; a backend that has gone has none to give.
            await asyncio.wait((requests, answers), return_when=asyncio.FIRST_COMPLETED)
            if requests.done():
                requests.result()
                backend_writer.write_eof()
                await answers

    async def _copy_requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sni: str | None) -> None:
        while head := await _read_head(reader):
            await self._copy_request(head, reader, writer, sni)

    async def _copy_request(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sni: str | None
    ) -> None:
        request = Recorded(head=head, sni=sni, complete=False)
        try:
            async for piece in _read_pieces(request, reader):
                request = replace(
                    request,
                    body=request.body + piece.content[: _BODY_LIMIT - len(request.body)],
                    body_length=request.body_length + len(piece.content),
                    complete=piece.last,
                )
                if request.complete:
                    await self._record(request)
                writer.write(piece.wire)
                await writer.drain()
        finally:
            if not request.complete:
                await self._record(request)

    async def _record(self, request: Recorded) -> None:
        async with self._changed:
            self._requests.append(request)
            self._changed.notify_all()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    """Some bytes of a request, as on the wire, and what of them is content of the body."""

    wire: bytes
    content: bytes = b""
    last: bool = False


async def _read_head(reader: asyncio.StreamReader) -> bytes:
    """The next head, or nothing when the client has closed between two requests."""
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return b""


async def _read_pieces(request: Recorded, reader: asyncio.StreamReader) -> AsyncIterator[_Piece]:
    """The request as it comes, beginning with its head: nothing waits for what follows it."""
    if request.values("transfer-encoding"):
        yield _Piece(wire=request.head)
        async for piece in _read_chunks(reader):
            yield piece
    else:
        left = int(next(iter(request.values("content-length")), "0"))
        yield _Piece(wire=request.head, last=left == 0)
        while left > 0:
            some = await reader.read(min(left, _PIECE))
            if not some:
                raise asyncio.IncompleteReadError(b"", left)
            left -= len(some)
            yield _Piece(wire=some, content=some, last=left == 0)


async def _read_chunks(reader: asyncio.StreamReader) -> AsyncIterator[_Piece]:
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.split(b";")[0], 16)
        if size == 0:
            break
        chunk = await reader.readexactly(size + 2)
        yield _Piece(wire=line + chunk, content=chunk[:-2])
    trailers = line
    while line != b"\r\n":
        line = await reader.readuntil(b"\r\n")
        trailers += line
    yield _Piece(wire=trailers, last=True)


async def _copy_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while some := await reader.read(_PIECE):
        writer.write(some)
        await writer.drain()


async def _cancel(tasks: Collection[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def start_recorder(
    backend_host: str,
    backend_port: int,
    certificate: Certificate | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
) -> Recorder:
    """A recorder before a backend that speaks plain HTTP/1.1; it runs inside ``async with``.

    With `certificate` it takes TLS, under any server name.
    """
    return Recorder((backend_host, backend_port), certificate, (host, port))
