"""What botocore and awscrt make of a request, and random requests to ask them about. Neither of them is ours.

A request for them is spelled canonically, as the gateway sends it, unless a test is about other spellings.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from unittest import mock

import botocore.auth
import botocore.credentials
from awscrt.auth import (  # type: ignore[import-untyped]
    AwsCredentialsProvider,
    AwsSignatureType,
    AwsSignedBodyHeaderType,
    AwsSigningAlgorithm,
    AwsSigningConfig,
    aws_sign_request,
)
from awscrt.http import HttpHeaders, HttpRequest  # type: ignore[import-untyped]
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from hypothesis import settings
from hypothesis import strategies as st

from apostille.base.secrets import SecretText
from apostille.signing.sigv4 import STREAMING_UNSIGNED_TRAILER, UNSIGNED_PAYLOAD, Credentials, Request

EXAMPLES = settings(max_examples=int(os.environ.get("APOSTILLE_SIGNING_EXAMPLES", "150")), deadline=None)

# Pieces that signers are known to disagree about, and any byte.
_PATH_PIECES = st.one_of(
    st.sampled_from([b"/", b"//", b"/./", b"/../", b".", b"..", b"%", b"%7E", b"%2f", b"%2F", b"%2E", b"%zz", b"%4"]),
    st.sampled_from([b"+", b" ", b"%20", b"~", b"@", b":", b"*", b"'", b"%c3%a9", "é".encode(), "e\u0301🎂".encode()]),
    st.integers(0, 255).map(lambda value: bytes([value])),
    st.text("abcXYZ019-_", max_size=6).map(str.encode),
)
# A question mark would end the path, and is never part of it when it gets here.
paths = st.lists(_PATH_PIECES, max_size=12).map(lambda pieces: (b"/" + b"".join(pieces)).replace(b"?", b"%3F"))
_QUERY_PIECES = st.one_of(
    st.sampled_from([b"&", b"&&", b"=", b"=&", b"+", b"%2B", b"%20", b";", b"%", b"%3d", b"a", b"a=1", b"a-b=2"]),
    st.sampled_from([b"list-type=2", b"acl", b"prefix=a/b", b"&a=2", b"&a=10", b"&A=0", "é".encode(), b"%C3%A9"]),
    st.integers(0, 255).map(lambda value: bytes([value])),
)
queries = st.lists(_QUERY_PIECES, max_size=12).map(b"".join)

_VALUE = st.text(st.sampled_from("abcXYZ019 \t,;=\"'/+%éß漢🎂"), max_size=20)
_HEADER = st.tuples(
    st.sampled_from(
        ["Content-Type", "x-amz-acl", "X-Amz-Meta-A", "x-amz-meta-a", "range", "If-None-Match", "x-b", "x-a"]
    ),
    _VALUE,
)
headers = st.lists(_HEADER, max_size=6).map(tuple)
hosts = st.sampled_from(
    ["bucket.s3.eu-west-1.amazonaws.com", "127.0.0.1:9000", "[::1]:8080", "iam.amazonaws.com", "a.example:443"]
)
times = st.datetimes(datetime(1971, 1, 1), datetime(2199, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001 — as asked
bodies = st.binary(max_size=64)
credentials = st.builds(
    lambda key, secret, token: Credentials(
        access_key=key, secret_key=SecretText(secret), session_token=SecretText(token) if token else None
    ),
    st.text("ABCDEF012:-", min_size=1, max_size=20),
    st.text("abcXYZ01+/=é", min_size=1, max_size=40),
    st.one_of(st.none(), st.text("abcXYZ01+/=", min_size=1, max_size=80)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A request with its body, who signs it, when and where."""

    request: Request
    body: bytes
    who: Credentials
    region: str
    now: datetime


@st.composite
def cases(draw: st.DrawFn) -> Case:
    body = draw(bodies)
    payload = draw(st.sampled_from([sha256(body).hexdigest(), UNSIGNED_PAYLOAD, STREAMING_UNSIGNED_TRAILER]))
    return Case(
        request=Request(
            method=draw(st.sampled_from(["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"])),
            host=draw(hosts),
            path=draw(paths),
            query=draw(queries),
            headers=draw(headers),
            payload_hash=payload,
        ),
        body=body,
        who=draw(credentials),
        region=draw(st.sampled_from(["eu-west-1", "us-east-1", "cn-north-1", "garage"])),
        now=draw(times),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    canonical_request: str
    string_to_sign: str
    signature: str
    url: str
    headers: dict[str, str]


@contextmanager
def botocore_time(now: datetime) -> Iterator[None]:
    """botocore reads the clock by a function of its own, which takes its place here."""
    naive = now.astimezone(UTC).replace(tzinfo=None)
    with mock.patch.object(botocore.auth, "get_current_datetime", return_value=naive):
        yield


def ask_botocore(
    signer: type[botocore.auth.SigV4Auth], case: Case, target: str, service: str, **more: Any
) -> Reference:
    token = case.who.session_token.reveal() if case.who.session_token else None
    who = botocore.credentials.Credentials(case.who.access_key, case.who.secret_key.reveal(), token)
    signing = signer(who, service, case.region, **more)
    with (
        botocore_time(case.now),
        mock.patch.object(signing, "string_to_sign", wraps=signing.string_to_sign) as telling,
        mock.patch.object(signing, "signature", wraps=signing.signature) as signature,
    ):
        request = _botocore_request(case, target)
        signing.add_auth(request)
    _, canonical_request = telling.call_args.args
    text, _ = signature.call_args.args
    return Reference(
        canonical_request=canonical_request,
        string_to_sign=text,
        # Asked again: the recording of a call has its arguments, not what it gave back.
        signature=signing.signature(text, request),
        url=str(request.url),
        headers={name.lower(): value for name, value in request.headers.items()},
    )


def _botocore_request(case: Case, target: str) -> AWSRequest:
    request = AWSRequest(method=case.request.method, url=f"https://{case.request.host}{target}", data=case.body)
    request.headers["Host"] = case.request.host
    for name, value in case.request.headers:
        request.headers[name] = value
    unsigned = case.request.payload_hash == UNSIGNED_PAYLOAD
    request.context["payload_signing_enabled"] = not unsigned
    request.context["client_config"] = Config(s3={"payload_signing_enabled": not unsigned})
    if case.request.payload_hash == STREAMING_UNSIGNED_TRAILER:
        request.context["checksum"] = {"request_algorithm": {"in": "trailer", "algorithm": "crc32"}}
    return request


def ask_awscrt(
    case: Case, target: str, service: str, *, s3: bool, asymmetric: bool = False, expires: int | None = None
) -> HttpRequest:
    """The request as awscrt signed it, in its query when it `expires`."""
    header = AwsSignedBodyHeaderType.X_AMZ_CONTENT_SHA_256 if s3 and expires is None else AwsSignedBodyHeaderType.NONE
    config = AwsSigningConfig(
        algorithm=AwsSigningAlgorithm.V4_ASYMMETRIC if asymmetric else AwsSigningAlgorithm.V4,
        signature_type=AwsSignatureType.HTTP_REQUEST_QUERY_PARAMS if expires else AwsSignatureType.HTTP_REQUEST_HEADERS,
        credentials_provider=AwsCredentialsProvider.new_static(
            case.who.access_key,
            case.who.secret_key.reveal(),
            case.who.session_token.reveal() if case.who.session_token else None,
        ),
        region=case.region,
        service=service,
        date=case.now,
        use_double_uri_encode=not s3,
        should_normalize_uri_path=not s3,
        signed_body_value=UNSIGNED_PAYLOAD if s3 and expires else case.request.payload_hash,
        signed_body_header_type=header,
        expiration_in_seconds=expires,
    )
    given = HttpHeaders([("Host", case.request.host), *case.request.headers])
    request = HttpRequest(case.request.method, target, given, io.BytesIO(case.body))
    return aws_sign_request(request, config).result(timeout=30)


def header(request: HttpRequest, name: str) -> str:
    return next(str(value) for given, value in request.headers if given.lower() == name)
