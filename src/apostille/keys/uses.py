"""When keys were last used, noted in the store now and then: a request must not wait for that."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime

from apostille.keys.errors import StoreUnavailable

# Seconds between two notes. What a killed worker has not noted yet is lost: it is a help for people and nothing else.
INTERVAL = 5.0
_MOST = 100_000

Touch = Callable[[Mapping[str, datetime]], Awaitable[None]]


class Uses:
    def __init__(self, touch: Touch) -> None:
        """`touch` is `KeyStore.touch`."""
        self._touch = touch
        self._used: dict[str, datetime] = {}

    def note(self, key_id: str, at: datetime) -> None:
        # While the store is down they would grow with the number of keys.
        if len(self._used) < _MOST or key_id in self._used:
            self._used[key_id] = at

    async def write(self) -> None:
        """What could not be written is kept for the next time. Raises nothing."""
        used, self._used = self._used, {}
        try:
            await self._touch(used)
        except StoreUnavailable:
            self._used = {**used, **self._used}

    async def write_in_time(self) -> None:
        """Ends only by being cancelled."""
        while True:
            await asyncio.sleep(INTERVAL)
            if self._used:
                await self.write()
