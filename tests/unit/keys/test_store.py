from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest

from apostille.keys.errors import (
    DamagedRecord,
    KeyChanged,
    KeyExists,
    KeyNotActive,
    KeyNotFound,
    StoreUnavailable,
)
from apostille.keys.record import KeyRecord, State, Verdict
from apostille.keys.store import BATCH, KeyStore
from tests.unit.credentials.stand_ins import START
from tests.unit.keys.valkey import PEPPER, Server, make_key, make_record, verify

HOUR = timedelta(hours=1)
INJECTED = [
    "",
    "a" * 13,
    "k:*\r\nDEL apo:version",
    "0123456789a{",
    "x' OR 1=1 --",
    "\ud800" * 12,
    "é" * 12,
    "a" * 1_000_000,
]


async def test_a_stored_key_is_found_under_its_id(store: KeyStore) -> None:
    parts = make_key()
    stored = await store.put(make_record(parts, labels={"plan": "gold"}))
    assert stored.revision == 1
    found = await store.get(parts.id)
    assert found == stored
    assert found is not None
    assert verify(found, parts.key, PEPPER, START) is Verdict.ACCEPTED
    assert await store.get(make_key().id) is None


async def test_an_id_is_given_once(store: KeyStore) -> None:
    record = make_record()
    stored = await store.put(record)
    with pytest.raises(KeyExists, match=record.id):
        await store.put(replace(record, consumer="mallory"))
    assert await store.get(record.id) == stored


async def test_of_two_who_change_a_key_the_slower_is_told(store: KeyStore) -> None:
    stored = await store.put(make_record())
    first = await store.replace(replace(stored, name="first"))
    assert first.revision == 2
    with pytest.raises(KeyChanged, match=stored.id):
        await store.replace(replace(stored, name="second"))
    assert await store.get(stored.id) == first
    assert (await store.replace(replace(first, name="third"))).revision == 3


async def test_of_many_at_once_one_wins(store: KeyStore) -> None:
    stored = await store.put(make_record())
    changes = [store.replace(replace(stored, name=f"number {number}")) for number in range(10)]
    results = await asyncio.gather(*changes, return_exceptions=True)
    won = [result for result in results if isinstance(result, KeyRecord)]
    assert len(won) == 1
    assert await store.get(stored.id) == won[0]


async def test_what_is_not_there_cannot_be_changed(store: KeyStore) -> None:
    record = make_record(revision=1)
    with pytest.raises(KeyNotFound):
        await store.replace(record)
    with pytest.raises(KeyNotFound):
        await store.revoke(record.id)
    with pytest.raises(KeyNotFound):
        await store.rotate(record, make_record(), START)
    assert await store.delete(record.id) is False
    assert await store.get(record.id) is None


async def test_revoking_is_final_and_can_be_repeated(store: KeyStore) -> None:
    parts = make_key()
    await store.put(make_record(parts))
    revoked = await store.revoke(parts.id)
    assert verify(revoked, parts.key, PEPPER, START) is Verdict.REVOKED
    assert await store.revoke(parts.id) == revoked
    assert await store.get(parts.id) == revoked


async def test_revoking_wins_over_those_who_change_the_key_meanwhile(store: KeyStore) -> None:
    stored = await store.put(make_record())

    async def rename() -> None:
        with suppress(KeyChanged):
            await store.replace(replace(stored, name="other"))

    revoked, _ = await asyncio.gather(store.revoke(stored.id), rename())
    found = await store.get(stored.id)
    assert found == revoked
    assert revoked.state is State.REVOKED


async def test_while_a_key_is_rotated_both_are_valid_for_the_grace(store: KeyStore) -> None:
    earlier, later = make_key(), make_key()
    rotated = await store.rotate(await store.put(make_record(earlier)), make_record(later), START + HOUR)
    assert rotated.retiring.successor == later.id
    assert await store.get_many([earlier.id, later.id]) == {
        earlier.id: rotated.retiring,
        later.id: rotated.successor,
    }
    second = timedelta(seconds=1)
    assert verify(rotated.retiring, earlier.key, PEPPER, START + HOUR - second) is Verdict.ACCEPTED
    assert verify(rotated.retiring, earlier.key, PEPPER, START + HOUR) is Verdict.EXPIRED
    assert verify(rotated.successor, later.key, PEPPER, START + HOUR) is Verdict.ACCEPTED


async def test_the_grace_does_not_lengthen_a_life(store: KeyStore) -> None:
    stored = await store.put(make_record(expires=START + HOUR))
    assert (await store.rotate(stored, make_record(), START + 24 * HOUR)).retiring.expires == START + HOUR


async def test_a_rotation_that_cannot_be_done_changes_nothing(store: KeyStore) -> None:
    stored, other = await store.put(make_record()), await store.put(make_record())
    version = await store.version()
    with pytest.raises(KeyExists, match=other.id):
        await store.rotate(stored, other, START)
    fresh = make_record()
    with pytest.raises(KeyChanged, match=stored.id):
        await store.rotate(replace(stored, revision=9), fresh, START)
    assert await store.get(fresh.id) is None
    assert await store.get(stored.id) == stored
    assert await store.version() == version


async def test_a_key_with_a_successor_or_a_revoked_one_is_not_rotated(store: KeyStore) -> None:
    rotated = await store.rotate(await store.put(make_record()), make_record(), START)
    with pytest.raises(KeyNotActive):
        await store.rotate(rotated.retiring, make_record(), START)
    with pytest.raises(KeyNotActive):
        await store.rotate(await store.revoke(rotated.successor.id), make_record(), START)


async def test_a_deleted_key_leaves_nothing(store: KeyStore) -> None:
    record = await store.put(make_record())
    await store.touch({record.id: START})
    assert await store.delete(record.id) is True
    assert await store.get(record.id) is None
    again = await store.put(record)
    found = await store.get(record.id)
    assert found == again
    assert found is not None
    assert found.last_used is None


async def test_every_change_raises_the_version(server: Server) -> None:
    async with server.opened() as alone:
        assert await alone.version() == 0
        stored = await alone.put(make_record())
        assert await alone.version() == 1
        await alone.rotate(stored, make_record(), START)
        assert await alone.version() == 3
        await alone.revoke(stored.id)
        assert await alone.version() == 4
        await alone.touch({stored.id: START})
        assert await alone.version() == 4
        await alone.delete(stored.id)
        assert await alone.version() == 5


async def test_last_use_is_noted_for_many_at_once_and_kept_through_changes(store: KeyStore) -> None:
    stored = [await store.put(make_record()) for _ in range(3)]
    await store.touch({record.id: START + number * HOUR for number, record in enumerate(stored[:2])})
    found = [await store.get(record.id) for record in stored]
    assert [record.last_used for record in found if record] == [START, START + HOUR, None]
    assert found[0] is not None
    changed = await store.replace(replace(found[0], name="other"))
    assert changed.last_used == START
    assert await store.get(changed.id) == changed
    assert (await store.get_many([changed.id]))[changed.id] == replace(changed, last_used=None)


async def test_the_last_use_of_a_key_that_is_gone_is_not_noted(server: Server) -> None:
    record = make_record()
    async with server.opened() as store, server.raw() as raw:
        await store.touch({record.id: START, "not an id": START})
        assert await raw.command("EXISTS", f"apo:u:{record.id[:2]}") == 0


@pytest.mark.parametrize("key_id", INJECTED)
async def test_what_can_be_no_id_is_of_no_key_and_touches_nothing(store: KeyStore, key_id: str) -> None:
    version = await store.version()
    assert await store.get(key_id) is None
    assert await store.get_many([key_id]) == {}
    assert await store.delete(key_id) is False
    await store.touch({key_id: START})
    assert await store.version() == version


async def test_pages_together_hold_every_key(server: Server) -> None:
    records = [make_record(revision=1) for _ in range(1200)]
    async with server.opened() as store:
        await store.load(records)
        await store.touch({records[0].id: START})
        found: dict[str, KeyRecord] = {}
        cursor, pages = None, 0
        while True:
            page = await store.page(cursor, limit=100)
            assert len(page.records) <= 200
            found |= {record.id: record for record in page.records}
            pages += 1
            cursor = page.cursor
            if cursor is None:
                break
        expected = {record.id: record for record in records}
        expected[records[0].id] = replace(records[0], last_used=START)
        assert found == expected
        assert pages >= 6


@pytest.mark.parametrize(("cursor", "limit"), [("x", 10), ("-1", 10), ("", 10), ("٣", 10), (None, 0), (None, 1001)])
async def test_a_page_that_cannot_be_is_refused(store: KeyStore, cursor: str | None, limit: int) -> None:
    with pytest.raises(ValueError, match="cursor"):
        await store.page(cursor, limit=limit)


async def test_many_keys_are_loaded_and_those_that_are_there_left_alone(server: Server) -> None:
    async with server.opened() as store:
        present = await store.put(make_record(consumer="first"))
        used = make_record(last_used=START, revision=5)
        records = [make_record() for _ in range(BATCH + 10)]
        assert await store.load([*records, replace(present, consumer="second"), used]) == (present.id,)
        assert await store.get(present.id) == present
        assert await store.get(used.id) == used
        assert len(await store.get_many([record.id for record in records])) == len(records)
        # One for the key, one for each batch.
        assert await store.version() == 3
        assert await store.load(records) == tuple(
            each for some in (records[:BATCH], records[BATCH:]) for each in sorted(record.id for record in some)
        )
        assert await store.version() == 3


async def test_a_damaged_record_is_told_and_left_for_somebody_to_repair(server: Server) -> None:
    good, bad = make_record(), make_record()
    async with server.opened() as store, server.raw() as raw:
        await store.put(good)
        await store.put(bad)
        await raw.command("APPEND", f"apo:k:{bad.id}", "x")
        before = await raw.command("GET", f"apo:k:{bad.id}")
        with pytest.raises(DamagedRecord, match=bad.id):
            await store.get(bad.id)
        with pytest.raises(DamagedRecord):
            await store.revoke(bad.id)
        with pytest.raises(KeyExists):
            await store.put(bad)
        found = await store.get_many([good.id, bad.id])
        assert isinstance(found[good.id], KeyRecord)
        assert isinstance(found[bad.id], DamagedRecord)
        page = await store.page()
        assert ([each.id for each in page.records], [each.id for each in page.damaged]) == ([good.id], [bad.id])
        assert await raw.command("GET", f"apo:k:{bad.id}") == before
        assert await store.delete(bad.id) is True


async def test_something_else_under_the_name_of_a_key_is_neither_read_nor_overwritten(server: Server) -> None:
    record = make_record()
    async with server.opened() as store, server.raw() as raw:
        await raw.command("RPUSH", f"apo:k:{record.id}", "1")
        assert await store.get(record.id) is None
        with pytest.raises(StoreUnavailable, match="ResponseError"):
            await store.put(record)
        assert await raw.command("LRANGE", f"apo:k:{record.id}", 0, -1) == [b"1"]
        assert await store.version() == 0


async def test_a_store_that_is_gone_is_unavailable_and_one_that_comes_back_is_not(server: Server) -> None:
    async with server.opened() as store:
        stored = await store.put(make_record())
        server.kill()
        for asked in (store.get(stored.id), store.put(make_record()), store.revoke(stored.id), store.page()):
            with pytest.raises(StoreUnavailable) as unavailable:
                await asked
            assert unavailable.value.__cause__ is None
            assert str(server.embedded.socket) not in str(unavailable.value)
        server.start()
        assert await store.get(stored.id) == stored


async def test_scripts_that_the_store_has_forgotten_are_sent_again(server: Server) -> None:
    async with server.opened() as own, server.raw() as raw:
        await own.put(make_record())
        await raw.command("SCRIPT", "FLUSH")
        assert (await own.put(make_record())).revision == 1
