"""Requests without a pause, over connections that stay open, with every outcome kept."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.e2e.wire import Connection, Message

# What was sent, when (monotonic), and what came of it: a status, or what went wrong in words.
Outcome = tuple[float, int | str]


@dataclass(kw_only=True)
class Load:
    """`outcomes`: for each kind of request what came of it."""

    outcomes: dict[str, list[Outcome]] = field(default_factory=dict)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def count(self, kind: str) -> Counter[int | str]:
        return Counter(what for _, what in self.outcomes[kind])

    @property
    def failures(self) -> dict[str, Counter[int | str]]:
        """What was no 200, for each kind that has such."""
        bad = {kind: self.count(kind) for kind in self.outcomes}
        for counter in bad.values():
            del counter[200]
        return {kind: counter for kind, counter in bad.items() if counter}

    def window(self, kind: str) -> float:
        """Seconds from the first outcome that was no 200 to the last."""
        times = [when for when, what in self.outcomes[kind] if what != 200]
        return times[-1] - times[0] if times else 0.0

    async def wait_more(self, number: int, *, kind: str | None = None, good: bool = True, within: float = 15.0) -> None:
        """Until each kind (or just that one) has that many more outcomes; `good`: that many more 200s."""
        kinds = list(self.outcomes) if kind is None else [kind]
        goals = {each: self._total(each, good) + number for each in kinds}
        async with self._changed:
            await asyncio.wait_for(
                self._changed.wait_for(lambda: all(self._total(each, good) >= goals[each] for each in kinds)), within
            )

    def _total(self, kind: str, good: bool) -> int:
        return sum(what == 200 for _, what in self.outcomes[kind]) if good else len(self.outcomes[kind])

    async def record(self, kind: str, what: int | str) -> None:
        async with self._changed:
            self.outcomes[kind].append((time.monotonic(), what))
            self._changed.notify_all()


@asynccontextmanager
async def load(
    port: int,
    requests: dict[str, bytes],
    *,
    clients: int = 4,
    judge: Callable[[str, Message], str | None] = lambda _kind, _answer: None,
) -> AsyncIterator[Load]:
    """`clients` for each kind of request, until the end of the block. `judge` may find fault with an answer.

    Nothing is sent a second time: a connection that ends without an answer is an outcome.
    """
    running = Load(outcomes={kind: [] for kind in requests})
    stop = asyncio.Event()

    async def client(kind: str, request: bytes) -> None:
        async with Connection(port) as connection:
            while not stop.is_set():
                try:
                    async with asyncio.timeout(15):
                        answer = await connection.send(request)
                    what: int | str = judge(kind, answer) or answer.status
                except (OSError, TimeoutError) as error:
                    await connection.close()
                    what = f"{type(error).__name__}: {error}"
                await running.record(kind, what)

    tasks = [asyncio.create_task(client(kind, request)) for kind, request in requests.items() for _ in range(clients)]
    try:
        yield running
    finally:
        stop.set()
        await asyncio.gather(*tasks)
