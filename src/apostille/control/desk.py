"""The desk of this gateway's keys, opened when somebody first asks for it; and its audit, in the log."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from structlog.typing import FilteringBoundLogger

from apostille.base.clock import Clock
from apostille.keys.audit import AuditLine
from apostille.keys.desk import KeyDesk
from apostille.keys.errors import DamagedRecord, NoKeyStore
from apostille.keys.settings import PEPPER_FILE, URL, KeySettings
from apostille.keys.store import KeyStore


async def _nothing() -> None:
    """For a store that is there anyway."""


class DeskOpener:
    """Called, it gives the desk. Raises NoKeyStore where none is configured, and what `wanted` raises."""

    def __init__(
        self,
        settings: KeySettings | None,
        *,
        clock: Clock,
        log: FilteringBoundLogger,
        wanted: Callable[[], Awaitable[None]] = _nothing,
    ) -> None:
        """`wanted` is called before the store is used for the first time: it may have to be started."""
        self._settings, self._clock, self._log, self._wanted = settings, clock, log, wanted
        self._store: KeyStore | None = None
        self._desk: KeyDesk | None = None

    async def __call__(self) -> KeyDesk:
        if self._settings is None:
            raise NoKeyStore(
                f"this gateway has no key store; start it with apostille run, or set {URL} and {PEPPER_FILE}"
            )
        await self._wanted()
        if self._desk is None:
            self._store = KeyStore.at(self._settings.address, self._clock)
            self._desk = KeyDesk(self._store, self._settings.pepper, self._clock, secrets.token_bytes, self._audit)
        return self._desk

    async def close(self) -> None:
        if self._store is not None:
            await self._store.close()

    def report_damage(self, damaged: DamagedRecord) -> None:
        self._log.warning("keys.damaged", key=damaged.id, problem=damaged.what)

    def _audit(self, line: AuditLine) -> None:
        self._log.info(
            "keys.audit",
            action=line.action.value,
            outcome=line.outcome.value,
            actor=line.actor,
            key=line.key,
            consumer=line.consumer,
            note=line.note,
            when=line.when.isoformat(),
        )


@asynccontextmanager
async def opened_desk(
    settings: KeySettings | None,
    *,
    clock: Clock,
    log: FilteringBoundLogger,
    wanted: Callable[[], Awaitable[None]] = _nothing,
) -> AsyncIterator[DeskOpener]:
    """A `DeskOpener`, closed in the end."""
    opener = DeskOpener(settings, clock=clock, log=log, wanted=wanted)
    try:
        yield opener
    finally:
        await opener.close()
