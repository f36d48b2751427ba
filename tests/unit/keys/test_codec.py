from __future__ import annotations

import base64
from datetime import UTC, datetime
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apostille.keys.codec import MAX_BYTES, decode_record, encode_record
from apostille.keys.errors import DamagedRecord
from apostille.keys.record import KeyRecord, State
from apostille.model.limits import Limits, Period, Quota, Rate, Share
from apostille.model.scopes import Scopes
from tests.unit.credentials.stand_ins import START
from tests.unit.keys.valkey import make_record

LETTERS = st.text("0123456789abcdefABCDEF", min_size=12, max_size=12)
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
NAMES = TEXTS.filter(bool)
MAPS = st.dictionaries(NAMES, TEXTS, max_size=4)
TIMES = st.integers(0, 4_000_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
SCOPES = st.builds(
    Scopes,
    methods=st.lists(st.sampled_from(["GET", "PUT"])).map(tuple),
    hosts=st.lists(st.sampled_from(["*", "a.example", "*.b.example"])).map(tuple),
    paths=st.lists(st.sampled_from(["/", "/a", "/b/é"])).map(tuple),
    labels=MAPS,
    destinations=st.lists(st.sampled_from(["apps/shop", "apps/bank", "a.b-c/d"]), max_size=3).map(tuple),
)
COUNTS = st.integers(1, 1_000_000_000)
LIMITS = st.builds(
    Limits,
    rate=st.none() | st.builds(Rate, per_second=st.floats(1e-6, 1e9), burst=COUNTS),
    quotas=st.lists(
        st.builds(Quota, requests=COUNTS, period=st.sampled_from(Period)), unique_by=lambda quota: quota.period
    ).map(tuple),
    share=st.sampled_from(Share),
)
RECORDS = st.builds(
    KeyRecord,
    id=LETTERS,
    env=st.sampled_from(["prod", "test1"]),
    consumer=NAMES,
    digest=st.binary(min_size=32, max_size=32),
    created=TIMES,
    name=TEXTS,
    labels=MAPS,
    metadata=MAPS,
    scopes=SCOPES,
    limits=LIMITS,
    not_before=st.none() | TIMES,
    expires=st.none() | TIMES,
    last_used=st.none() | TIMES,
    state=st.sampled_from(State),
    successor=st.none() | LETTERS,
    revision=st.integers(1, 10**14),
)
PLAIN = make_record(name="the laptop of Alice", revision=1)


def sealed(key_id: str, body: bytes, head: bytes = b"1.1.") -> bytes:
    """A record that nobody but a forger, or another version, would have written."""
    return head + b"%08x" % crc32(body, crc32(f"{key_id}.1.".encode())) + body


@given(RECORDS)
def test_every_record_comes_back_as_it_was(record: KeyRecord) -> None:
    data = encode_record(record)
    assert decode_record(record.id, data) == record
    assert encode_record(decode_record(record.id, data)) == data
    assert b"\n" not in data


def test_a_plain_record_is_small() -> None:
    assert len(encode_record(PLAIN)) <= 150


def test_the_form_of_a_stored_record_stays_what_it_is() -> None:
    record = make_record(
        id="0123456789ab",
        successor="ba9876543210",
        digest=bytes(range(32)),
        name="laptop",
        labels={"plan": "gold"},
        metadata={"tier": "1"},
        scopes=Scopes(methods=("GET",), hosts=("a.example",), paths=("/a",), labels={"x": "y"}, destinations=("n/d",)),
        limits=Limits(
            rate=Rate(per_second=2.5, burst=5), quotas=(Quota(requests=9, period=Period.DAY),), share=Share.CONSUMER
        ),
        not_before=START,
        expires=START,
        last_used=START,
        state=State.REVOKED,
        revision=7,
    )
    written = encode_record(record)
    assert written[:4] == b"1.7."
    assert written[12:].decode() == (
        '{"b":1777636800,"c":"alice","e":"test","h":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8","l":{"plan":"gold"},'
        '"m":{"tier":"1"},"n":"laptop","o":"ba9876543210","q":{"c":true,"q":[["d",9]],"r":[2.5,5]},"r":true,'
        '"s":{"d":["n/d"],"h":["a.example"],"l":{"x":"y"},"m":["GET"],"p":["/a"]},'
        '"t":1777636800,"u":1777636800,"x":1777636800}'
    )


@given(st.data())
def test_one_changed_byte_is_damage(data: st.DataObject) -> None:
    written = bytearray(encode_record(PLAIN))
    place = data.draw(st.integers(0, len(written) - 1))
    written[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(DamagedRecord):
        decode_record(PLAIN.id, bytes(written))


@given(
    st.binary(max_size=100)
    | st.text(max_size=30).map(lambda text: sealed("0" * 12, b"{" + text.encode("utf-8", "replace") + b"}"))
)
def test_any_bytes_are_a_record_or_damage(data: bytes) -> None:
    with pytest.raises(DamagedRecord):
        decode_record("0" * 12, data)


def test_a_record_under_another_id_is_damaged() -> None:
    with pytest.raises(DamagedRecord, match="checksum"):
        decode_record("0" * 12, encode_record(PLAIN))


@pytest.mark.parametrize(
    "change",
    [
        (b'"c":"alice"', b'"c":"alice","c":"bob"'),
        (b'"c":"alice"', b'"c":7'),
        (b'"c":"alice"', b'"c":null'),
        (b'"c":"alice",', b""),
        (b'"c":"alice"', b'"c":"alice","z":1'),
        (b'"c":"alice"', b'"c":"\\ud800"'),
        (b'"c":"alice"', b'"c":"alice","r":1'),
        (b'"c":"alice"', b'"c":"alice","x":1e400'),
        (b'"c":"alice"', b'"c":"alice","x":99999999999999999'),
        (b'"c":"alice"', b'"c":"alice","x":NaN'),
        (b'"c":"alice"', b'"c":"alice","s":{"m":"GET"}'),
        (b'"c":"alice"', b'"c":"alice","s":{"m":[1]}'),
        (b'"c":"alice"', b'"c":"alice","s":{"z":[]}'),
        (b'"c":"alice"', b'"c":"alice","q":{"r":[1]}'),
        (b'"c":"alice"', b'"c":"alice","q":{"r":[true,1]}'),
        (b'"c":"alice"', b'"c":"alice","q":{"q":[["y",1]]}'),
        (b'"c":"alice"', b'"c":"alice","l":{"a":1}'),
        (b'"c":"alice"', b'"c":"alice","s":' + b'{"s":' * 2000 + b"}" * 2000),
        (b'"t":', b'"t":-99999999999999'),
    ],
)
def test_fields_that_make_no_sense_are_damage(change: tuple[bytes, bytes]) -> None:
    body = encode_record(PLAIN)[12:]
    assert change[0] in body
    with pytest.raises(DamagedRecord, match="fields"):
        decode_record(PLAIN.id, sealed(PLAIN.id, body.replace(*change)))


def test_the_forger_of_these_tests_would_be_believed_otherwise() -> None:
    assert decode_record(PLAIN.id, sealed(PLAIN.id, encode_record(PLAIN)[12:])) == PLAIN


def test_a_record_of_a_later_version_is_not_guessed_at() -> None:
    with pytest.raises(DamagedRecord, match="format 2"):
        decode_record(PLAIN.id, sealed(PLAIN.id, b"{}", b"2.1."))


def test_what_is_damaged_is_named_by_its_id_and_not_quoted() -> None:
    written = encode_record(PLAIN)
    digest = base64.urlsafe_b64encode(PLAIN.digest).decode()[:20]
    with pytest.raises(DamagedRecord, match=PLAIN.id) as damage:
        decode_record(PLAIN.id, sealed(PLAIN.id, written[12:].replace(b'"e"', b'"f"')))
    assert digest.encode() in written
    assert digest not in f"{damage.value} {damage.value!r}"
    assert damage.value.__cause__ is None
    assert damage.value.__suppress_context__


def test_a_record_that_would_slow_down_everybody_is_not_written() -> None:
    with pytest.raises(ValueError, match="bytes"):
        encode_record(make_record(revision=1, metadata={"a": "x" * MAX_BYTES}))
    with pytest.raises(DamagedRecord, match="bytes"):
        decode_record(PLAIN.id, b"x" * (MAX_BYTES + 1))


def test_a_record_without_a_revision_is_not_written() -> None:
    with pytest.raises(ValueError, match="revision"):
        encode_record(make_record())
