"""A source without files, for tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

from apostille.sources.contract import Texts


class MemorySource:
    """Gives what was put into it with `put`; must be used from one event loop."""

    name = "memory"

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = dict(sorted(files.items()))
        self._had_something = bool(files)
        self._given: str | None = None
        self._put = asyncio.Event()

    def put(self, files: Mapping[str, str]) -> None:
        self._files = dict(sorted(files.items()))
        self._had_something |= bool(files)
        self._put.set()

    def read(self) -> Texts:
        texts = Texts(files=self._files, vanished=self._had_something and not self._files)
        self._given = texts.digest
        return texts

    async def changes(self, stop: asyncio.Event) -> AsyncIterator[Texts]:
        while not stop.is_set():
            given = self._given
            self._put.clear()
            texts = self.read()
            if texts.digest != given:
                yield texts
                continue
            waits = [asyncio.ensure_future(self._put.wait()), asyncio.ensure_future(stop.wait())]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
