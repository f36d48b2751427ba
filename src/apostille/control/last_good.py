"""The last good configuration on disk: what was published last, so that a start with a broken source can serve it.

It knows texts by file name and nothing of what they say. They hold secrets: the file is for its owner alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from apostille.base.clock import Clock

FORMAT = 1
_FILE = "last-good.json"
_MOST_BYTES = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class LastGood:
    """`texts`: file name → text, as they were read."""

    texts: Mapping[str, str] = field(repr=False)
    saved: datetime


@dataclass(frozen=True, slots=True)
class Unusable:
    """There is a copy and it is not to be trusted; the text says why, and that it is left aside."""

    why: str

    def __str__(self) -> str:
        return self.why


class LastGoodStore:
    """One file in a private folder."""

    def __init__(self, folder: Path, *, clock: Clock) -> None:
        self.path = folder / _FILE
        self._clock = clock

    def save(self, texts: Mapping[str, str]) -> str | None:
        """Replace the copy, whole or not at all. None, or in words why it could not be written."""
        body = {"saved": self._clock.now().astimezone(UTC).isoformat(), "texts": dict(texts)}
        document = {"format": FORMAT, "sha256": _checksum(body), **body}
        folder = self.path.parent
        # Always the same name: what a kill in the middle leaves behind is overwritten the next time.
        temporary = folder / f".{_FILE}"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(temporary, "w", encoding="utf-8", opener=_private) as file:
                json.dump(document, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.path)
            _sync_folder(folder)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            return f"the last good configuration could not be saved in {folder}: {error.strerror}"
        return None

    def load(self) -> LastGood | Unusable | None:
        """The copy, if there is one and every byte of its content is as it was written. None when there is none."""
        try:
            with self.path.open("rb") as file:
                raw = file.read(_MOST_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            return self._unusable(f"cannot be read: {error.strerror}")
        if len(raw) > _MOST_BYTES:
            return self._unusable("is too large to be ours")
        try:
            document = json.loads(raw)
        except (ValueError, RecursionError):
            return self._unusable("is damaged: it is not JSON")
        if not isinstance(document, dict) or "format" not in document:
            return self._unusable("is damaged: it has no format version")
        if document["format"] != FORMAT:
            return self._unusable(f"has format {document['format']!r}; this version of Apostille reads format {FORMAT}")
        return self._verify(document)

    def _verify(self, document: Mapping[str, object]) -> LastGood | Unusable:
        saved, texts = document.get("saved"), document.get("texts")
        body = {key: value for key, value in document.items() if key not in ("format", "sha256")}
        if not hmac.compare_digest(str(document.get("sha256")).encode(), _checksum(body).encode()):
            return self._unusable("is damaged: its checksum does not match")
        if not isinstance(saved, str) or not isinstance(texts, dict):
            return self._unusable("is damaged: its fields are not those of this format")
        return LastGood(texts=dict(sorted(texts.items())), saved=datetime.fromisoformat(saved))

    def _unusable(self, why: str) -> Unusable:
        return Unusable(f"the last good configuration {self.path} {why}. It is left aside and will be replaced")


def _private(path: str, flags: int) -> int:
    handle = os.open(path, flags, 0o600)
    os.fchmod(handle, 0o600)
    return handle


def _checksum(body: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _sync_folder(folder: Path) -> None:
    # Without it the new name may be lost in a power cut, though the content is on the disk.
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
