"""Signatures that AWS published, in its documentation and in the test suite that it keeps with its C library."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest

from apostille.base.secrets import SecretText
from apostille.signing.presign import presign
from apostille.signing.sigv4 import EMPTY_HASH, Credentials, Request, sign

S3_DOCS = Credentials(
    access_key="AKIAIOSFODNN7EXAMPLE", secret_key=SecretText("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
)
SUITE = Credentials(access_key="AKIDEXAMPLE", secret_key=SecretText("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"))
S3_DAY = datetime(2013, 5, 24, tzinfo=UTC)
SUITE_DAY = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Example:
    """One of "Examples: Signature Calculations" in the Amazon S3 API Reference."""

    signature: str
    target: str
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


S3_EXAMPLES = {
    "get object": S3Example(
        signature="f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        target="/test.txt",
        headers=(("Range", "bytes=0-9"),),
    ),
    "put object": S3Example(
        signature="98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        method="PUT",
        target="/test$file.text",
        headers=(("Date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")),
        body=b"Welcome to Amazon S3.",
    ),
    "get bucket lifecycle": S3Example(
        signature="fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543", target="/?lifecycle"
    ),
    "list objects": S3Example(
        signature="34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7", target="/?max-keys=2&prefix=J"
    ),
}


@pytest.mark.parametrize("name", S3_EXAMPLES)
def test_the_examples_of_the_s3_reference_come_out(name: str) -> None:
    example = S3_EXAMPLES[name]
    path, _, query = example.target.partition("?")
    request = Request(
        method=example.method,
        host="examplebucket.s3.amazonaws.com",
        path=path,
        query=query,
        headers=example.headers,
        payload_hash=sha256(example.body).hexdigest(),
    )
    assert sign(request, S3_DOCS, region="us-east-1", service="s3", now=S3_DAY).signature == example.signature


def test_the_presigned_example_of_the_s3_reference_comes_out() -> None:
    request = Request(method="GET", host="examplebucket.s3.amazonaws.com", path="/test.txt")
    link = presign(request, S3_DOCS, region="us-east-1", service="s3", now=S3_DAY, expires=timedelta(seconds=86400))
    assert link.target == (
        "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256"
        "&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
        "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
        "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    )


def test_the_iam_example_of_the_user_guide_comes_out_with_its_intermediates() -> None:
    request = Request(
        method="GET",
        host="iam.amazonaws.com",
        path="/",
        query="Action=ListUsers&Version=2010-05-08",
        headers=(("Content-Type", "application/x-www-form-urlencoded; charset=utf-8"),),
    )
    signed = sign(request, SUITE, region="us-east-1", service="iam", now=SUITE_DAY)
    assert signed.canonical_request == (
        "GET\n/\nAction=ListUsers&Version=2010-05-08\n"
        "content-type:application/x-www-form-urlencoded; charset=utf-8\n"
        "host:iam.amazonaws.com\nx-amz-date:20150830T123600Z\n\n"
        f"content-type;host;x-amz-date\n{EMPTY_HASH}"
    )
    assert signed.string_to_sign == (
        "AWS4-HMAC-SHA256\n20150830T123600Z\n20150830/us-east-1/iam/aws4_request\n"
        "f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59"
    )
    assert signed.signature == "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"


def test_the_contract_of_the_example_signers_is_met() -> None:
    request = Request(method="GET", host="example-bucket.s3.eu-west-1.amazonaws.com", path="/cake.json")
    signed = sign(request, S3_DOCS, region="eu-west-1", service="s3", now=datetime(2024, 4, 25, 12, tzinfo=UTC))
    assert signed.string_to_sign.endswith("\nf21acd6d0eaf175bf362f65a62f13172998bec9539399213f3d4afade525a29a")
    assert signed.headers == (
        ("x-amz-content-sha256", EMPTY_HASH),
        ("x-amz-date", "20240425T120000Z"),
        (
            "authorization",
            (
                "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20240425/eu-west-1/s3/aws4_request, "
                "SignedHeaders=host;x-amz-content-sha256;x-amz-date, "
                "Signature=068077c4c34d95ce29127f9cc6c3e2189fca62f823fe07997cb65c8de8c9319b"
            ),
        ),
    )


# Name in the suite: signature, target, headers. All are GET, service "service" in us-east-1, paths normalised.
# Left out: get-space and get-utf8. They sign a raw space and raw UTF-8 in a path, encoded once, as if these were on the
# wire. We send them encoded, and then every implementation signs them encoded twice.
SUITE_CASES: dict[str, tuple[str, str, tuple[tuple[str, str], ...]]] = {
    "get-vanilla": ("5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31", "/", ()),
    "get-relative-relative": (
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        "/example1/example2/../..",
        (),
    ),
    "get-slashes": ("9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84", "//example//", ()),
    "get-vanilla-empty-query-key": (
        "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb",
        "/?Param1=value1",
        (),
    ),
    "get-vanilla-query-order-key-case": (
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        "/?Param2=value2&Param1=value1",
        (),
    ),
    "get-vanilla-query-order-encoded": (
        "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac",
        "/?Param-3=Value3&Param=Value2&%E1%88%B4=Value1",
        (),
    ),
    "get-vanilla-utf8-query": ("2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04", "/?ሴ=bar", ()),
    "get-header-key-duplicate": (
        "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
        "/",
        (("My-Header1", "value2"), ("My-Header1", "value2"), ("My-Header1", "value1")),
    ),
    "get-header-value-trim": (
        "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
        "/",
        (("My-Header1", " value1"), ("My-Header2", ' "a   b   c"')),
    ),
}


@pytest.mark.parametrize("name", SUITE_CASES)
def test_the_signature_test_suite_of_aws_comes_out(name: str) -> None:
    signature, target, headers = SUITE_CASES[name]
    path, _, query = target.partition("?")
    request = Request(method="GET", host="example.amazonaws.com", path=path, query=query, headers=headers)
    assert sign(request, SUITE, region="us-east-1", service="service", now=SUITE_DAY).signature == signature


def test_a_session_token_is_signed_as_in_the_suite() -> None:
    who = Credentials(
        access_key=SUITE.access_key,
        secret_key=SUITE.secret_key,
        session_token=SecretText("6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267"),
    )
    request = Request(method="GET", host="example.amazonaws.com", path="/")
    signed = sign(request, who, region="us-east-1", service="service", now=SUITE_DAY)
    assert signed.signed_headers == "host;x-amz-date;x-amz-security-token"
    assert signed.signature == "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8"
