"""An upstream for the comparison of lanes: it keeps every request by its case, from the first byte of a body on."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from dataclasses import dataclass
from email.utils import formatdate

from tests.e2e.lane_requests import ANSWER_HEADER, CASE_HEADER
from tests.e2e.listening import Listening
from tests.e2e.wire import Message, read_body

_REFUSED = b"<Error><Code>SignatureDoesNotMatch</Code></Error>"
_DENIED = b"<Error><Code>AccessDenied</Code></Error>"


def _answer(status: str, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, f"content-length: {len(body)}", f"date: {formatdate(usegmt=True)}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def _answers() -> tuple[bytes, ...]:
    chunks = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nx-a: 1\r\nx-a: 2\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    return (
        _answer("200 OK", b'{"answer": "yes"}', "content-type: application/json", "etag: x"),
        b"HTTP/1.1 204 No Content\r\n\r\n",
        _answer("404 Not Found", _DENIED, "content-type: application/xml"),
        _answer("403 Forbidden", _REFUSED, "content-type: application/xml"),
        _answer("403 Forbidden", _DENIED, "content-type: application/xml"),
        _answer("401 Unauthorized", b"", "www-authenticate: Basic", "x-apostille-reason: forged"),
        _answer(
            "200 OK", b"ok", "x-apostille-reason: forged", "x-apostille-consumer: forged", "x-envoy-x: y", "server: s3"
        ),
        b"HTTP/1.1 304 Not Modified\r\netag: x\r\n\r\n",
        chunks,
        _answer("500 Internal Server Error", b"broken"),
        _answer("302 Found", b"", "location: https://example.com/", "set-cookie: a=b", "set-cookie: c=d"),
        b"",
    )


@dataclass(slots=True, kw_only=True)
class Arrived:
    """`body` of None: it was cut."""

    head: bytes
    body: bytes | None = None


class Recorder(Listening):
    def __init__(self) -> None:
        super().__init__()
        self._arrived: defaultdict[str, list[Arrived]] = defaultdict(list)

    def take(self, case: str) -> tuple[Arrived, ...]:
        """What has come of this case; it is forgotten."""
        return tuple(self._arrived.pop(case, ()))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                message = Message(head=head, body=b"")
                arrived = Arrived(head=head)
                self._arrived[(message.values(CASE_HEADER) or ("",))[0]].append(arrived)
                arrived.body = await read_body(message, reader, to_end=False)
                number = int((message.values(ANSWER_HEADER) or ("0",))[0])
                answer = _answers()[number]
                if not answer:
                    return
                if message.first_line.startswith("HEAD "):
                    answer = answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
                writer.write(answer)
                await writer.drain()
