from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from apostille.demo.certificates import make_authority
from apostille.demo.recorder import start_recorder

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass(kw_only=True)
class Backend:
    """Takes whatever comes, and answers when it has seen the end of as many requests as it is asked to."""

    port: int = 0
    seen: bytearray = field(default_factory=bytearray)
    grown: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def saw(self, expected: bytes) -> None:
        async with self.grown:
            await asyncio.wait_for(self.grown.wait_for(lambda: bytes(self.seen) == expected), 10)


@contextlib.asynccontextmanager
async def backend_answering(end: bytes = b"\r\n\r\n", answer: bytes = OK) -> AsyncIterator[Backend]:
    backend = Backend()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answered = 0
        while piece := await reader.read(1000):
            async with backend.grown:
                backend.seen += piece
                backend.grown.notify_all()
            while backend.seen.count(end) > answered:
                answered += 1
                writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    backend.port = server.sockets[0].getsockname()[1]
    async with server:
        yield backend


@contextlib.asynccontextmanager
async def connected(
    port: int, context: ssl.SSLContext | None = None, name: str | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_the_exact_head_is_recorded_and_passed_on() -> None:
    head = b"GET /a%2fB?x=+ HTTP/1.1\r\nHost:  Odd.Example \r\nX-One: 1\r\nx-one: 2\r\n\r\n"
    async with backend_answering() as backend, start_recorder("127.0.0.1", backend.port) as recorder:
        async with connected(recorder.port) as (reader, writer):
            writer.write(head)
            assert await reader.readexactly(len(OK)) == OK
        (request,) = recorder.requests
        assert bytes(backend.seen) == request.head == head
    assert (request.method, request.target) == ("GET", "/a%2fB?x=+")
    assert request.headers == (("host", "Odd.Example"), ("x-one", "1"), ("x-one", "2"))
    assert request.values("X-One") == ("1", "2")
    assert (request.sni, request.body, request.body_length, request.complete) == (None, b"", 0, True)


async def test_requests_of_one_connection_are_told_apart() -> None:
    first = b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\n\r\n\r\nend"
    second = b"POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = b"3;note\r\nabc\r\n4\r\n\r\n\r\n\r\n0\r\nX-Trailer: t\r\n\r\n"
    third = b"GET /3 HTTP/1.1\r\nHost: a\r\n\r\n"
    sent = first + second + chunks + third
    async with (
        backend_answering() as backend,
        start_recorder("127.0.0.1", backend.port) as recorder,
        connected(recorder.port) as (_, writer),
    ):
        # Byte by byte, so that nothing depends on what arrives together.
        for index in range(len(sent)):
            writer.write(sent[index : index + 1])
            await writer.drain()
        requests = await recorder.wait_for(3)
        await backend.saw(sent)
    assert [(r.target, r.body, r.body_length, r.complete) for r in requests] == [
        ("/1", b"\r\n\r\nend", 7, True),
        ("/2", b"abc\r\n\r\n", 7, True),
        ("/3", b"", 0, True),
    ]


async def test_a_long_body_is_counted_and_its_beginning_kept() -> None:
    body = bytes(range(256)) * 1000
    head = f"PUT /long HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    async with (
        backend_answering(end=body[-256:]) as backend,
        start_recorder("127.0.0.1", backend.port) as recorder,
        connected(recorder.port) as (_, writer),
    ):
        writer.write(head + body)
        (request,) = await recorder.wait_for(1)
        await backend.saw(head + body)
    assert request.body_length == len(body)
    assert request.body == body[: 64 * 1024]


async def test_a_head_reaches_the_backend_before_the_body_is_sent() -> None:
    head = b"PUT /wait HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
    go_on = b"HTTP/1.1 100 Continue\r\n\r\n"
    async with (
        backend_answering(answer=go_on) as backend,
        start_recorder("127.0.0.1", backend.port) as recorder,
        connected(recorder.port) as (reader, writer),
    ):
        writer.write(head)
        assert await reader.readexactly(len(go_on)) == go_on
        assert recorder.requests == ()
        writer.write(b"body")
        (request,) = await recorder.wait_for(1)
        await backend.saw(head + b"body")
    assert request.body == b"body"


async def test_a_request_cut_short_is_recorded_as_such() -> None:
    async with (
        backend_answering() as backend,
        start_recorder("127.0.0.1", backend.port) as recorder,
        connected(recorder.port) as (reader, writer),
    ):
        writer.write(b"PUT /cut HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
        writer.write_eof()
        (request,) = await recorder.wait_for(1)
        await reader.read()
    assert (request.target, request.body, request.complete) == ("/cut", b"half", False)


async def test_a_client_that_has_sent_all_it_will_still_gets_its_answer() -> None:
    async with (
        backend_answering() as backend,
        start_recorder("127.0.0.1", backend.port) as recorder,
        connected(recorder.port) as (reader, writer),
    ):
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        writer.write_eof()
        assert await reader.read() == OK


async def test_a_backend_that_is_down_closes_the_connection_and_records_nothing() -> None:
    async with backend_answering() as backend:
        pass
    async with start_recorder("127.0.0.1", backend.port) as recorder, connected(recorder.port) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        assert recorder.requests == ()


@pytest.mark.parametrize(
    "garbage",
    [b"\x16\x03\x01\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"x" * 3_000_000],
    ids=["TLS", "length", "endless"],
)
async def test_what_is_not_http_is_cut(garbage: bytes) -> None:
    async with backend_answering(end=b"never") as backend, start_recorder("127.0.0.1", backend.port) as recorder:
        async with connected(recorder.port) as (reader, writer):
            with contextlib.suppress(ConnectionError):
                writer.write(garbage)
                writer.write_eof()
                assert await asyncio.wait_for(reader.read(), 10) == b""
        async with connected(recorder.port) as (_, writer):
            recorder.clear()
            writer.write(b"GET /good HTTP/1.1\r\nHost: a\r\n\r\n")
            (request,) = await recorder.wait_for(1)
    assert request.target == "/good"


async def test_tls_ends_here_and_the_server_name_is_recorded(tmp_path: Path) -> None:
    authority = make_authority(tmp_path)
    certificate = authority.issue("bucket.example.com", "127.0.0.1")
    context = ssl.create_default_context(cafile=authority.roots)
    lenient = ssl.create_default_context(cafile=authority.roots)
    lenient.check_hostname = False
    head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    async with backend_answering() as backend, start_recorder("127.0.0.1", backend.port, certificate) as recorder:
        names: list[tuple[ssl.SSLContext, str]] = [
            (context, "bucket.example.com"),
            (lenient, "wrong.example.com"),
            (context, "127.0.0.1"),
        ]
        for trusted, name in names:
            async with connected(recorder.port, trusted, name) as (reader, writer):
                writer.write(head)
                assert await reader.readexactly(len(OK)) == OK
        # An IP address is no server name: TLS sends none.
        assert [request.sni for request in recorder.requests] == ["bucket.example.com", "wrong.example.com", None]
        assert bytes(backend.seen) == head * 3


async def test_waiting_for_a_request_that_does_not_come_says_how_many_came() -> None:
    async with backend_answering() as backend, start_recorder("127.0.0.1", backend.port) as recorder:
        with pytest.raises(TimeoutError, match=r"0 requests, not 2, after 0\.01 s"):
            await recorder.wait_for(2, within=0.01)


async def test_a_recorder_that_stops_cuts_its_connections() -> None:
    async with backend_answering() as backend:
        async with contextlib.AsyncExitStack() as stack:
            recorder = await stack.enter_async_context(start_recorder("127.0.0.1", backend.port))
            reader, writer = await asyncio.open_connection("127.0.0.1", recorder.port)
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert await reader.readexactly(len(OK)) == OK
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", recorder.port)
