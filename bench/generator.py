"""A load generator as a program of its own: GETs over keep-alive HTTP/1.1, at a fixed rate or as fast as they return.

``python generator.py JSON`` takes the fields of `Wanted` and prints one line of JSON. With a `rate` the loop is open:
a request is due at its planned time whether or not earlier ones have been answered, and its latency counts from then.
It imports nothing of ours, to start fast.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import selectors
import sys
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_PATIENCE = 5.0


@dataclass
class Wanted:
    port: int
    path: str
    headers: list[tuple[str, str]]
    connections: int
    seconds: float
    rate: float | None = None
    host: str = "127.0.0.1"
    # Name of a header, and a file with a value for it on each line: one after the other, and from the first again.
    varying: tuple[str, str] | None = None
    # The status of a good answer.
    status: int = 200


@dataclass
class Tally:
    good: int = 0
    failed: int = 0
    latencies: list[float] = field(default_factory=list)


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self.due: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # As asyncio's own StreamReaderProtocol does: a TCP connection has nothing else.
        self._transport = cast(asyncio.Transport, transport)

    def ask(self, due: float) -> None:
        self.due = due
        if self._transport is not None:
            self._transport.write(next(self._load.requests))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        length = _LENGTH.search(self._buffer, 0, end)
        # Nothing that is measured here answers in chunks; one that did would count as failed.
        if length is None or len(self._buffer) >= end + 4 + int(length[1]):
            good = length is not None and self._buffer[9:12] == self._load.status
            self._buffer = b""
            due, self.due = self.due, None
            self._load.answered(self, due, good=good)

    def connection_lost(self, _: Exception | None) -> None:
        self._load.lost(self, asked=self.due is not None)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class Load:
    def __init__(self, wanted: Wanted) -> None:
        self.requests = itertools.cycle(_emit_requests(wanted))
        self.status = b"%d" % wanted.status
        self.tally = Tally()
        self._wanted = wanted
        self._loop = asyncio.get_running_loop()
        self._until = 0.0
        self._idle: deque[Connection] = deque()
        self._all: set[Connection] = set()
        self._waiting: deque[float] = deque()
        self._under_way = 0
        self._opening: set[asyncio.Task[None]] = set()
        self._ending = False

    async def run(self) -> float:
        """The seconds from the first request to the last answer."""
        await asyncio.gather(*(self._open() for _ in range(self._wanted.connections)))
        began = self._loop.time()
        self._until = began + self._wanted.seconds
        if self._wanted.rate is None:
            for connection in tuple(self._idle):
                self._ask(connection, began)
            self._idle.clear()
            await asyncio.sleep(self._wanted.seconds)
        else:
            await self._keep_pace(began, self._wanted.rate)
        await self._drain()
        return self._loop.time() - began

    async def _keep_pace(self, began: float, rate: float) -> None:
        for number in range(int(rate * self._wanted.seconds)):
            due = began + number / rate
            if (early := due - self._loop.time()) > 0:
                await asyncio.sleep(early)
            if self._idle:
                self._ask(self._idle.popleft(), due)
            else:
                self._waiting.append(due)

    async def _drain(self) -> None:
        deadline = self._loop.time() + _PATIENCE
        while (self._under_way or self._waiting) and self._loop.time() < deadline:  # noqa: ASYNC110 - once a run
            await asyncio.sleep(0.005)
        self._ending = True
        self.tally.failed += self._under_way + len(self._waiting)
        for connection in self._all:
            connection.close()

    def _ask(self, connection: Connection, due: float) -> None:
        self._under_way += 1
        connection.ask(due)

    def answered(self, connection: Connection, due: float | None, *, good: bool) -> None:
        now = self._loop.time()
        self._under_way -= 1
        if due is not None and good:
            self.tally.good += 1
            self.tally.latencies.append(now - due)
        else:
            self.tally.failed += 1
        if self._waiting:
            self._ask(connection, self._waiting.popleft())
        elif self._wanted.rate is None and now < self._until:
            self._ask(connection, now)
        else:
            self._idle.append(connection)

    def lost(self, connection: Connection, *, asked: bool) -> None:
        self._all.discard(connection)
        if self._ending:
            return
        if asked:
            self._under_way -= 1
            self.tally.failed += 1
        if connection in self._idle:
            self._idle.remove(connection)
        task = asyncio.ensure_future(self._open())
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self) -> None:
        try:
            _, connection = await self._loop.create_connection(lambda: Connection(self), "127.0.0.1", self._wanted.port)
        except OSError:
            self.tally.failed += 1
            return
        self._all.add(connection)
        if self._waiting:
            self._ask(connection, self._waiting.popleft())
        elif self._wanted.rate is None and 0 < self._loop.time() < self._until:
            self._ask(connection, self._loop.time())
        else:
            self._idle.append(connection)


def _emit_requests(wanted: Wanted) -> list[bytes]:
    lines = [f"GET {wanted.path} HTTP/1.1", f"host: {wanted.host}", *(f"{n}: {v}" for n, v in wanted.headers)]
    head = "\r\n".join(lines)
    if wanted.varying is None:
        return [f"{head}\r\n\r\n".encode()]
    name, file = wanted.varying
    return [f"{head}\r\n{name}: {value}\r\n\r\n".encode() for value in Path(file).read_text().splitlines()]


def quantile(ordered: list[float], share: float) -> float | None:
    """The value that this share of the values does not exceed; None of nothing."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


async def run(wanted: Wanted) -> dict[str, object]:
    load = Load(wanted)
    seconds = await load.run()
    tally = load.tally
    ordered = sorted(tally.latencies)
    return {
        "requests": tally.good + tally.failed,
        "failed": tally.failed,
        "seconds": seconds,
        "p50": quantile(ordered, 0.5),
        "p99": quantile(ordered, 0.99),
        "longest": ordered[-1] if ordered else None,
    }


def main(text: str) -> None:
    wanted = Wanted(**json.loads(text))
    # select() alone waits to the microsecond: epoll, and so uvloop too, rounds up to whole milliseconds.
    with asyncio.Runner(loop_factory=_exact_loop if wanted.rate else _fast_loop) as runner:
        result = runner.run(run(wanted))
    sys.stdout.write(json.dumps(result) + "\n")


def _exact_loop() -> asyncio.AbstractEventLoop:
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


def _fast_loop() -> asyncio.AbstractEventLoop:
    import uvloop

    return uvloop.new_event_loop()


if __name__ == "__main__":
    main(sys.argv[1])
