"""Word that something under a path may have changed. It must not know what is there, nor whether it really changed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import TracebackType
from typing import Self

from watchfiles import Change, awatch

_QUIET_MS = 40
_LONGEST_MS = 2000
# How often to look where the kernel does not tell: no folder, or no watches left.
_BLIND_SECONDS = 1.0

Concerns = Callable[[Change, str], bool]


class FolderWatch(AbstractAsyncContextManager["FolderWatch"]):
    """Watches a folder with everything under it, and its parent, so that a replaced folder is noticed.

    A burst of changes is one: told after 40 ms of quiet, after 2 s at the latest. Every `rescan_seconds` it tells of
    a change unasked: network file systems send no events, and events can be lost.
    """

    def __init__(self, path: Path, *, rescan_seconds: float) -> None:
        self._path = path.absolute()
        self._rescan_seconds = rescan_seconds
        self._changed = asyncio.Event()
        self._watched: tuple[int, int] | None = None
        self._pumps: list[asyncio.Task[None]] = []
        self._ended = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self._watch()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end_pumps()

    async def wait(self, stop: asyncio.Event) -> None:
        """Until something may have changed, or `stop` is set."""
        seconds = self._rescan_seconds if self._sees() else min(_BLIND_SECONDS, self._rescan_seconds)
        waits = [asyncio.ensure_future(self._changed.wait()), asyncio.ensure_future(stop.wait())]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        # Before the reading, not after it: what changes while it is read must be told again.
        self._changed.clear()
        if _identity(self._path) != self._watched or not self._sees():
            await self._watch()

    def _sees(self) -> bool:
        return bool(self._pumps) and not any(pump.done() for pump in self._pumps)

    async def _watch(self) -> None:
        await self._end_pumps()
        self._watched = _identity(self._path)
        self._ended = asyncio.Event()
        wanted: dict[Path, Concerns] = {self._path.parent: self._concerns_us}
        if self._path.is_dir():
            wanted[self._path] = _everything
        for folder, concerns_us in wanted.items():
            recursive = folder == self._path
            self._pumps.append(asyncio.create_task(self._pump(_real(folder), concerns_us, recursive)))
        # Each pump has its watch in place once it has run up to its first wait.
        await asyncio.sleep(0)

    async def _pump(self, folder: Path, concerns_us: Concerns, recursive: bool) -> None:
        # The folder may be gone or unreadable, or the kernel out of watches: then we look without being told.
        with contextlib.suppress(OSError):
            async for _ in awatch(
                folder,
                watch_filter=concerns_us,
                debounce=_LONGEST_MS,
                step=_QUIET_MS,
                stop_event=self._ended,
                recursive=recursive,
                ignore_permission_denied=True,
            ):
                self._changed.set()

    async def _end_pumps(self) -> None:
        self._ended.set()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        self._pumps.clear()

    def _concerns_us(self, _change: Change, path: str) -> bool:
        """Of the parent's changes: those of our own name, or any where we are a link or a file that may be one."""
        return Path(path).name == self._path.name or self._path.is_symlink() or not self._path.is_dir()


def _everything(_change: Change, _path: str) -> bool:
    return True


def _real(folder: Path) -> Path:
    """Without links: watching a link would watch nothing but its name."""
    with contextlib.suppress(OSError):
        return folder.resolve()
    return folder


def _identity(path: Path) -> tuple[int, int] | None:
    """Which folder or file stands at the path now; another one may have taken its place."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
