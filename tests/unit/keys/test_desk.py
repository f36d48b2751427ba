from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from apostille.keys.audit import Action, AuditLine, Outcome
from apostille.keys.desk import KeyDesk
from apostille.keys.errors import (
    BrokenExport,
    DamagedRecord,
    KeyChanged,
    KeyNotActive,
    KeyNotFound,
    OtherPepper,
    PepperMissing,
    StoreUnavailable,
)
from apostille.keys.format import parse_key
from apostille.keys.orders import Change, Issued, Order, Wanted
from apostille.keys.record import KeyRecord, Pepper, State, Verdict
from apostille.keys.settings import PepperSource
from apostille.keys.store import KeyStore
from apostille.model.limits import Limits, Rate
from apostille.model.scopes import Scopes
from tests.unit.credentials.stand_ins import START, FakeClock
from tests.unit.keys.valkey import PEPPER, Server, make_key, make_record, server_in, verify

HOUR = timedelta(hours=1)


@dataclass
class Desk:
    store: KeyStore
    clock: FakeClock
    lines: list[AuditLine] = field(default_factory=list)
    pepper: PepperSource = field(default_factory=lambda: PepperSource(PEPPER))

    def __post_init__(self) -> None:
        self.desk = KeyDesk(self.store, self.pepper, self.clock, secrets.token_bytes, self.lines.append)

    async def create(self, consumer: str = "alice", **fields: object) -> Issued:
        return await self.desk.create(Order(consumer=consumer, **fields), actor="tester")  # type: ignore[arg-type]

    def told(self) -> list[tuple[Action, Outcome, str | None]]:
        """What the audit has said since it was last looked at."""
        told = [(line.action, line.outcome, line.key) for line in self.lines]
        assert {line.actor for line in self.lines} <= {"tester"}
        self.lines.clear()
        return told


def unexpected(damage: DamagedRecord) -> None:
    raise damage


@pytest.fixture
def at(store: KeyStore, clock: FakeClock) -> Desk:
    return Desk(store, clock)


async def test_a_key_that_is_created_is_accepted_and_kept_as_a_digest_only(at: Desk) -> None:
    order = {
        "name": "laptop",
        "env": "test",
        "labels": {"plan": "gold"},
        "scopes": Scopes(methods=("GET",)),
        "limits": Limits(rate=Rate(per_second=1.0, burst=5)),
        "expires": START + HOUR,
    }
    issued = await at.create("alice", **order)
    parts = parse_key(issued.key.reveal())
    assert parts is not None
    assert (parts.env, parts.id) == ("test", issued.record.id)
    stored = await at.desk.get(parts.id)
    assert stored == issued.record
    assert {name: getattr(stored, name) for name in order} == order
    assert (stored.created, stored.revision, issued.retiring) == (START, 1, None)
    assert verify(stored, issued.key, PEPPER, START) is Verdict.ACCEPTED
    assert at.told() == [(Action.CREATE, Outcome.DONE, stored.shown)]


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ({"consumer": ""}, "whom does it stand for"),
        ({"env": "Live"}, "a-z and digits"),
        ({"expires": START}, "expired at 2026-05-01T12:00:00Z already"),
        ({"not_before": START + HOUR, "expires": START + HOUR}, "not be valid before"),
        ({"metadata": {"note": "x" * 20_000}}, "16256 are allowed"),
    ],
)
async def test_what_can_be_no_key_is_refused_and_told(at: Desk, order: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        await at.create(**order)  # type: ignore[arg-type]
    assert [(action, outcome) for action, outcome, _ in at.told()] == [(Action.CREATE, Outcome.REFUSED)]


async def test_what_is_said_of_a_key_is_changed_and_the_rest_stays(at: Desk) -> None:
    issued = await at.create(labels={"plan": "gold"}, expires=START + HOUR)
    key_id = issued.record.id
    changed = await at.desk.update(key_id, Change(name="phone", expires=None), actor="tester")
    assert changed == replace(issued.record, name="phone", expires=None, revision=2)
    assert await at.desk.get(key_id) == changed
    with pytest.raises(KeyChanged):
        await at.desk.update(key_id, Change(name="late"), actor="tester", revision=1)
    with pytest.raises(ValueError, match="expired"):
        await at.desk.update(key_id, Change(expires=START), actor="tester")
    with pytest.raises(KeyNotFound):
        await at.desk.update(make_key().id, Change(name="x"), actor="tester")
    assert await at.desk.update(key_id, Change(name="third"), actor="tester", revision=2) == await at.desk.get(key_id)
    assert [outcome for _, outcome, _ in at.told()] == [
        Outcome.DONE,
        Outcome.DONE,
        Outcome.REFUSED,
        Outcome.REFUSED,
        Outcome.REFUSED,
        Outcome.DONE,
    ]


async def test_a_change_without_a_revision_is_made_to_what_is_there(
    at: Desk, store: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    issued = await at.create()
    change_of_others = [replace(issued.record, consumer="bob")]
    really = store.replace

    async def slow(record: KeyRecord) -> KeyRecord:
        if change_of_others:
            await really(change_of_others.pop())
        return await really(record)

    monkeypatch.setattr(store, "replace", slow)
    changed = await at.desk.update(issued.record.id, Change(name="mine"), actor="tester")
    assert (changed.consumer, changed.name, changed.revision) == ("bob", "mine", 3)


async def test_a_rotated_key_goes_on_until_the_grace_is_over(at: Desk) -> None:
    issued = await at.create(labels={"plan": "gold"}, metadata={"team": "a"}, expires=START + 10 * HOUR)
    at.clock.advance(3600)
    rotated = await at.desk.rotate(issued.record.id, HOUR, actor="tester")
    old, new = rotated.retiring, rotated.record
    assert old is not None
    assert (old.expires, old.successor) == (START + 2 * HOUR, new.id)
    # The successor lives as long as the first was given to live.
    assert (new.created, new.expires, new.consumer) == (START + HOUR, START + 11 * HOUR, "alice")
    assert (new.labels, new.metadata) == ({"plan": "gold"}, {"team": "a"})
    for moment, expected in ((HOUR, Verdict.ACCEPTED), (2 * HOUR, Verdict.EXPIRED)):
        assert verify(await at.desk.get(old.id), issued.key, PEPPER, START + moment) is expected
    assert verify(await at.desk.get(new.id), rotated.key, PEPPER, START + 10 * HOUR) is Verdict.ACCEPTED
    assert at.lines[-1].note == f"successor {new.shown}"
    with pytest.raises(KeyNotActive):
        await at.desk.rotate(old.id, HOUR, actor="tester")
    assert at.told()[1:] == [
        (Action.ROTATE, Outcome.DONE, old.shown),
        (Action.ROTATE, Outcome.REFUSED, old.shown),
    ]


async def test_of_a_rotation_more_can_be_said(at: Desk) -> None:
    issued = await at.create(expires=datetime.max.replace(tzinfo=UTC, microsecond=0))
    with pytest.raises(KeyChanged):
        await at.desk.rotate(issued.record.id, HOUR, actor="tester", revision=7)
    with pytest.raises(ValueError, match="negative"):
        await at.desk.rotate(issued.record.id, -HOUR, actor="tester")
    with pytest.raises(ValueError, match="already"):
        await at.desk.rotate(issued.record.id, HOUR, actor="tester", expires=START)
    assert await at.desk.get(issued.record.id) == issued.record
    at.clock.advance(5)
    # A lifetime anew that no calendar has ends with the calendar.
    second = await at.desk.rotate(issued.record.id, timedelta(0), actor="tester", revision=1)
    assert second.record.expires == issued.record.expires
    assert second.retiring is not None
    assert second.retiring.expires == at.clock.now()
    third = await at.desk.rotate(second.record.id, HOUR, actor="tester", expires=None)
    assert third.record.expires is None


async def test_a_revoked_key_stays_known_and_a_deleted_one_does_not(at: Desk) -> None:
    issued = await at.create()
    key_id = issued.record.id
    revoked = await at.desk.revoke(key_id, actor="tester")
    assert revoked.state is State.REVOKED
    assert verify(await at.desk.get(key_id), issued.key, PEPPER, START) is Verdict.REVOKED
    assert await at.desk.revoke(key_id, actor="tester") == revoked
    await at.desk.delete(key_id, actor="tester")
    for gone in (at.desk.get(key_id), at.desk.revoke(key_id, actor="tester"), at.desk.delete(key_id, actor="tester")):
        with pytest.raises(KeyNotFound):
            await gone
    shown = issued.record.shown
    assert at.told()[1:] == [
        (Action.REVOKE, Outcome.DONE, shown),
        (Action.REVOKE, Outcome.DONE, shown),
        (Action.DELETE, Outcome.DONE, shown),
        (Action.REVOKE, Outcome.REFUSED, key_id),
        (Action.DELETE, Outcome.REFUSED, key_id),
    ]


async def test_a_damaged_key_is_told_and_can_be_deleted(at: Desk, shared_server: Server) -> None:
    key_id = (await at.create()).record.id
    async with shared_server.raw() as raw:
        await raw.command("SET", raw.name(f"k:{key_id}"), "1.1.00000000{}")
    with pytest.raises(DamagedRecord):
        await at.desk.get(key_id)
    with pytest.raises(DamagedRecord):
        await at.desk.revoke(key_id, actor="tester")
    await at.desk.delete(key_id, actor="tester")
    with pytest.raises(KeyNotFound):
        await at.desk.get(key_id)
    assert at.told()[-1] == (Action.DELETE, Outcome.DONE, key_id)


async def test_pages_show_the_keys_that_are_wanted_each_and_no_other(server: Server, clock: FakeClock) -> None:
    async with server.opened() as store:
        at = Desk(store, clock)
        records = [
            make_record(consumer=f"consumer-{number % 7}", labels={"plan": "gold" if number % 2 else "free"})
            for number in range(600)
        ]
        await store.load(records)

        async def found(wanted: Wanted, limit: int) -> list[str]:
            ids: list[str] = []
            cursor = None
            while True:
                page = await at.desk.page(wanted, cursor, limit=limit)
                ids += [record.id for record in page.records]
                cursor = page.cursor
                if cursor is None:
                    return sorted(set(ids))

        for limit in (1, 10, 1000):
            assert await found(Wanted(), limit) == sorted(record.id for record in records)
        wanted = Wanted(consumer="consumer-3", labels={"plan": "gold"})
        expected = sorted(record.id for record in records if wanted.fits(record))
        assert len(expected) == 43
        for limit in (1, 10, 1000):
            assert await found(wanted, limit) == expected
        assert await found(Wanted(consumer="nobody"), 10) == []


async def test_an_export_is_imported_and_both_are_told(server: Server, socket_dir: Path, clock: FakeClock) -> None:
    other = server_in(socket_dir / "other")
    other.start()
    try:
        async with server.opened() as store, other.opened() as empty:
            at, there = Desk(store, clock), Desk(empty, clock)
            issued = await at.create()
            lines = [line async for line in at.desk.export(unexpected, actor="tester")]

            async def sent(texts: list[bytes]) -> AsyncIterator[bytes]:
                for text in texts:
                    yield text

            with pytest.raises(BrokenExport):
                await there.desk.load(sent(lines[:-1]), actor="tester")
            report = await there.desk.load(sent(lines), actor="tester")
            assert (report.created, report.same, report.different) == (0, 1, 0)
            assert await there.desk.get(issued.record.id) == issued.record
            assert at.lines[-1].note == "end 1"
            assert there.lines[-1].note == "0 created, 1 the same, 0 different and left"
            assert at.told()[-1] == (Action.EXPORT, Outcome.DONE, None)
            assert there.told() == [(Action.IMPORT, Outcome.UNKNOWN, None), (Action.IMPORT, Outcome.DONE, None)]
            exporting = at.desk.export(unexpected, actor="tester")
            assert await anext(exporting) == lines[0]
            await exporting.aclose()
            assert at.told() == [(Action.EXPORT, Outcome.UNKNOWN, None)]
    finally:
        other.kill()


async def test_no_key_is_made_with_another_pepper_or_with_none(
    server: Server, clock: FakeClock, tmp_path: Path
) -> None:
    async with server.opened() as store:
        await Desk(store, clock).create()
        for source, error in (
            (PepperSource(Pepper(b"another pepper, of 32 bytes or more")), OtherPepper),
            (PepperSource(tmp_path / "none"), PepperMissing),
        ):
            at = Desk(store, clock, pepper=source)
            with pytest.raises(error):
                await at.create()
            assert [outcome for _, outcome, _ in at.told()] == [Outcome.FAILED]


async def test_when_the_store_is_down_nobody_knows_whether_a_key_was_made(server: Server, clock: FakeClock) -> None:
    async with server.opened() as store:
        at = Desk(store, clock)
        issued = await at.create()
        server.kill()
        at.told()
        with pytest.raises(StoreUnavailable):
            await at.create()
        with pytest.raises(StoreUnavailable):
            await at.desk.revoke(issued.record.id, actor="tester")
        assert [outcome for _, outcome, _ in at.told()] == [Outcome.UNKNOWN, Outcome.FAILED]


async def test_no_key_is_in_the_audit_or_in_what_stands_for_it(at: Desk) -> None:
    issued = await at.create()
    rotated = await at.desk.rotate(issued.record.id, HOUR, actor="tester")
    shown = repr(issued) + repr(rotated) + repr(at.lines)
    for key in (issued.key, rotated.key):
        assert key.reveal()[24:] not in shown
    assert repr(issued.record.digest) not in shown
