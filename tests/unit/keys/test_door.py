"""Who may pass with a key of the store, with a real store behind it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest

from apostille.base.secrets import SecretText
from apostille.keys.cache import KeyCache
from apostille.keys.changes import Changed
from apostille.keys.connection import StoreConnection
from apostille.keys.door import KeyDoor
from apostille.keys.fingerprint import PepperCheck, claim
from apostille.keys.format import KeyParts, new_key
from apostille.keys.limiter import Limiter
from apostille.keys.outcome import Holder, Refusal, Why
from apostille.keys.record import KeyRecord
from apostille.keys.settings import PepperSource
from apostille.keys.store import KeyStore
from apostille.model.limits import Limits, Period, Quota
from apostille.model.scopes import NOTHING, Asked, Dimension, Scopes
from tests.unit.credentials.stand_ins import START, FakeClock
from tests.unit.keys.valkey import PEPPER, Server, make_record

ASKED = Asked(method="GET", host="api.example.com", path="/orders")


class Asking:
    """A store that remembers what was asked of it."""

    def __init__(self, store: KeyStore) -> None:
        self.store = store
        self.looks = 0

    async def get_many(self, ids: list[str]) -> Mapping[str, object]:
        self.looks += 1
        return await self.store.get_many(ids)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def connection(server: Server) -> AsyncIterator[StoreConnection]:
    connection = StoreConnection(server.embedded.address)
    yield connection
    await connection.close()


@pytest.fixture
def asking(connection: StoreConnection, clock: FakeClock) -> Asking:
    return Asking(KeyStore(connection, clock))


@pytest.fixture
def used() -> dict[str, datetime]:
    return {}


@pytest.fixture
async def cache(asking: Asking, clock: FakeClock) -> AsyncIterator[KeyCache]:
    cache = KeyCache(asking.get_many, clock)  # type: ignore[arg-type]  # it gives what the store gives
    yield cache
    await cache.close()


@pytest.fixture
async def door(
    connection: StoreConnection, cache: KeyCache, clock: FakeClock, used: dict[str, datetime]
) -> AsyncIterator[KeyDoor]:
    limiter = Limiter(connection, clock, store_now=lambda: clock.now().timestamp())
    yield KeyDoor(
        cache=cache,
        pepper=PepperCheck(connection, PepperSource(PEPPER)),
        limiter=limiter,
        used=used.__setitem__,
        clock=clock,
    )
    await limiter.close()


Create = Callable[..., object]


async def create(asking: Asking, **fields: Any) -> tuple[SecretText, KeyRecord]:
    parts: KeyParts = new_key("test", secrets.token_bytes)
    record = make_record(id=parts.id, env=parts.env, digest=PEPPER.digest(parts.key), **fields)
    return parts.key, await asking.store.put(record)


async def refused(door: KeyDoor, shown: str, asked: Asked = ASKED, labels: Mapping[str, str] = NOTHING) -> Refusal:
    answer = await door.open(shown, asked, labels)
    assert isinstance(answer, Refusal), answer
    return answer


async def test_a_key_says_who_it_is_for_and_that_it_was_used(
    door: KeyDoor, asking: Asking, used: dict[str, datetime]
) -> None:
    key, record = await create(asking, consumer="alice", metadata={"email": "a@example.com"})
    assert await door.open(key.reveal(), ASKED, NOTHING) == Holder(
        consumer="alice", key=record.shown, metadata={"email": "a@example.com"}
    )
    assert used == {record.id: START}


@pytest.mark.parametrize(
    "shown",
    [
        "",
        "apo_test_",
        "key-1",
        "apo_test_" + "0" * 46,
        "' OR '1'='1",
        "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n",
        "apo_test_" + "０" * 46,
        "x" * 1_000_000,
        "\x00",
        "apo:k:*",
    ],
)
async def test_what_is_no_key_costs_no_look(door: KeyDoor, asking: Asking, shown: str) -> None:
    refusal = await refused(door, shown)
    assert (refusal.why, refusal.consumer, refusal.key) == (Why.UNKNOWN, None, None)
    assert asking.looks == 0


async def test_a_wrong_secret_and_an_unknown_id_are_one_refusal_and_one_look(door: KeyDoor, asking: Asking) -> None:
    key, record = await create(asking)
    assert isinstance(await door.open(key.reveal(), ASKED, NOTHING), Holder)
    other = new_key("test", secrets.token_bytes)
    forged = _forge(record.id, secrets.token_bytes)
    for shown in (forged, other.key.reveal(), forged, other.key.reveal()):
        asking.looks = 0
        assert await refused(door, shown) == Refusal(why=Why.UNKNOWN, cause="wrong secret")
        assert asking.looks == 1


async def test_the_key_of_another_environment_is_a_wrong_one(door: KeyDoor, asking: Asking) -> None:
    key, _ = await create(asking)
    body = key.reveal()[:-6].replace("apo_test_", "apo_live_")
    assert (await refused(door, _sealed(body))).cause == "wrong secret"


async def test_begin_and_end_of_a_key_and_its_revocation(door: KeyDoor, asking: Asking, clock: FakeClock) -> None:
    key, record = await create(
        asking,
        not_before=START + timedelta(seconds=10),
        expires=START + timedelta(seconds=20),
    )
    for seconds, cause in ((0.0, "not yet valid"), (9.0, "not yet valid"), (1.0, None), (9.0, None), (1.0, "expired")):
        clock.advance(seconds)
        answer = await door.open(key.reveal(), ASKED, NOTHING)
        assert (answer.cause if isinstance(answer, Refusal) else None) == cause
        assert answer.consumer == record.consumer


async def test_a_revoked_key_is_refused_and_its_holder_is_known(door: KeyDoor, asking: Asking, cache: KeyCache) -> None:
    key, record = await create(asking)
    assert isinstance(await door.open(key.reveal(), ASKED, NOTHING), Holder)
    await asking.store.revoke(record.id)
    cache.apply(Changed(id=record.id))
    assert await refused(door, key.reveal()) == Refusal(
        why=Why.UNKNOWN, cause="revoked", consumer=record.consumer, key=record.shown
    )


async def test_labels_scopes_and_limits_are_asked_in_turn(door: KeyDoor, asking: Asking) -> None:
    key, _ = await create(
        asking,
        labels={"team": "a"},
        scopes=Scopes(methods=("GET",)),
        limits=Limits(quotas=(Quota(requests=1, period=Period.DAY),)),
    )
    shown = key.reveal()
    assert (await refused(door, shown, labels={"team": "b"})).why is Why.UNKNOWN
    miss = await refused(door, shown, Asked(method="PUT", host="h", path="/"), {"team": "a"})
    assert (miss.why, miss.dimension) == (Why.NOT_FOR, Dimension.METHOD)
    assert isinstance(await door.open(shown, ASKED, {"team": "a"}), Holder)
    limited = await refused(door, shown, labels={"team": "a"})
    assert limited.why is Why.LIMITED
    assert dict(limited.headers)["retry-after"].isdigit()


async def test_without_the_store_known_keys_go_on_and_nobody_else(
    door: KeyDoor, asking: Asking, server: Server
) -> None:
    key, record = await create(asking)
    unknown, _ = await create(asking)
    assert isinstance(await door.open(key.reveal(), ASKED, NOTHING), Holder)
    server.kill()
    assert isinstance(await door.open(key.reveal(), ASKED, NOTHING), Holder)
    for shown in (unknown.reveal(), new_key("test", secrets.token_bytes).key.reveal(), _forge(record.id, bytes)):
        assert (await refused(door, shown)).why is Why.UNAVAILABLE


async def test_a_damaged_record_lets_nobody_in(door: KeyDoor, asking: Asking, server: Server) -> None:
    key, record = await create(asking)
    async with server.raw() as raw:
        await raw.command("APPEND", f"apo:k:{record.id}", "x")
    refusal = await refused(door, key.reveal())
    assert (refusal.why, refusal.key) == (Why.UNAVAILABLE, record.shown)
    assert "damaged" in refusal.cause


async def test_with_another_pepper_than_the_keys_were_made_with_nobody_is_refused_as_unknown(
    connection: StoreConnection, door: KeyDoor, asking: Asking
) -> None:
    key, _ = await create(asking)
    await claim(connection, b"0" * 64)
    refusal = await refused(door, key.reveal())
    assert refusal.why is Why.UNAVAILABLE
    assert "pepper" in refusal.cause


def _forge(key_id: str, chance: Callable[[int], bytes]) -> str:
    """Well formed, with a secret that is not the key's."""
    return _sealed(f"apo_test_{key_id}" + new_key("test", secrets.token_bytes).key.reveal()[21:49])


def _sealed(body: str) -> str:
    from apostille.keys.format import _checksum

    return body + _checksum(body)
