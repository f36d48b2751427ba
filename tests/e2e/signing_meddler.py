"""Somebody on the way between the gateway and the bucket, who changes requests that were signed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from tests.e2e.wire import Connection, Message, emit_request, read_message
from tests.judge.tampering import Signed


class Meddler:
    """`change` is what it does to requests, nothing at first. `answers` are the bucket's own, in their order."""

    def __init__(self) -> None:
        self.change: Callable[[Signed], Signed] = lambda signed: signed
        self.answers: list[Message] = []
        self._bucket = 0

    @asynccontextmanager
    async def before(self, bucket: int) -> AsyncIterator[int]:
        """Stands before what listens at port `bucket`; gives the port to ask instead."""
        self._bucket = bucket
        serving: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._serve(reader, writer))
            serving.add(task)
            task.add_done_callback(serving.discard)

        async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
            yield server.sockets[0].getsockname()[1]
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while (request := await read_message(reader)) is not None:
                method, target, _ = request.first_line.split(" ", 2)
                signed = self.change(
                    Signed(method=method, target=target, headers=dict(request.headers), body=request.body)
                )
                sent = emit_request(signed.method, signed.target, [*signed.headers.items()], signed.body)
                async with Connection(self._bucket) as connection:
                    answer = await connection.send(sent)
                self.answers.append(answer)
                writer.write(_sized(answer) + answer.body)
                await writer.drain()


def _sized(answer: Message) -> bytes:
    """Its chunks, if it had some, are gone."""
    lines = [line for line in answer.head.split(b"\r\n") if line and not line.lower().startswith(b"transfer-encoding")]
    length = b"" if answer.values("content-length") else b"content-length: %d\r\n" % len(answer.body)
    return b"\r\n".join(lines) + b"\r\n" + length + b"\r\n"
