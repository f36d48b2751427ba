"""How the key store stands, for the status page. It must not hold the page up: two seconds at most."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from apostille.base.clock import Clock
from apostille.control.key_folder import Standing, is_embedded, read_report
from apostille.keys.errors import PepperMissing, StoreUnavailable
from apostille.keys.settings import KeySettings

if TYPE_CHECKING:
    from apostille.keys.store import KeyStore

Json = Mapping[str, object]


class StoreStatus:
    """Connects when it is first asked and there is a store to ask. Close it."""

    def __init__(self, settings: KeySettings | None, *, state: Path, sockets: Path, clock: Clock) -> None:
        self._settings = settings
        self._state = state
        self._embedded = settings is not None and is_embedded(settings, sockets)
        self._clock = clock
        self._store: KeyStore | None = None

    async def describe(self) -> Json:
        """``store``: ``embedded``, its URL without user and password, or null. ``why``: what is wrong, or null."""
        if self._settings is None:
            return {"store": None, "state": Standing.NOT_STARTED.value, "why": None}
        shown = "embedded" if self._embedded else self._settings.address.shown
        if self._embedded:
            report = read_report(self._state)
            if report is None or report.standing is not Standing.READY:
                standing, why = (report.standing, report.why) if report is not None else (Standing.NOT_STARTED, None)
                return {"store": shown, "state": standing.value, "why": why}
        why = await self._ask(self._settings)
        standing = Standing.READY if why is None else Standing.UNAVAILABLE
        return {"store": shown, "state": standing.value, "why": why}

    async def aclose(self) -> None:
        if self._store is not None:
            await self._store.close()

    async def _ask(self, settings: KeySettings) -> str | None:
        """None when it answers and its keys were made with our pepper."""
        # The client takes 6 MiB, which a gateway without keys need not pay.
        from apostille.keys.store import KeyStore

        if self._store is None:
            self._store = KeyStore.at(settings.address, self._clock, connections=1)
        try:
            await self._store.version()
            await self._store.pepper_check(settings.pepper).confirm()
        except (StoreUnavailable, PepperMissing) as error:
            return str(error)
        return None
