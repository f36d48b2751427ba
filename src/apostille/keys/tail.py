"""The end of the embedded store's file, when the store was killed while it wrote.

The server can mend that by itself, and must not: told to, it takes any damaged length in the middle for such an end
and throws away everything behind it, silently. So it is told to refuse, and the one harmless case is mended here
before it starts: a last command, or a last transaction, that is not whole. Nobody was ever told that it is stored.
What is cut off is kept beside it. Everything else is left as it is, for the server to refuse.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = "appendonlydir"
_MANIFEST = "appendonly.aof.manifest"
_MEMBER = re.compile(r'file "?([^\s/"]+)"? seq ([0-9]+) type i\b')

# Looked at from the end of the file: far more than the server writes at once for us.
_WINDOW = 8 * 1024 * 1024
# Lengths beyond these are damage, and no command that was being written.
_MOST_WORDS = 10_000
_LONGEST_WORD = 1024 * 1024
_LONGEST_LINE = 16

_BEGIN = b"*1\r\n$5\r\nMULTI\r\n"
_END = b"*1\r\n$4\r\nEXEC\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class TornTail:
    """`removed` bytes were cut off `file` and are in `kept`."""

    file: Path
    removed: int
    kept: Path


def mend_tail(folder: Path) -> TornTail | None:
    """Cut off a last command that is not whole; None where there is none. The store of `folder` must not be running.

    Raises OSError when the files cannot be read or written.
    """
    file = _last_file(folder / FOLDER)
    if file is None:
        return None
    with file.open("r+b") as opened:
        size = opened.seek(0, os.SEEK_END)
        start = max(0, size - _WINDOW)
        opened.seek(start)
        data = opened.read()
        whole = _whole(data, from_beginning=start == 0)
        if whole is None or whole == len(data):
            return None
        kept = _keep(folder, data[whole:])
        opened.truncate(start + whole)
        os.fsync(opened.fileno())
    return TornTail(file=file, removed=len(data) - whole, kept=kept)


def _last_file(folder: Path) -> Path | None:
    """The file that the server was writing to last."""
    try:
        manifest = (folder / _MANIFEST).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    members = [(int(match[2]), match[1]) for match in _MEMBER.finditer(manifest)]
    if not members:
        return None
    file = folder / max(members)[1]
    return file if file.is_file() else None


def _whole(data: bytes, *, from_beginning: bool) -> int | None:
    """How much of the data is whole commands; None where it does not end as a killed server leaves it."""
    last = _last_start(data, len(data), from_beginning=from_beginning)
    if last is None:
        return None
    try:
        end = _end_of_command(data, last)
        if last > 0:
            # Proof that this is the beginning of a command and nothing inside of one.
            before = _last_start(data, last - 1, from_beginning=from_beginning)
            if before is None or _end_of_command(data, before) != last:
                return None
    except ValueError:
        return None
    if end is not None and end != len(data):
        return None
    whole = last if end is None else end
    begun = data.rfind(_BEGIN, 0, whole)
    if begun >= 0 and data.find(_END, begun, whole) < 0:
        return begun
    return whole


def _last_start(data: bytes, end: int, *, from_beginning: bool) -> int | None:
    # Our values hold no line feeds, so that this begins no value.
    position = data.rfind(b"\r\n*", 0, end)
    if position >= 0:
        return position + 2
    return 0 if from_beginning and data.startswith(b"*") else None


def _end_of_command(data: bytes, position: int) -> int | None:
    """Where the command that begins at `position` ends; None when the data ends before. Raises ValueError."""
    words, place = _number(data, position, b"*", _MOST_WORDS)
    for _ in range(words or 0):
        if place is None or place == len(data):
            return None
        length, place = _number(data, place, b"$", _LONGEST_WORD)
        if place is None:
            return None
        ending = data[place + length : place + length + 2]
        if not b"\r\n".startswith(ending):
            raise ValueError("a word does not end where it should")
        if len(ending) < 2:
            return None
        place += length + 2
    return place


def _number(data: bytes, position: int, sign: bytes, most: int) -> tuple[int, int | None]:
    """The number in a line and where the next line begins: None when the data ends before. Raises ValueError."""
    end = data.find(b"\r\n", position, position + _LONGEST_LINE)
    line = data[position:] if end < 0 else data[position:end]
    digits = line[1:] if end >= 0 else line[1:].removesuffix(b"\r")
    if line[:1] != sign or (digits and not digits.isdigit()) or (end >= 0 and not digits):
        raise ValueError("there should be a number")
    if end < 0:
        if len(line) >= _LONGEST_LINE:
            raise ValueError("a number is too long")
        return 0, None
    if int(digits) > most:
        raise ValueError("a number is too large")
    return int(digits), end + 2


def _keep(folder: Path, data: bytes) -> Path:
    number = 1
    while True:
        kept = folder / f"torn-{number}.aof"
        try:
            descriptor = os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            number += 1
            continue
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        return kept
