"""A door to the key store for one worker, put together: connection, memory, feed of changes, limits, notes of use."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from apostille.base.clock import Clock
from apostille.keys.cache import KeyCache
from apostille.keys.changes import Blind, Seeing
from apostille.keys.connection import StoreConnection
from apostille.keys.door import KeyDoor
from apostille.keys.fingerprint import PepperCheck
from apostille.keys.limiter import Limiter
from apostille.keys.outcome import Holder, Refusal
from apostille.keys.settings import KeySettings
from apostille.keys.store import KeyStore
from apostille.keys.uses import Uses
from apostille.model.scopes import Asked

_log = logging.getLogger(__name__)


class StoreDoor:
    """A `KeyDoor` that begins to follow the store when the first key is shown: where no policy asks for the store there
    may be none."""

    def __init__(self, door: KeyDoor) -> None:
        self._door = door
        self.asked = asyncio.Event()

    async def open(self, shown: str, asked: Asked, labels: Mapping[str, str], /) -> Holder | Refusal:
        """See `auth.contract.StoredKeys`."""
        self.asked.set()
        return await self._door.open(shown, asked, labels)


@asynccontextmanager
async def open_door(settings: KeySettings, clock: Clock) -> AsyncIterator[StoreDoor]:
    """Nothing is connected before the first key is shown."""
    connection = StoreConnection(settings.address)
    store = KeyStore(connection, clock)
    cache, limiter, uses = KeyCache(store.get_many, clock), Limiter(connection, clock), Uses(store.touch)
    pepper = PepperCheck(connection, settings.pepper)
    door = StoreDoor(KeyDoor(cache=cache, pepper=pepper, limiter=limiter, used=uses.note, clock=clock))
    working = asyncio.create_task(_work(door, cache, store, uses), name="keys: follow")
    try:
        yield door
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        if door.asked.is_set():
            await uses.write()
        await limiter.close()
        await cache.close()
        await connection.close()


async def _work(door: StoreDoor, cache: KeyCache, store: KeyStore, uses: Uses) -> None:
    await door.asked.wait()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(uses.write_in_time())
        tasks.create_task(_follow(cache, store))


async def _follow(cache: KeyCache, store: KeyStore) -> None:
    sees: bool | None = None
    async for event in store.follow():
        cache.apply(event)
        match event:
            case Blind(cause=cause) if sees is not False:
                sees = False
                _log.warning("the key store does not answer (%s): keys that are known go on, others get 503", cause)
            case Seeing() if sees is not True:
                if sees is False:
                    _log.warning("the key store answers again")
                sees = True
            case _:
                pass
