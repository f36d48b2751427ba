"""A stream of bytes as lines, for exports of keys that are larger than memory should be."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator

from apostille.keys.codec import MAX_BYTES
from apostille.keys.errors import BrokenExport

# A type of its own: no form of a web page can send it.
MEDIA = "application/x-apostille-keys"

# Nobody reads further than this in search of the end of a line.
_LONGEST = MAX_BYTES + 1024
_PIECE = 64 * 1024


async def split_lines(chunks: AsyncIterable[bytes]) -> AsyncGenerator[bytes, None]:
    """Lines without their line feeds; the last one may have none. Raises BrokenExport for one that is too long."""
    rest, number = b"", 0
    async for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            number += 1
            yield line
        if len(rest) > _LONGEST:
            raise BrokenExport(number + 1, "it is longer than any line of an export")
    if rest:
        yield rest


async def join_lines(lines: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Lines with line feeds, many in one piece: a write for each of a million would take minutes."""
    piece = bytearray()
    async for line in lines:
        piece += line + b"\n"
        if len(piece) >= _PIECE:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)
