"""A design that does not do the job is found out before it is measured."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
import pytest_asyncio

from apostille.base.secrets import SecretText
from apostille.demo.recorder import Recorded
from apostille.signing.sigv4 import Credentials, Request, sign
from bench.correctness import check_design, expected_authorization
from bench.design import ACCESS_KEY, BUCKET_HOST, REGION, SECRET_KEY, Place, WrongAnswer
from bench.designs import DESIGNS
from bench.designs.bare_envoy import BareEnvoy
from bench.designs.python_proxy import PythonProxy
from bench.envoy_config import upstream_config
from bench.processes import run_envoy


@pytest_asyncio.fixture
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    folder = tmp_path_factory.mktemp("b")
    async with run_envoy(upstream_config(), folder / "u", workers=1) as (_, port):
        yield Place(folder=folder, upstream=port, cores=1)


async def test_a_proxy_that_proxies_is_right(place: Place) -> None:
    await check_design(BareEnvoy(), place)


async def test_a_proxy_that_signs_and_looks_at_keys_is_right(place: Place) -> None:
    await check_design(PythonProxy(), place)


async def test_who_lets_a_wrong_key_in_is_found_out(place: Place) -> None:
    with pytest.raises(WrongAnswer, match="the answer is 200, not 401"):
        await check_design(BareEnvoy(checks_key=True), place)


async def test_who_does_not_sign_is_found_out(place: Place) -> None:
    with pytest.raises(WrongAnswer, match="0 Authorization headers"):
        await check_design(BareEnvoy(signs=True), place)


def test_a_signature_is_recomputed_from_what_was_received() -> None:
    keys = Credentials(access_key=ACCESS_KEY, secret_key=SecretText(SECRET_KEY))
    request = Request(method="GET", host=BUCKET_HOST, path="/a b", query="list-type=2&prefix=x")
    signed = sign(request, keys, region=REGION, service="s3", now=datetime(2026, 1, 2, tzinfo=UTC))
    lines = "".join(f"{name}: {value}\r\n" for name, value in signed.headers)
    head = f"GET {signed.target} HTTP/1.1\r\nhost: {BUCKET_HOST}\r\n{lines}\r\n"
    assert expected_authorization(Recorded(head=head.encode(), sni=None)) == signed.authorization
    other = Recorded(head=head.replace("/a%20b", "/other").encode(), sni=None)
    assert expected_authorization(other) != signed.authorization


def test_every_design_has_a_name_of_its_own_and_follows_one_that_exists() -> None:
    names = [design.name for design in DESIGNS]
    assert len(set(names)) == len(names)
    assert {design.follows for design in DESIGNS} <= {*names, ""}


def test_a_design_comes_after_the_one_it_follows() -> None:
    names = [design.name for design in DESIGNS]
    assert all(names.index(each.follows) < names.index(each.name) for each in DESIGNS if each.follows)
