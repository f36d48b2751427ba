"""Records as text, for exports: ``<format>.<revision>.<checksum><JSON>``, short, one way to write each record.

The checksum covers the id too: a record that was put under another id, or changed by hand, is damaged. What the store
holds is the same, packed: see `packing`.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NoReturn, TypeVar
from zlib import crc32

from apostille.keys.errors import DamagedRecord
from apostille.keys.record import KeyRecord, State
from apostille.model.limits import UNLIMITED, Limits, Period, Quota, Rate, Share
from apostille.model.scopes import EVERYTHING, NOTHING, Scopes

FORMAT = 1

# One record must not be able to slow down everybody's reading.
MAX_BYTES = 16 * 1024

_ENVELOPE = re.compile(rb"([0-9]{1,4})\.([1-9][0-9]{0,14})\.([0-9a-f]{8})(\{.*\})", re.DOTALL)
_PERIODS = {"h": Period.HOUR, "d": Period.DAY, "m": Period.MONTH}
_LETTERS = {period: letter for letter, period in _PERIODS.items()}

_T = TypeVar("_T")


def encode_record(record: KeyRecord) -> bytes:
    """Raises ValueError when it is longer than 16 KiB, or was never given a revision."""
    if record.revision < 1:
        raise ValueError("a record is written with the revision that the store gives it")
    body = _ENCODER.encode({**_fields(record), "h": _emit_digest(record.digest)}).encode()
    written = b"%d.%d.%s%s" % (FORMAT, record.revision, _written_checksum(record.id, record.revision, body), body)
    if len(written) > MAX_BYTES:
        raise ValueError(f"the record of key {record.id!r} has {len(written)} bytes; {MAX_BYTES} are allowed")
    return written


def decode_record(key_id: str, data: bytes) -> KeyRecord:
    """Raises DamagedRecord for everything that `encode_record` would not have written."""
    if len(data) > MAX_BYTES:
        raise DamagedRecord(key_id, f"it has {len(data)} bytes")
    envelope = _ENVELOPE.fullmatch(data)
    if envelope is None:
        raise DamagedRecord(key_id, "it is not in our format")
    if int(envelope[1]) != FORMAT:
        raise DamagedRecord(key_id, f"it is in format {int(envelope[1])} and this version reads {FORMAT}")
    revision, body = int(envelope[2]), envelope[4]
    if _written_checksum(key_id, revision, body) != envelope[3]:
        raise DamagedRecord(key_id, "its checksum is wrong")
    return parse_fields(key_id, revision, None, body)


def emit_fields(record: KeyRecord) -> bytes:
    """JSON of all but the id, the revision, the digest and the time of the last use."""
    fields = _fields(record)
    fields.pop("u", None)
    return _ENCODER.encode(fields).encode()


def parse_fields(key_id: str, revision: int, digest: bytes | None, body: bytes) -> KeyRecord:
    """The record of what `emit_fields` gave; without `digest` that is one of the fields. Raises DamagedRecord."""
    try:
        fields = _Fields(_read(body))
        return _record(key_id, revision, _digest(fields.need("h", str)) if digest is None else digest, fields)
    except (ValueError, TypeError, RecursionError, OverflowError, OSError):
        # Not one word of the cause: it may quote what it stumbled over.
        raise DamagedRecord(key_id, "its fields make no sense") from None


def checksum(key_id: str, revision: int, body: bytes) -> int:
    """Of 32 bits, over what stands around the body too."""
    return crc32(body, crc32(f"{key_id}.{revision}.".encode("utf-8", "replace")))


def _written_checksum(key_id: str, revision: int, body: bytes) -> bytes:
    return b"%08x" % checksum(key_id, revision, body)


def _fields(record: KeyRecord) -> dict[str, object]:
    scopes, limits = record.scopes, record.limits
    every: dict[str, object] = {
        "e": record.env,
        "c": record.consumer,
        "n": record.name,
        "t": _seconds(record.created),
        "l": dict(record.labels),
        "m": dict(record.metadata),
        "s": _present(
            {
                "m": list(scopes.methods),
                "h": list(scopes.hosts),
                "p": list(scopes.paths),
                "l": dict(scopes.labels),
                "d": list(scopes.destinations),
            }
        ),
        "q": _present(
            {
                "r": [float(limits.rate.per_second), limits.rate.burst] if limits.rate is not None else [],
                "q": [[_LETTERS[quota.period], quota.requests] for quota in limits.quotas],
                "c": limits.share is Share.CONSUMER,
            }
        ),
        "r": record.state is State.REVOKED,
        "o": record.successor,
    }
    times = {"b": record.not_before, "x": record.expires, "u": record.last_used}
    # The beginning of 1970 is a time too, however empty its number looks.
    return _present(every) | {name: _seconds(time) for name, time in times.items() if time is not None}


def _present(fields: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value or type(value) is int}


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def _read(body: bytes) -> dict[str, object]:
    # The envelope begins with a brace, so what comes out is an object.
    return _of(dict, _DECODER.decode(body.decode()))


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field is there twice")
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


# Made once: a million records are read one after another.
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True)
_DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_refuse)


class _Fields:
    """Gives each field once, of one type only; what nobody has taken in the end is a field too many."""

    def __init__(self, fields: Mapping[str, object]) -> None:
        self._fields = dict(fields)

    def need(self, name: str, kind: type[_T]) -> _T:
        value = self._fields.pop(name, None)
        # Not isinstance: true is an int for Python.
        if type(value) is not kind:
            raise ValueError("a field is missing or of another type")
        return value

    def take(self, name: str, kind: type[_T], otherwise: _T) -> _T:
        return self.need(name, kind) if name in self._fields else otherwise

    def texts(self, name: str) -> tuple[str, ...]:
        return tuple(_of(str, value) for value in self.take(name, list, []))

    def entries(self, name: str) -> Mapping[str, str]:
        found = self.take(name, dict, {})
        return {key: _of(str, value) for key, value in found.items()} if found else NOTHING

    def time(self, name: str) -> datetime | None:
        return _moment(self.need(name, int)) if name in self._fields else None

    def nested(self, name: str) -> _Fields | None:
        return _Fields(self.need(name, dict)) if name in self._fields else None

    def end(self) -> None:
        if self._fields:
            raise ValueError("there are fields that nobody knows")


def _of(kind: type[_T], value: object) -> _T:
    if type(value) is not kind:
        raise ValueError("a value is of another type")
    return value


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _record(key_id: str, revision: int, digest: bytes, fields: _Fields) -> KeyRecord:
    record = KeyRecord(
        id=key_id,
        revision=revision,
        env=fields.need("e", str),
        consumer=fields.need("c", str),
        name=fields.take("n", str, ""),
        digest=digest,
        created=_moment(fields.need("t", int)),
        labels=fields.entries("l"),
        metadata=fields.entries("m"),
        scopes=_scopes(fields.nested("s")),
        limits=_limits(fields.nested("q")),
        not_before=fields.time("b"),
        expires=fields.time("x"),
        last_used=fields.time("u"),
        state=State.REVOKED if fields.take("r", bool, False) else State.ACTIVE,
        successor=fields.take("o", str, "") or None,
    )
    fields.end()
    return record


def _emit_digest(digest: bytes) -> str:
    return urlsafe_b64encode(digest).rstrip(b"=").decode()


def _digest(text: str) -> bytes:
    digest = urlsafe_b64decode(text.encode("ascii") + b"=")
    # Decoding forgives much; one digest has one spelling.
    if _emit_digest(digest) != text:
        raise ValueError("no digest")
    return digest


def _scopes(fields: _Fields | None) -> Scopes:
    if fields is None:
        return EVERYTHING
    scopes = Scopes(
        methods=fields.texts("m"),
        hosts=fields.texts("h"),
        paths=fields.texts("p"),
        labels=fields.entries("l"),
        destinations=fields.texts("d"),
    )
    fields.end()
    return scopes


def _limits(fields: _Fields | None) -> Limits:
    if fields is None:
        return UNLIMITED
    rate: Rate | None = None
    match fields.take("r", list, []):
        case []:
            pass
        case [per_second, burst]:
            rate = Rate(per_second=_of(float, per_second), burst=_of(int, burst))
        case _:
            raise ValueError("no rate")
    limits = Limits(
        rate=rate,
        quotas=tuple(_quota(each) for each in fields.take("q", list, [])),
        share=Share.CONSUMER if fields.take("c", bool, False) else Share.KEY,
    )
    fields.end()
    return limits


def _quota(value: object) -> Quota:
    match value:
        case [str() as letter, requests] if letter in _PERIODS:
            return Quota(requests=_of(int, requests), period=_PERIODS[letter])
        case _:
            raise ValueError("no quota")
