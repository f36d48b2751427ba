"""Requests at a fixed rate, whatever the answers do: who is slow is asked all the same, and every outcome is kept."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.e2e.wire import Connection, Message, emit_request

# Seconds until a request without an answer counts as one that got none.
_PATIENCE = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """`sent` and `ended` are seconds since 1970. `status` is what the answer said, or in words why there was none."""

    number: int
    sent: float
    ended: float
    status: int | str
    answer: Message | None

    @property
    def told(self) -> tuple[int | str, str]:
        """Status, and the gateway's reason or nothing."""
        reasons = () if self.answer is None else self.answer.values("x-apostille-reason")
        return self.status, ",".join(reasons)


class OpenLoop:
    """`outcomes` are in the order in which they came."""

    def __init__(
        self, port: int, path: str, headers: Sequence[tuple[str, str]], rate: float, most: int | None = None
    ) -> None:
        self.outcomes: list[Outcome] = []
        # What the last outcome told, and how many in a row have told just that.
        self._streak: tuple[tuple[int | str, str] | None, int] = (None, 0)
        self._most = most
        self._port, self._path, self._headers, self._rate = port, path, list(headers), rate
        self._idle: list[Connection] = []
        self._requests: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Condition()
        self._sent = 0

    @property
    def sent(self) -> int:
        return self._sent

    def last(self, count: int) -> Counter[tuple[int | str, str]]:
        """What the last so many outcomes told."""
        return Counter(each.told for each in self.outcomes[-count:])

    def between(self, begin: float, end: float) -> Counter[tuple[int | str, str]]:
        """What came of the requests that were sent and answered in that time."""
        return Counter(each.told for each in self.outcomes if begin <= each.sent and each.ended <= end)

    async def wait_for(self, holds: Callable[[], bool], *, within: float = 15.0) -> None:
        """Until it holds; looked at after every outcome. Raises TimeoutError, with what was last seen."""
        async with self._changed:
            try:
                await asyncio.wait_for(self._changed.wait_for(holds), within)
            except TimeoutError:
                raise TimeoutError(f"not within {within:g} s; the last outcomes: {self.last(100)}") from None

    async def wait_steady(self, status: int, reason: str = "", *, count: int = 100, within: float = 15.0) -> float:
        """Until that many outcomes in a row, all of requests sent after this call, told this. The seconds it took."""
        began, since, wanted = time.time(), len(self.outcomes), (status, reason)

        def holds() -> bool:
            # Asked after every outcome: it must not cost more than a request does.
            return len(self.outcomes) - since >= count and self._streak[0] == wanted and self._streak[1] >= count

        await self.wait_for(holds, within=within)
        steady = self.outcomes[-count]
        return max(0.0, steady.sent - began)

    async def run(self, stop: asyncio.Event) -> None:
        """Sends until `stop`, and waits for what is under way."""
        began = time.monotonic()
        while not stop.is_set():
            while self._most is not None and len(self._requests) >= self._most:
                await asyncio.wait(self._requests, return_when=asyncio.FIRST_COMPLETED)
                # What was not sent in time is not made up for.
                began = max(began, time.monotonic() - self._sent / self._rate)
            # The pace is the point: nothing is waited for here but the next tick.
            await asyncio.sleep(max(0.0, began + self._sent / self._rate - time.monotonic()))
            task = asyncio.create_task(self._request(self._sent))
            self._sent += 1
            self._requests.add(task)
            task.add_done_callback(self._requests.discard)
        await asyncio.gather(*self._requests)
        for connection in self._idle:
            await connection.close()

    async def _request(self, number: int) -> None:
        request = emit_request("GET", f"{self._path}{number}", self._headers)
        connection = self._idle.pop() if self._idle else Connection(self._port)
        sent, answer = time.time(), None
        status: int | str
        try:
            async with asyncio.timeout(_PATIENCE):
                answer = await connection.send(request)
            status = answer.status
            self._idle.append(connection)
        except (OSError, TimeoutError) as error:
            await connection.close()
            status = f"{type(error).__name__}: {error}"
        async with self._changed:
            outcome = Outcome(number=number, sent=sent, ended=time.time(), status=status, answer=answer)
            told = outcome.told
            self._streak = (told, self._streak[1] + 1 if told == self._streak[0] else 1)
            self.outcomes.append(outcome)
            self._changed.notify_all()


@asynccontextmanager
async def open_loop(
    port: int,
    path: str,
    headers: Sequence[tuple[str, str]] = (),
    *,
    rate: float = 200.0,
    most: int | None = None,
) -> AsyncIterator[OpenLoop]:
    """GETs of ``PATH0``, ``PATH1``, … until the end of the block. Nothing is sent a second time.

    `most`: under way at once; a machine that is too slow for the rate is not buried.
    """
    loop, stop = OpenLoop(port, path, headers, rate, most), asyncio.Event()
    running = asyncio.create_task(loop.run(stop))
    try:
        yield loop
    finally:
        stop.set()
        await running
