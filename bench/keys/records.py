"""Keys as people make them, as many as one likes, as an export and in clear. It must not know what they are for."""

from __future__ import annotations

import os
import random
import secrets
import string
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import repeat
from pathlib import Path

from apostille.keys.codec import decode_record, encode_record
from apostille.keys.fingerprint import fingerprint
from apostille.keys.format import ID_LENGTH, new_key, parse_key
from apostille.keys.record import KeyRecord, Pepper, to_second
from apostille.model.limits import UNLIMITED, Limits, Period, Quota, Rate
from apostille.model.scopes import EVERYTHING, Scopes

ENV = "live"
_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_CHUNK = 20_000
_CONSUMERS = 10_000
_SCOPES = Scopes(methods=("GET", "POST"), paths=("/orders",))
_LIMITS = Limits(rate=Rate(per_second=1_000_000.0, burst=1_000_000), quotas=(Quota(requests=10**9, period=Period.DAY),))


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """`export`: a file as `export_lines` writes it. `keys`: all of them in clear, in its order."""

    export: Path
    keys: Sequence[str]
    line_bytes: float


def make_keys(count: int, pepper: bytes, folder: Path) -> Made:
    """Makes the folder and writes ``folder/export``. On all processors: it is not what is measured."""
    folder.mkdir()
    file, keys = folder / "export", list[str]()
    firsts = range(0, count, _CHUNK)
    with file.open("wb") as out, ProcessPoolExecutor(os.cpu_count()) as pool:
        out.write(b"apostille-keys 2 " + fingerprint(Pepper(pepper)) + b"\n")
        head = out.tell()
        sizes = [min(_CHUNK, count - first) for first in firsts]
        for lines, some in pool.map(_make_some, firsts, sizes, repeat(pepper)):
            out.write(lines)
            keys += some
        line_bytes = (out.tell() - head) / count
        out.write(b"end %d\n" % count)
    return Made(export=file, keys=keys, line_bytes=line_bytes)


async def read_lines(file: Path) -> AsyncIterator[bytes]:
    with file.open("rb") as opened:
        for line in opened:
            yield line


def read_records(file: Path, count: int) -> list[KeyRecord]:
    """The first so many of an export."""
    with file.open("rb") as opened:
        opened.readline()
        lines = [opened.readline().rstrip() for _ in range(count)]
    return [decode_record(line[:ID_LENGTH].decode(), line[ID_LENGTH + 1 :]) for line in lines]


def id_of(key: str) -> str:
    parts = parse_key(key)
    if parts is None:
        raise ValueError("no key")
    return parts.id


def forge(key: str) -> str:
    """Well formed, with the id of `key` and a secret that is not its own."""
    # A byte below 62 is the digit of that number.
    key_id = bytes(map(_DIGITS.index, id_of(key)))
    return new_key(ENV, lambda count: (key_id + secrets.token_bytes(count))[:count]).key.reveal()


def make_unknown(count: int) -> list[str]:
    return [new_key(ENV, secrets.token_bytes).key.reveal() for _ in range(count)]


def draw(keys: Sequence[str], count: int, chance: random.Random) -> list[str]:
    """So many of them at random, one as likely as another, with repetition."""
    return chance.choices(keys, k=count)


def _make_some(first: int, count: int, secret: bytes) -> tuple[bytes, list[str]]:
    pepper = Pepper(secret)
    now = to_second(datetime.now(UTC))
    made = list(_records(range(first, first + count), pepper, now))
    lines = b"".join(record.id.encode() + b" " + encode_record(record) + b"\n" for _, record in made)
    return lines, [key for key, _ in made]


def _records(numbers: range, pepper: Pepper, now: datetime) -> Iterator[tuple[str, KeyRecord]]:
    """Each with a consumer, a name, a label and a metadata entry; every other one expires and has been used; every
    fourth has scopes, every fourth other one has limits."""
    for number in numbers:
        parts = new_key(ENV, secrets.token_bytes)
        record = KeyRecord(
            id=parts.id,
            env=ENV,
            consumer=f"consumer-{number % _CONSUMERS:05}",
            digest=pepper.digest(parts.key),
            created=now,
            name=f"key {number}",
            labels={"team": f"team-{number % 100}"},
            metadata={"email": f"user-{number}@example.com"},
            scopes=_SCOPES if number % 4 == 1 else EVERYTHING,
            limits=_LIMITS if number % 4 == 3 else UNLIMITED,
            expires=now + timedelta(days=90) if number % 2 else None,
            last_used=now if number % 2 else None,
            revision=1,
        )
        yield parts.key.reveal(), record
