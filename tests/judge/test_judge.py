"""A judge that accepts everything proves nothing: what it must refuse, though it accepts the same request untouched.

The twelve tamperings are in ``test_tampering``; what is refused besides is here.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

import aiohttp
import pytest

from apostille.demo.certificates import make_authority
from apostille.demo.recorder import start_recorder
from tests.judge.conftest import BUCKET, CAKE, Judge, Sent

HOST = f"{BUCKET}.s3.eu-west-1.amazonaws.com"


@pytest.fixture
def signed(judge: Judge, python_signer: ModuleType) -> Callable[..., Sent]:
    """Make a request and sign it, well unless told otherwise."""

    def make(*, target: str = "/cake.json", age: timedelta = timedelta(), **credentials: str) -> Sent:
        given = {"key_id": judge.bucket.access_key, "secret": judge.bucket.secret_key.reveal(), **credentials}
        config = python_signer.Config(method="GET", path=target, host=HOST, region="eu-west-1", service="s3")
        headers = python_signer.sign(config, python_signer.Credentials(**given), datetime.now(UTC) - age)
        return Sent(target=target, host=HOST, headers=headers)

    return make


async def test_a_signed_request_gets_the_object_byte_by_byte(judge: Judge, signed: Callable[..., Sent]) -> None:
    judgement = await judge.ask(signed())
    assert (judgement.status, judgement.body) == (200, CAKE)


@pytest.mark.parametrize("age", [timedelta(minutes=14), timedelta(minutes=-14)], ids=["old", "future"])
async def test_a_clock_may_be_wrong_by_less_than_15_minutes(
    judge: Judge, signed: Callable[..., Sent], age: timedelta
) -> None:
    assert (await judge.ask(signed(age=age))).status == 200


def flip_signature(sent: Sent) -> Sent:
    authorization = sent.headers["authorization"]
    return sent.with_header("authorization", authorization[:-1] + ("1" if authorization.endswith("0") else "0"))


def move_date(sent: Sent) -> Sent:
    moved = datetime.now(UTC) + timedelta(seconds=61)
    return sent.with_header("x-amz-date", moved.strftime("%Y%m%dT%H%M%SZ"))


FURTHER: dict[str, tuple[Callable[[Sent], Sent], int, bytes]] = {
    "host by another name": (
        lambda sent: replace(sent, host="localhost", target=f"/{BUCKET}/cake.json"),
        403,
        b"SignatureDoesNotMatch",
    ),
    "payload hash": (
        lambda sent: sent.with_header("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
        403,
        b"SignatureDoesNotMatch",
    ),
    "date": (move_date, 403, b"SignatureDoesNotMatch"),
    "a header that is not signed": (lambda sent: sent.with_header("x-amz-acl", "public-read"), 403, b"AccessDenied"),
    "authorization joined to the caller's": (
        lambda sent: sent.with_header("authorization", "Bearer of-the-caller," + sent.headers["authorization"]),
        403,
        b"AccessDenied",
    ),
}


@pytest.mark.parametrize("name", FURTHER)
async def test_the_judge_refuses_further_changes_after_signing(
    judge: Judge, signed: Callable[..., Sent], name: str
) -> None:
    tamper, status, code = FURTHER[name]
    good = signed()
    assert (await judge.ask(good)).status == 200
    judgement = await judge.ask(tamper(good))
    assert judgement.status == status
    assert code in judgement.body
    assert CAKE not in judgement.body


async def test_after_a_delete_that_was_refused_the_object_is_still_there(
    judge: Judge, signed: Callable[..., Sent]
) -> None:
    await judge.ask(replace(signed(), method="DELETE"))
    assert (await judge.ask(signed())).body == CAKE


async def test_the_judge_refuses_an_access_key_it_does_not_know(judge: Judge, signed: Callable[..., Sent]) -> None:
    judgement = await judge.ask(signed(key_id="AKIAI44QH8DHBEXAMPLE"))
    assert judgement.status == 403
    assert b"SignatureDoesNotMatch" in judgement.body
    assert CAKE not in judgement.body


async def test_the_judge_shows_no_object_to_a_request_without_signature(judge: Judge) -> None:
    judgement = await judge.ask(Sent(host=HOST))
    assert 400 <= judgement.status < 500
    assert CAKE not in judgement.body


async def test_a_refusal_tells_what_the_judge_has_computed(judge: Judge, signed: Callable[..., Sent]) -> None:
    judgement = await judge.ask(flip_signature(signed()))
    assert b"<StringToSign>AWS4-HMAC-SHA256\n" in judgement.body
    assert b"<CanonicalRequest>GET\n/cake.json\n\nhost:" + HOST.encode() in judgement.body


async def test_a_signature_outlives_tls_and_the_recorder(
    judge: Judge, signed: Callable[..., Sent], tmp_path: Path
) -> None:
    authority = make_authority(tmp_path)
    trusted = ssl.create_default_context(cafile=authority.roots)
    sent = signed()
    async with (
        start_recorder("127.0.0.1", judge.bucket.port, authority.issue(HOST)) as recorder,
        aiohttp.ClientSession() as http,
        http.get(
            f"https://127.0.0.1:{recorder.port}{sent.target}",
            headers={"Host": HOST, **sent.headers},
            ssl=trusted,
            server_hostname=HOST,
        ) as answer,
    ):
        assert (answer.status, await answer.read()) == (200, CAKE)
    (request,) = recorder.requests
    assert (request.sni, request.target, request.values("host")) == (HOST, "/cake.json", (HOST,))
    assert request.values("authorization") == (sent.headers["authorization"],)
