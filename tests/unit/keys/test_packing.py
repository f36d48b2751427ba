from __future__ import annotations

import zlib
from base64 import b64decode
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apostille.keys.codec import MAX_BYTES, encode_record
from apostille.keys.errors import DamagedRecord
from apostille.keys.packing import pack_record, unpack_record
from apostille.keys.record import KeyRecord
from tests.unit.credentials.stand_ins import START
from tests.unit.keys.test_codec import PLAIN, RECORDS
from tests.unit.keys.valkey import make_record


def sealed(key_id: str, body: bytes, head: bytes = b"1.1.") -> bytes:
    """A record that nobody but a forger, or another version, would have packed."""
    return head + zlib.crc32(body, zlib.crc32(f"{key_id}.1.".encode())).to_bytes(4) + body


def deflated(data: bytes) -> bytes:
    deflating = zlib.compressobj(9, zlib.DEFLATED, -10)
    return deflating.compress(data) + deflating.flush()


@given(RECORDS)
def test_every_record_comes_back_as_it_was_but_for_its_last_use(record: KeyRecord) -> None:
    assert unpack_record(record.id, pack_record(record)) == replace(record, last_used=None)


def test_a_plain_record_is_small() -> None:
    assert len(pack_record(PLAIN)) <= 90


def test_what_was_packed_once_can_be_read_for_ever() -> None:
    record = make_record(
        id="0123456789ab", digest=bytes(range(32)), name="laptop", labels={"plan": "gold"}, expires=START, revision=7
    )
    packed = b64decode(
        "MS43LkKstrIAAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eH4PoTcwBGgNVBdWXg+QZsIugVuckFpTkF8CMMTc3MzazMDCAGAfn1gIA"
    )
    assert unpack_record(record.id, packed) == record


@given(st.data())
def test_one_changed_byte_is_damage(data: st.DataObject) -> None:
    packed = bytearray(pack_record(PLAIN))
    place = data.draw(st.integers(0, len(packed) - 1))
    packed[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(DamagedRecord):
        unpack_record(PLAIN.id, bytes(packed))


@given(
    st.binary(max_size=100)
    | st.binary(min_size=33, max_size=100).map(lambda data: sealed("0" * 12, data))
    | st.text(max_size=30).map(lambda text: sealed("0" * 12, bytes(32) + deflated(f"{{{text}}}".encode())))
)
def test_any_bytes_are_a_record_or_damage(data: bytes) -> None:
    with pytest.raises(DamagedRecord):
        unpack_record("0" * 12, data)


def test_a_record_under_another_id_is_damaged() -> None:
    with pytest.raises(DamagedRecord, match="checksum"):
        unpack_record("0" * 12, pack_record(PLAIN))


def test_a_record_of_a_later_version_is_not_guessed_at() -> None:
    with pytest.raises(DamagedRecord, match="format 2"):
        unpack_record(PLAIN.id, b"2" + pack_record(PLAIN)[1:])


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (deflated(b"{" + b" " * 100_000_000 + b"}"), "too long"),
        (deflated(b'{"c":"a"}')[:-1], "not whole"),
        (deflated(b'{"c":"a"}') + b"x", "not whole"),
        (deflated(b'{"c":"a"}'), "fields"),
        (b"\xff" * 10, "inflated"),
    ],
)
def test_what_inflates_to_no_record_is_damage(body: bytes, what: str) -> None:
    with pytest.raises(DamagedRecord, match=what):
        unpack_record(PLAIN.id, sealed(PLAIN.id, bytes(32) + body))


def test_what_can_be_stored_can_be_exported_and_nothing_longer_is_stored() -> None:
    longest = make_record(revision=10**14, metadata={"a": "x" * (MAX_BYTES - 128 - 76)})
    assert len(encode_record(unpack_record(longest.id, pack_record(longest)))) <= MAX_BYTES
    with pytest.raises(ValueError, match="bytes"):
        pack_record(make_record(revision=1, metadata={"a": "x" * MAX_BYTES}))


def test_a_record_without_a_revision_is_not_packed() -> None:
    with pytest.raises(ValueError, match="revision"):
        pack_record(make_record())
