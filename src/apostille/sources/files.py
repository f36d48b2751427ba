"""Manifests from a folder (or one file): read whole, read safely, read again when something changes.

It must not know YAML: it gives texts. What cannot be read becomes a finding and harms no other file.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

from apostille.base.refs import Origin
from apostille.sources.contract import Texts
from apostille.sources.watch import FolderWatch
from apostille.status.problem import Finding, Problem
from apostille.status.reasons import Effect, Reason

SUFFIXES = (".yaml", ".yml", ".json")
_DEEPEST = 32
_MEGABYTE = 1024 * 1024


class FilesSource:
    """All ``*.yaml``, ``*.yml`` and ``*.json`` under a folder, or the one file that is named.

    Hidden files and folders are left out, and so are the ``..data`` folders of a Kubernetes ConfigMap mount: what is
    in them is reached through the visible links. `most_bytes` is the limit for one file, `most_bytes_together` for
    all; a file that passes one of them is a finding.
    """

    def __init__(
        self,
        path: Path,
        *,
        most_bytes: int = 8 * _MEGABYTE,
        most_bytes_together: int = 128 * _MEGABYTE,
        rescan_seconds: float = 10.0,
    ) -> None:
        self._path = path
        self._most_bytes = most_bytes
        self._most_bytes_together = most_bytes_together
        self._rescan_seconds = rescan_seconds
        self._had_something = False
        self._given: str | None = None

    @property
    def name(self) -> str:
        return str(self._path)

    def read(self) -> Texts:
        reading = _Reading(self._path, self._most_bytes, self._most_bytes_together)
        reading.read()
        files = dict(sorted(reading.files.items()))
        self._had_something |= bool(files)
        texts = Texts(
            files=files,
            findings=tuple(sorted(reading.findings, key=lambda finding: finding.origin)),
            vanished=self._had_something and not files,
        )
        self._given = texts.digest
        return texts

    async def changes(self, stop: asyncio.Event) -> AsyncIterator[Texts]:
        async with FolderWatch(self._path, rescan_seconds=self._rescan_seconds) as watch:
            while not stop.is_set():
                given = self._given
                texts = await asyncio.to_thread(self.read)
                if texts.digest != given:
                    yield texts
                await watch.wait(stop)


class _Reading:
    """One walk over the folder."""

    def __init__(self, path: Path, most_bytes: int, most_bytes_together: int) -> None:
        self._path = path
        self._most_bytes = most_bytes
        self._bytes_left = most_bytes_together
        self._folders: dict[tuple[int, int], str] = {}
        self.files: dict[str, str] = {}
        self.findings: list[Finding] = []

    def read(self) -> None:
        try:
            is_folder = stat.S_ISDIR(self._path.stat().st_mode)
        except OSError as error:
            self._unreadable(str(self._path), f"{_words(error)}; name a folder or a file that exists and can be read")
            return
        if is_folder:
            self._read_folder(self._path, "", 0)
        else:
            self._read_file(self._path, self._path.name)

    def _read_folder(self, folder: Path, name: str, depth: int) -> None:
        shown = name or str(self._path)
        if depth > _DEEPEST:
            self._unreadable(shown, f"this folder is more than {_DEEPEST} folders deep; move it up")
            return
        try:
            status = folder.stat()
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except FileNotFoundError:
            if not depth:
                self._unreadable(shown, "the folder has gone away while it was read")
            return
        except OSError as error:
            self._unreadable(shown, f"{_words(error)}; make the folder readable for the user that runs apostille")
            return
        # By identity, not by name: a link to a parent would be walked for ever, two links to one folder read it twice.
        first = self._folders.setdefault((status.st_dev, status.st_ino), shown)
        if first != shown:
            self._add(shown, Reason.DUPLICATE, f"a link to {first}, which is read already; remove it", Effect.IGNORED)
            return
        for entry in entries:
            if not entry.name.startswith("."):
                self._read_entry(entry, f"{name}/{_shown(entry.name)}" if name else _shown(entry.name), depth)

    def _read_entry(self, entry: os.DirEntry[str], name: str, depth: int) -> None:
        manifest = entry.name.endswith(SUFFIXES)
        try:
            status = entry.stat()
        except FileNotFoundError:
            # Gone since the listing, or a link to nothing; only the latter is still there.
            if manifest and entry.is_symlink() and os.path.lexists(entry.path):
                self._unreadable(name, "a link to a file that does not exist; repair or remove it")
            return
        except OSError as error:
            if manifest or entry.is_symlink():
                self._unreadable(name, _words(error))
            return
        if stat.S_ISDIR(status.st_mode):
            self._read_folder(Path(entry.path), name, depth + 1)
        elif manifest:
            self._read_file(Path(entry.path), name)

    def _read_file(self, file: Path, name: str) -> None:
        try:
            data = self._read_bytes(file, name)
        except FileNotFoundError:
            return
        except OSError as error:
            self._unreadable(name, f"{_words(error)}; make the file readable for the user that runs apostille")
            return
        if data is None:
            return
        try:
            # A byte order mark is not part of the text.
            self.files[name] = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            column = error.start - data.rfind(b"\n", 0, error.start)
            message = f"byte {error.start + 1} is not UTF-8; save the file as UTF-8 text"
            self._add(name, Reason.INVALID_SYNTAX, message, Effect.REJECTED, line, column)

    def _read_bytes(self, file: Path, name: str) -> bytes | None:
        # Without O_NONBLOCK opening a named pipe would wait for a writer for ever.
        with os.fdopen(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as handle:
            if not stat.S_ISREG(os.fstat(handle.fileno()).st_mode):
                self._unreadable(name, "not a regular file; remove it or give it another name")
                return None
            data = handle.read(self._most_bytes + 1)
        if len(data) > self._most_bytes:
            message = f"larger than {self._most_bytes} bytes; split it into several files"
            self._add(name, Reason.INVALID_SYNTAX, message, Effect.REJECTED)
            return None
        if len(data) > self._bytes_left:
            message = "too large together with the files before it; does the folder hold other things than manifests?"
            self._add(name, Reason.INVALID_SYNTAX, message, Effect.REJECTED)
            return None
        self._bytes_left -= len(data)
        return data

    def _unreadable(self, name: str, message: str) -> None:
        self._add(name, Reason.UNREADABLE, message, Effect.REJECTED)

    def _add(self, name: str, reason: Reason, message: str, effect: Effect, line: int = 1, column: int = 1) -> None:
        problem = Problem(at=(), reason=reason, message=message)
        self.findings.append(Finding(ref=None, origin=Origin(name, line, column), problem=problem, effect=effect))


def _words(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()


def _shown(name: str) -> str:
    """File names are bytes; those that are no UTF-8 could neither be printed nor saved."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
