"""The desk of this gateway's keys, opened when somebody first asks for it; and its audit, in the log."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING

from structlog.typing import FilteringBoundLogger

from apostille.base.clock import Clock
from apostille.keys.audit import AuditLine
from apostille.keys.errors import DamagedRecord, NoKeyStore, StoreUnavailable
from apostille.keys.settings import PEPPER_FILE, URL, KeySettings

if TYPE_CHECKING:
    from apostille.keys.desk import KeyDesk
    from apostille.keys.store import KeyStore

# Seconds: how long a store that has just been asked for may take to start, and between looks at whether it has.
_START = 5.0
_LOOK = 0.05


class DeskOpener:
    """Called, it gives the desk. Close it."""

    def __init__(
        self,
        settings: KeySettings | None,
        wanted: Callable[[], None],
        *,
        clock: Clock,
        log: FilteringBoundLogger,
    ) -> None:
        """`wanted` says that the store is needed: it may have to be started first."""
        self._settings, self._wanted, self._clock, self._log = settings, wanted, clock, log
        self._store: KeyStore | None = None
        self._desk: KeyDesk | None = None

    async def __call__(self) -> KeyDesk:
        """Raises NoKeyStore where none is configured, StoreUnavailable, and what `wanted` raises."""
        if self._settings is None:
            raise NoKeyStore(
                f"this gateway has no key store; start it with apostille run, or set {URL} and {PEPPER_FILE}"
            )
        self._wanted()
        if self._desk is None:
            # The client takes 6 MiB, which a gateway without keys need not pay.
            from apostille.keys.desk import KeyDesk
            from apostille.keys.store import KeyStore

            if self._store is None:
                self._store = KeyStore.at(self._settings.address, self._clock)
            await self._until_started(self._store)
            self._desk = KeyDesk(self._store, self._settings.pepper, self._clock, secrets.token_bytes, self._audit)
        return self._desk

    async def aclose(self) -> None:
        if self._store is not None:
            await self._store.close()

    def report_damage(self, damaged: DamagedRecord) -> None:
        self._log.warning("keys.damaged", key=damaged.id, problem=damaged.what)

    async def _until_started(self, store: KeyStore) -> None:
        deadline = self._clock.monotonic() + _START
        while True:
            try:
                await store.version()
            except StoreUnavailable:
                if self._clock.monotonic() >= deadline:
                    raise
                await asyncio.sleep(_LOOK)
            else:
                return

    def _audit(self, line: AuditLine) -> None:
        self._log.info(
            "keys.audit",
            action=line.action.value,
            outcome=line.outcome.value,
            actor=line.actor,
            key=line.key,
            consumer=line.consumer,
            note=line.note,
        )
