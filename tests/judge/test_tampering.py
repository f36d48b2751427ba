"""The negative control: the judge refuses each of the twelve tamperings, and takes the same request untouched."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from hashlib import sha256

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials

from apostille.base.secrets import SecretText
from apostille.signing.sigv4 import Credentials, Request, sign
from tests.judge.conftest import BUCKET, Judge, Judgement, Sent
from tests.judge.tampering import TAMPERINGS, Premise, Signed

HOST = f"{BUCKET}.s3.eu-west-1.amazonaws.com"
BODY = b"the content that was signed"
META = ("x-amz-meta-who", "Alice")
# S3's own path rules also where the scope names another service: one thing is wrong at a time.
PATH = "/tampered/plain.txt"


def test_there_are_twelve() -> None:
    assert len(TAMPERINGS) == 12
    assert sum(each.premise == Premise() for each in TAMPERINGS.values()) == 7


def by_apostille(judge: Judge, premise: Premise, *, method: str = "PUT", path: str = PATH) -> Signed:
    body = BODY if method == "PUT" else b""
    secret = SecretText(premise.secret_key) if premise.secret_key else judge.bucket.secret_key
    signed = sign(
        Request(method=method, host=HOST, path=path, query="x-id=PutObject", headers=(META,), payload_hash=_hash(body)),
        Credentials(access_key=judge.bucket.access_key, secret_key=secret),
        region=premise.region or "eu-west-1",
        service=premise.service or "s3",
        now=datetime.now(UTC) - premise.age,
        content_sha256=True,
    )
    headers = {"host": HOST, META[0]: META[1], **dict(signed.headers)}
    return Signed(method=method, target=signed.target, headers=headers, body=body)


def by_botocore(judge: Judge, premise: Premise) -> Signed:
    keys = BotocoreCredentials(judge.bucket.access_key, premise.secret_key or judge.bucket.secret_key.reveal())
    auth = S3SigV4Auth(keys, premise.service or "s3", premise.region or "eu-west-1")
    request = AWSRequest("PUT", f"https://{HOST}{PATH}?x-id=PutObject", data=BODY)
    request.headers[META[0]] = META[1]
    request.headers["X-Amz-Content-SHA256"] = _hash(BODY)
    request.headers["X-Amz-Date"] = f"{datetime.now(UTC) - premise.age:%Y%m%dT%H%M%SZ}"
    # Piece by piece, because as a whole it takes no other time than now.
    request.context["timestamp"] = request.headers["X-Amz-Date"]
    canonical = auth.canonical_request(request)
    text = auth.string_to_sign(request, canonical)
    request.headers["Authorization"] = ", ".join(
        (
            f"AWS4-HMAC-SHA256 Credential={auth.scope(request)}",
            f"SignedHeaders={auth.signed_headers(auth.headers_to_sign(request))}",
            f"Signature={auth.signature(text, request)}",
        )
    )
    headers = {str(name).lower(): str(value) for name, value in request.headers.items()}
    return Signed(method="PUT", target=f"{PATH}?x-id=PutObject", headers={"host": HOST, **headers}, body=BODY)


SIGNERS = {"apostille": by_apostille, "botocore": by_botocore}


def _hash(body: bytes) -> str:
    return sha256(body).hexdigest()


async def ask(judge: Judge, signed: Signed) -> Judgement:
    headers = {name: value for name, value in signed.headers.items() if name != "host"}
    sent = Sent(
        method=signed.method, host=signed.headers["host"], target=signed.target, headers=headers, body=signed.body
    )
    return await judge.ask(sent)


def code_of(judgement: Judgement) -> str:
    found = re.search(rb"<Code>(\w+)</Code>", judgement.body)
    return found[1].decode() if found else ""


@pytest.mark.parametrize("signer", SIGNERS)
@pytest.mark.parametrize("name", TAMPERINGS)
async def test_the_judge_refuses_what_was_tampered_with(judge: Judge, name: str, signer: str) -> None:
    tampering = TAMPERINGS[name]
    good = SIGNERS[signer](judge, Premise())
    assert (await ask(judge, good)).status == 200
    bad = tampering.change(SIGNERS[signer](judge, tampering.premise))
    # What is sent is another request, and in nothing but what the name says.
    assert bad != good
    judgement = await ask(judge, bad)
    assert (judgement.status, code_of(judgement)) == tampering.refusal, judgement.body
    # It is a refusal in deed too: what was stored is as it was, and nothing else is.
    assert (await ask(judge, by_apostille(judge, Premise(), method="GET"))).body == BODY
    elsewhere = bad.target.partition("?")[0]
    if elsewhere != PATH:
        assert (await ask(judge, by_apostille(judge, Premise(), method="GET", path=elsewhere))).status == 404
