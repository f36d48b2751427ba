from __future__ import annotations

from pathlib import Path

import pytest

from apostille.keys.errors import OtherPepper, PepperMissing, StoreUnavailable
from apostille.keys.fingerprint import PepperCheck, fingerprint
from apostille.keys.record import Pepper
from apostille.keys.settings import PepperSource, make_pepper_file, read_pepper_file
from tests.unit.keys.valkey import PEPPER, Server, make_record

OURS = PepperSource(PEPPER)
OTHER = PepperSource(Pepper(bytes(32)))


def test_a_fingerprint_tells_peppers_apart_and_is_no_pepper() -> None:
    assert fingerprint(PEPPER) == fingerprint(OURS.read())
    assert fingerprint(PEPPER) != fingerprint(OTHER.read())
    assert b"pepper" not in fingerprint(PEPPER)
    assert len(fingerprint(PEPPER)) == 64


async def test_who_makes_the_first_key_decides_which_pepper_it_is(server: Server) -> None:
    async with server.opened() as store:
        assert await store.fingerprint() is None
        assert await store.pepper_check(OTHER).confirm() is OTHER.read()
        assert await store.fingerprint() is None
        assert await store.pepper_check(OURS).claim() is PEPPER
        assert await store.fingerprint() == fingerprint(PEPPER)
        assert await store.pepper_check(OURS).claim() is PEPPER
        assert await store.pepper_check(OURS).confirm() is PEPPER
        for check in (store.pepper_check(OTHER).claim, store.pepper_check(OTHER).confirm):
            with pytest.raises(OtherPepper, match="APOSTILLE_KEYS_PEPPER_FILE") as raised:
                await check()
            assert isinstance(raised.value, StoreUnavailable)
            assert raised.value.cause == "another pepper"
        assert await store.fingerprint() == fingerprint(PEPPER)


async def test_who_agreed_before_there_was_a_key_is_asked_again(server: Server) -> None:
    async with server.opened() as store:
        early = store.pepper_check(OTHER)
        await early.confirm()
        await store.pepper_check(OURS).claim()
        with pytest.raises(OtherPepper):
            await early.confirm()


async def test_a_store_that_has_agreed_is_not_asked_again(server: Server) -> None:
    async with server.opened() as store:
        checks = [store.pepper_check(OURS), store.pepper_check(OURS)]
        await checks[0].claim()
        await checks[1].confirm()
        server.kill()
        for check in checks:
            assert await check.claim() is PEPPER
            assert await check.confirm() is PEPPER


async def test_the_fingerprint_survives_a_kill_and_is_no_key(server: Server) -> None:
    async with server.opened() as store:
        await store.pepper_check(OURS).claim()
        stored = await store.put(make_record())
        server.kill()
        server.start()
        assert await store.fingerprint() == fingerprint(PEPPER)
        assert (await store.page()).records == (stored,)
        assert await store.version() == 1


async def test_without_a_pepper_the_store_is_not_asked(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "keys.pepper"
    async with server.raw() as raw:
        check = PepperCheck(raw, PepperSource(file))
        for ask in (check.claim, check.confirm):
            with pytest.raises(PepperMissing):
                await ask()
        make_pepper_file(file)
        await check.claim()
        assert await raw.ask("GET", "apo:pepper") == fingerprint(read_pepper_file(file))
