"""A door to the key store for one worker, put together: connection, memory, feed of changes, limits, notes of use."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from apostille.base.clock import Clock
from apostille.keys.outcome import Holder, Refusal
from apostille.keys.settings import KeySettings
from apostille.model.scopes import Asked

if TYPE_CHECKING:
    from apostille.keys.cache import KeyCache
    from apostille.keys.store import KeyStore

_log = logging.getLogger(__name__)

# About half a second apart. An embedded store that has just been asked for is no news before, nor is a short restart.
_QUIET_SILENCES = 4


class StoreDoor:
    """A `KeyDoor` that comes into being when it is needed: where no policy asks for the store there may be none, and
    nobody should pay for it. Close it."""

    def __init__(self, settings: KeySettings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self._opened: _Opened | None = None

    def prepare(self) -> None:
        """See `auth.contract.StoredKeys`. The event loop must run."""
        self._open()

    async def open(self, shown: str, asked: Asked, labels: Mapping[str, str], /) -> Holder | Refusal:
        """See `auth.contract.StoredKeys`."""
        return await self._open().door.open(shown, asked, labels)

    def _open(self) -> _Opened:
        if self._opened is None:
            self._opened = _Opened(self._settings, self._clock)
        return self._opened

    async def aclose(self) -> None:
        if self._opened is not None:
            await self._opened.close()


class _Opened:
    """Everything behind the door, at work."""

    def __init__(self, settings: KeySettings, clock: Clock) -> None:
        # The client takes 6 MiB and a tenth of a second.
        from apostille.keys.cache import KeyCache
        from apostille.keys.connection import StoreConnection
        from apostille.keys.door import KeyDoor
        from apostille.keys.limiter import Limiter
        from apostille.keys.store import KeyStore
        from apostille.keys.uses import Uses

        self._connection = StoreConnection(settings.address)
        store = KeyStore(self._connection, clock)
        self._cache = KeyCache(store.get_many, clock)
        self._limiter = Limiter(self._connection, clock)
        self._uses = Uses(store.touch)
        self.door = KeyDoor(
            cache=self._cache,
            pepper=store.pepper_check(settings.pepper),
            limiter=self._limiter,
            used=self._uses.note,
            clock=clock,
        )
        self._tasks = (
            asyncio.create_task(self._uses.write_in_time(), name="keys: uses"),
            asyncio.create_task(_follow(self._cache, store), name="keys: follow"),
        )

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._uses.write()
        await self._limiter.close()
        await self._cache.close()
        await self._connection.close()


async def _follow(cache: KeyCache, store: KeyStore) -> None:
    from apostille.keys.changes import Blind, Seeing

    silences, told = 0, False
    async for event in store.follow():
        cache.apply(event)
        match event:
            case Blind(cause=cause):
                silences += 1
                if silences == _QUIET_SILENCES:
                    told = True
                    _log.warning("the key store does not answer (%s): keys that are known go on, others get 503", cause)
            case Seeing():
                if told:
                    _log.warning("the key store answers again")
                silences, told = 0, False
            case _:
                pass
