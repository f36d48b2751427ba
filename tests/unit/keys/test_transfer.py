from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from apostille.keys.errors import BrokenExport, DamagedRecord, OtherPepper
from apostille.keys.fingerprint import fingerprint
from apostille.keys.record import Pepper
from apostille.keys.settings import PepperSource
from apostille.keys.store import BATCH
from apostille.keys.transfer import export_lines, import_lines
from tests.unit.credentials.stand_ins import START
from tests.unit.keys.valkey import PEPPER, Server, make_record, server_in


async def lines(texts: Sequence[bytes]) -> AsyncIterator[bytes]:
    for text in texts:
        yield text


def unexpected(damage: DamagedRecord) -> None:
    raise damage


async def exported(server: Server) -> list[bytes]:
    async with server.opened() as store:
        return [line async for line in export_lines(store, unexpected)]


async def test_an_export_makes_another_store_the_same(server: Server, socket_dir: Path) -> None:
    async with server.opened() as store:
        records = [make_record(revision=1) for _ in range(BATCH + 7)]
        records[0] = replace(records[0], last_used=START)
        await store.load(records)
        await store.rotate(records[1], make_record(), START)
    written = await exported(server)
    other = server_in(socket_dir / "other")
    other.start()
    try:
        async with other.opened() as store:
            report = await import_lines(store, lines([line + b"\n" for line in written]))
            assert (report.created, report.same, report.different) == (BATCH + 8, 0, 0)
        assert sorted(await exported(other)) == sorted(written)
        async with other.opened() as store:
            version = await store.version()
            report = await import_lines(store, lines(written))
            assert (report.created, report.same, report.different) == (0, BATCH + 8, 0)
            assert await store.version() == version
    finally:
        other.kill()


async def test_keys_that_are_there_and_different_are_left_alone_and_named(server: Server) -> None:
    async with server.opened() as store:
        stored = await store.put(make_record())
        written = await exported(server)
        revoked = await store.revoke(stored.id)
        report = await import_lines(store, lines(written))
        assert (report.created, report.same, report.different, report.named) == (0, 0, 1, (stored.id,))
        assert await store.get(stored.id) == revoked


async def test_an_empty_store_has_an_export(server: Server) -> None:
    assert await exported(server) == [b"apostille-keys 2 -", b"end 0"]


async def test_damaged_records_are_left_out_and_told(server: Server) -> None:
    damages: list[DamagedRecord] = []
    good, bad = make_record(), make_record()
    async with server.opened() as store, server.raw() as raw:
        await store.put(good)
        await raw.command("SET", f"apo:k:{bad.id}", "junk")
        written = [line async for line in export_lines(store, damages.append)]
    assert [line[:12] for line in written[1:-1]] == [good.id.encode()]
    assert written[-1] == b"end 1"
    assert [damage.id for damage in damages] == [bad.id]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda whole: [], "without its last line"),
        (lambda whole: whole[1:], "line 1 "),
        (lambda whole: [b"apostille-keys 1", *whole[1:]], "line 1 .*fingerprint"),
        (lambda whole: whole[:-1], "without its last line"),
        (lambda whole: [whole[0], *whole[2:]], "some are missing"),
        (lambda whole: [*whole, whole[1]], "after the end"),
        (lambda whole: [whole[0], whole[1].replace(b"alice", b"clice"), *whole[2:]], "line 2 .*checksum"),
        (lambda whole: [whole[0], b"\xff" * 50, *whole[2:]], "line 2 .*an id"),
        (lambda whole: [whole[0], b"0" * 40_000, *whole[2:]], "line 2 .*an id"),
    ],
)
async def test_what_is_no_whole_export_is_refused_with_its_line(server: Server, change: object, text: str) -> None:
    async with server.opened() as store:
        for _ in range(2):
            await store.put(make_record())
        whole = await exported(server)
        with pytest.raises(BrokenExport, match=text):
            await import_lines(store, lines(change(whole)))  # type: ignore[operator]


async def test_an_export_is_for_stores_with_the_same_pepper(server: Server, socket_dir: Path) -> None:
    async with server.opened() as store:
        await store.pepper_check(PepperSource(PEPPER)).claim()
        await store.put(make_record())
    written = await exported(server)
    assert written[0] == b"apostille-keys 2 " + fingerprint(PEPPER)
    other = server_in(socket_dir / "other")
    other.start()
    try:
        async with other.opened() as store:
            await store.pepper_check(PepperSource(Pepper(bytes(32)))).claim()
            with pytest.raises(BrokenExport, match=r"line 1 .*another pepper.*keys\.pepper"):
                await import_lines(store, lines(written))
            assert await store.version() == 0
    finally:
        other.kill()


async def test_a_store_without_keys_takes_over_the_pepper_of_an_export(server: Server) -> None:
    theirs = fingerprint(Pepper(bytes(32)))
    async with server.opened() as store:
        await import_lines(store, lines([b"apostille-keys 2 " + theirs, b"end 0"]))
        assert await store.fingerprint() == theirs
        with pytest.raises(OtherPepper):
            await store.pepper_check(PepperSource(PEPPER)).confirm()
