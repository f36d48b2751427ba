"""The feed of changes of the store: which keys changed, whether some were missed, and whether anything is seen at all.

Every change raises the version by one and publishes ``<version> <id>``, at once. A message that was lost shows as a
gap, or in the version itself, which is asked for twice a second. It must not know what is done about it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from apostille.base.clock import Clock
from apostille.keys.connection import StoreConnection, Subscription
from apostille.keys.errors import StoreUnavailable
from apostille.keys.format import is_id

VERSION = "version"
CHANNEL = "changes"
# In the place of an id: more keys have changed than it is worth naming.
MANY = "*"

# Seconds between looks at the version.
INTERVAL = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """The key of this id was created, changed or deleted."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """Any key may have changed. The feed begins with it, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeing:
    """Nothing that changed before `at`, seconds of the monotonic clock, is untold."""

    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Blind:
    """The store does not answer: changes go unseen until the next `Seeing`. `cause` is that of StoreUnavailable."""

    cause: str


Event = Changed | Missed | Seeing | Blind


async def follow(connection: StoreConnection, clock: Clock, *, interval: float = INTERVAL) -> AsyncIterator[Event]:
    """Yields events for ever and raises nothing; close it.

    Whoever hears no `Seeing` for a while is blind, whatever the reason. `Blind` is told at each failing attempt to
    see; they are `interval` seconds apart or further.
    """
    version: int | None = None
    while True:
        try:
            async with connection.subscribed(connection.name(CHANNEL)) as subscription:
                at = clock.monotonic()
                found = await ask_version(connection)
                if found != version:
                    yield Missed()
                version = found
                yield Seeing(at=at)
                watch = _Watch(connection, subscription, clock, version)
                while not watch.lost:
                    for event in await watch.step(interval):
                        yield event
                    version = watch.version
        except StoreUnavailable as error:
            yield Blind(cause=error.cause)
            await asyncio.sleep(interval)


async def ask_version(connection: StoreConnection) -> int:
    """How many changes there have been. Raises StoreUnavailable."""
    answer = await connection.ask("GET", connection.name(VERSION))
    try:
        return int(answer or 0)
    except ValueError:
        raise StoreUnavailable("the version is no number") from None


class _Watch:
    """One subscription, from beginning to end. `lost`: messages do not come; subscribe again."""

    def __init__(self, connection: StoreConnection, subscription: Subscription, clock: Clock, version: int) -> None:
        self._connection, self._subscription, self._clock = connection, subscription, clock
        self._looked = asyncio.get_running_loop().time()
        # A version that was read and whose message has not come yet, and when it was read.
        self._ahead: tuple[int, float] | None = None
        self.version = version
        self.lost = False

    async def step(self, interval: float) -> list[Event]:
        loop = asyncio.get_running_loop()
        message = await self._subscription.next(self._looked + interval - loop.time())
        events = [] if message is None else self._read(message)
        if self._ahead is not None and self.version >= self._ahead[0]:
            events.append(Seeing(at=self._ahead[1]))
            self._ahead = None
        if loop.time() - self._looked >= interval:
            events += await self._look()
            self._looked = loop.time()
        return events

    def _read(self, message: bytes) -> list[Event]:
        number, _, name = message.decode("ascii", "replace").partition(" ")
        if not number.isascii() or not number.isdigit() or not (is_id(name) or name == MANY):
            # Not of our making; what it was meant to say is found out by looking.
            return [Missed()]
        # One that is not above was on its way while we first looked.
        gap = int(number) > self.version + 1
        self.version = max(self.version, int(number))
        return [Missed()] if gap or name == MANY else [Changed(id=name)]

    async def _look(self) -> list[Event]:
        at = self._clock.monotonic()
        found = await ask_version(self._connection)
        if found == self.version:
            return [Seeing(at=at)]
        if found < self.version or self._ahead is not None:
            # The store has lost changes that it had told, or its messages do not reach us.
            self.lost = True
            self.version = found
            return [Missed()]
        self._ahead = (found, at)
        return []
