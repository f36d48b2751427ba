"""Records as the store holds them: ``<format>.<revision>.<checksum><digest><JSON, deflated>``. Half the size of text.

The revision stands in front, in digits, so that the store can compare it. The checksum, four bytes, covers the id too:
a record that was put under another id, or changed by hand, is damaged. What has been deflated is inflated everywhere in
the same way; two versions of zlib may deflate it differently, so packed records are not to be compared.
"""

from __future__ import annotations

import re
import zlib

from apostille.keys.codec import MAX_BYTES, checksum, emit_fields, parse_fields
from apostille.keys.errors import DamagedRecord
from apostille.keys.record import KeyRecord

FORMAT = 1

_ENVELOPE = re.compile(rb"([0-9]{1,4})\.([1-9][0-9]{0,14})\.(.{4})(.{32})(.+)", re.DOTALL)
# What stands around the fields in an export: what can be stored can be exported.
_AROUND = 128
_LONGEST = MAX_BYTES - _AROUND
# A record is far smaller than 1 KiB: the least that deflate can be told to remember of it is enough.
_WINDOW, _MEMORY, _LEVEL = -10, 1, 9
# Part of the format: what fields look like, the likeliest last. One letter changed here, and no record can be read.
_LIKELY = (
    b'"b":17"r":true,"o":"PATCH","DELETE","PUT","HEAD","OPTIONS","api.example.org"*."],"h":["/api/v1/","p":["'
    b'"],"d":["default/"s":{"m":["GET","POST"],"p":["/"]},"q":{"c":true,"q":[["m",1000000],["h",1000],["d",10000]],"r":['
    b'10.0,100]}},"m":{"plan":"premium","role":"user","email":"@example.com","l":{"tier":"gold","env":"prod","team":"'
    b'"},"n":"key of service{"c":"customer-"dev","test","prod","e":"live","t":17,"x":18}'
)


def pack_record(record: KeyRecord) -> bytes:
    """Without the time of its last use, which is kept apart.

    Raises ValueError when it is longer than 16 KiB as text, or was never given a revision.
    """
    if record.revision < 1:
        raise ValueError("a record is written with the revision that the store gives it")
    fields = emit_fields(record)
    if len(fields) > _LONGEST:
        raise ValueError(f"the record of key {record.id!r} has {len(fields)} bytes; {_LONGEST} are allowed")
    deflating = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW, _MEMORY, zlib.Z_DEFAULT_STRATEGY, _LIKELY)
    body = record.digest + deflating.compress(fields) + deflating.flush()
    return b"%d.%d.%b%b" % (FORMAT, record.revision, checksum(record.id, record.revision, body).to_bytes(4), body)


def unpack_record(key_id: str, data: bytes) -> KeyRecord:
    """Raises DamagedRecord for what `pack_record` has not written."""
    envelope = _ENVELOPE.fullmatch(data)
    if envelope is None:
        raise DamagedRecord(key_id, "it is not in our format")
    if int(envelope[1]) != FORMAT:
        raise DamagedRecord(key_id, f"it is in format {int(envelope[1])} and this version reads {FORMAT}")
    revision, digest, deflated = int(envelope[2]), envelope[4], envelope[5]
    if checksum(key_id, revision, digest + deflated).to_bytes(4) != envelope[3]:
        raise DamagedRecord(key_id, "its checksum is wrong")
    inflating = zlib.decompressobj(_WINDOW, _LIKELY)
    try:
        # No further than a record may go, whatever it would become.
        fields = inflating.decompress(deflated, _LONGEST + 1)
    except zlib.error:
        raise DamagedRecord(key_id, "it cannot be inflated") from None
    if not inflating.eof or inflating.unused_data or len(fields) > _LONGEST:
        raise DamagedRecord(key_id, "it is too long, or not whole")
    return parse_fields(key_id, revision, digest, fields)
