from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest

from apostille.auth.contract import Deny, OutboundRequest, Signed, SignerTools
from apostille.base.secrets import SecretText
from apostille.credentials.fetched import CredentialsUnavailable, Reason
from apostille.integrations.aws_sigv4 import KIND, find_refusal
from apostille.integrations.aws_sigv4_spec import Allowed, AwsSigV4Config
from apostille.model.caller import NOBODY, Caller
from apostille.model.credentials import Source, StaticSource
from apostille.signing.sigv4 import EMPTY_HASH, STREAMING_UNSIGNED_TRAILER, UNSIGNED_PAYLOAD, Credentials

CREDENTIALS = Credentials(
    access_key="AKIAIOSFODNN7EXAMPLE", secret_key=SecretText("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
)
EVERYTHING = Allowed(methods=None, path_prefixes=(), query=None, headers=None, copy_sources=None)
CONFIG = AwsSigV4Config(
    service="s3",
    region="eu-west-1",
    payload="AUTO",
    body_limit=1024,
    unsigned_over_plain=False,
    correct_clock=False,
    source=StaticSource(access_key="unused", secret_key=SecretText("unused")),
    allowed=EVERYTHING,
)
HOST = "example-bucket.s3.eu-west-1.amazonaws.com"
GET = OutboundRequest(method="GET", host=HOST, path="/cake.json", tls=True, headers={})


@dataclass(frozen=True)
class FixedClock:
    def now(self) -> datetime:
        return datetime(2024, 4, 25, 12, 0, tzinfo=UTC)

    def monotonic(self) -> float:
        return 0.0


@dataclass(frozen=True)
class FixedUpstream:
    skew: timedelta = timedelta(0)


@dataclass
class FixedCredentials:
    """Gives what it was told to, and remembers for whom."""

    outcome: Credentials | CredentialsUnavailable = CREDENTIALS
    callers: list[Caller] = field(default_factory=list)
    doubts: int = 0

    def lease(self, source: Source, /) -> FixedCredentials:
        return self

    def doubt(self) -> None:
        self.doubts += 1

    async def get(self, caller: Caller = NOBODY) -> Credentials:
        self.callers.append(caller)
        if isinstance(self.outcome, CredentialsUnavailable):
            raise self.outcome
        return self.outcome


async def sign(
    request: OutboundRequest, config: AwsSigV4Config = CONFIG, credentials: FixedCredentials | None = None
) -> Signed | Deny:
    tools = SignerTools(clock=FixedClock(), credentials=credentials or FixedCredentials(), upstream=FixedUpstream())
    return await KIND.start(config, tools).sign(request)


async def payload_of(request: OutboundRequest, config: AwsSigV4Config = CONFIG) -> str:
    """The payload hash or marker that was signed, or the reason of the denial."""
    outcome = await sign(request, config)
    return outcome.reason if isinstance(outcome, Deny) else dict(outcome.headers)["x-amz-content-sha256"]


async def test_the_vector_of_the_signers_contract_comes_out() -> None:
    signed = await sign(GET)
    assert isinstance(signed, Signed)
    assert dict(signed.headers)["authorization"].endswith(
        "Signature=068077c4c34d95ce29127f9cc6c3e2189fca62f823fe07997cb65c8de8c9319b"
    )
    assert signed.path == "/cake.json"


async def test_the_path_that_is_signed_is_told_in_its_one_spelling() -> None:
    signed = await sign(replace(GET, path="/a//b%2fc/%7Ed+e"))
    assert isinstance(signed, Signed)
    assert signed.path == "/a//b/c/~d%2Be"


async def test_what_the_client_signed_with_goes_no_further() -> None:
    signed = await sign(replace(GET, headers={"x-amz-date": "20000101T000000Z", "x-amz-security-token": "theirs"}))
    assert isinstance(signed, Signed)
    assert dict(signed.headers)["x-amz-date"] == "20240425T120000Z"
    assert "x-amz-security-token" in signed.remove
    assert "x-amz-security-token" not in dict(signed.headers)


async def test_a_header_without_a_value_that_nobody_allowed_goes_no_further_and_is_not_signed() -> None:
    """Envoy's signer leaves such headers out; in both lanes they are taken off."""
    allowed = replace(EVERYTHING, headers=("x-amz-meta-*",))
    headers = {"x-amz-acl": "", "x-amz-meta-color": "", "accept": "", "x-amz-date": ""}
    signed = await sign(replace(GET, headers=headers), replace(CONFIG, allowed=allowed))
    assert isinstance(signed, Signed)
    assert set(signed.remove) == {"x-amz-acl", "x-amz-date"}
    names = dict(signed.headers)["authorization"].split("SignedHeaders=")[1].split(",")[0]
    assert names == "host;x-amz-content-sha256;x-amz-date;x-amz-meta-color"
    for value in ("private", ",", "-"):
        refused = await sign(replace(GET, headers={"x-amz-acl": value}), replace(CONFIG, allowed=allowed))
        assert isinstance(refused, Deny)
        assert refused.reason == "header_not_allowed"


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (GET, EMPTY_HASH),
        (replace(GET, method="PUT", length=5, body=b"hello", body_complete=True), sha256(b"hello").hexdigest()),
        (replace(GET, method="PUT", length=5, headers={"x-amz-content-sha256": "a" * 64}), "a" * 64),
        (replace(GET, method="PUT", length=9999, body=b"the beginning"), UNSIGNED_PAYLOAD),
        (replace(GET, method="PUT", length=9999, body=b"the beginning", tls=False), "unsigned_payload_over_plain"),
        (replace(GET, method="PUT", chunked=True), "length_required"),
        (
            replace(GET, method="PUT", length=9, headers={"x-amz-content-sha256": STREAMING_UNSIGNED_TRAILER}),
            STREAMING_UNSIGNED_TRAILER,
        ),
        (
            replace(
                GET, method="PUT", length=9, headers={"x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"}
            ),
            "chunk_signatures_refused",
        ),
    ],
)
async def test_automatic_payloads_are_covered_as_far_as_they_can_be(request_: OutboundRequest, expected: str) -> None:
    assert await payload_of(request_) == expected


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (replace(GET, method="PUT", length=5, body=b"hello", body_complete=True), sha256(b"hello").hexdigest()),
        (replace(GET, method="PUT", length=9999, body=b"the beginning"), "payload_too_large"),
        (
            replace(GET, method="PUT", length=9, headers={"x-amz-content-sha256": STREAMING_UNSIGNED_TRAILER}),
            "payload_not_signed",
        ),
        (
            replace(
                GET,
                method="PUT",
                length=5,
                body=b"hello",
                body_complete=True,
                headers={"x-amz-content-sha256": "a" * 64},
            ),
            sha256(b"hello").hexdigest(),
        ),
    ],
)
async def test_signed_payloads_are_hashed_here_or_refused(request_: OutboundRequest, expected: str) -> None:
    assert await payload_of(request_, replace(CONFIG, payload="SIGNED")) == expected


async def test_unsigned_payloads_go_over_plain_http_only_where_that_was_written() -> None:
    plain = replace(GET, method="PUT", length=5, tls=False)
    unsigned = replace(CONFIG, payload="UNSIGNED")
    assert await payload_of(plain, unsigned) == "unsigned_payload_over_plain"
    assert await payload_of(plain, replace(unsigned, unsigned_over_plain=True)) == UNSIGNED_PAYLOAD


@pytest.mark.parametrize("reason", list(Reason))
async def test_without_credentials_nothing_is_signed(reason: Reason) -> None:
    refused = await sign(GET, credentials=FixedCredentials(CredentialsUnavailable(reason, "canary-free words")))
    assert isinstance(refused, Deny)
    assert (refused.status, refused.reason, refused.broken) == (503, reason.value, True)


async def test_who_is_calling_is_told_to_the_credentials() -> None:
    credentials = FixedCredentials()
    await sign(replace(GET, consumer="alice", key="apo_live_1", metadata={"team": "a"}), credentials=credentials)
    assert credentials.callers == [Caller(consumer="alice", key="apo_live_1", metadata={"team": "a"})]


async def test_an_explanation_shows_the_steps_and_no_session_token() -> None:
    token = "FwoGZXIvYXdzEXAMPLETOKEN"
    credentials = FixedCredentials(replace(CREDENTIALS, session_token=SecretText(token)))
    signer = KIND.start(CONFIG, SignerTools(clock=FixedClock(), credentials=credentials, upstream=FixedUpstream()))
    explained = await signer.explain(GET)
    assert not isinstance(explained, Deny)
    assert [title for title, _ in explained] == ["canonical request", "string to sign", "request"]
    assert token not in repr(explained)
    assert "x-amz-security-token: [redacted]" in explained[2][1]


READS = Allowed(
    methods=("GET", "HEAD"),
    path_prefixes=("/team/",),
    query=("prefix",),
    headers=("x-amz-meta-*", "x-amz-copy-source"),
    copy_sources=None,
)


@pytest.mark.parametrize(
    ("changes", "path", "expected"),
    [
        ({}, "/team/a", None),
        ({"method": "DELETE"}, "/team/a", "method_not_allowed"),
        ({}, "/other", "path_not_allowed"),
        ({}, "/team/../other", "path_not_allowed"),
        ({}, "/teams", "path_not_allowed"),
        ({"query": "prefix=a"}, "/team/", None),
        ({"query": "acl"}, "/team/", "query_not_allowed"),
        ({"query": "pre%66ix=a&%61cl"}, "/team/", "query_not_allowed"),
        ({"query": "X-Amz-Signature=1"}, "/team/", "presigned_query_refused"),
        ({"headers": {"x-amz-meta-note": "1"}}, "/team/a", None),
        ({"headers": {"x-amz-acl": "public-read"}}, "/team/a", "header_not_allowed"),
        ({"headers": {"x-amz-copy-source": "example-bucket/team/b"}}, "/team/a", None),
        ({"headers": {"x-amz-copy-source": "/example-bucket/team/b?versionId=1"}}, "/team/a", None),
        ({"headers": {"x-amz-copy-source": "example-bucket/other/b"}}, "/team/a", "copy_source_not_allowed"),
        ({"headers": {"x-amz-copy-source": "another-bucket/team/b"}}, "/team/a", "copy_source_not_allowed"),
        ({"headers": {"x-amz-copy-source": "example-bucket/team/%2e%2e/b"}}, "/team/a", "copy_source_not_allowed"),
    ],
)
def test_what_the_author_has_not_allowed_is_refused(
    changes: dict[str, object], path: str, expected: str | None
) -> None:
    request = replace(GET, **changes)  # type: ignore[arg-type]  # the table holds fields of several types
    assert find_refusal(READS, request, path) == expected


def test_of_two_reasons_it_is_always_the_same_that_is_told() -> None:
    """Headers come in any order."""
    headers = [("x-amz-copy-source", "another-bucket/team/b"), ("x-amz-acl", "public-read")]
    for order in (headers, headers[::-1]):
        assert find_refusal(READS, replace(GET, headers=dict(order)), "/team/a") == "header_not_allowed"


def test_copies_may_be_listed_by_the_author() -> None:
    listed = replace(READS, copy_sources=("shared/public/",))
    for source, expected in (("shared/public/x", None), ("example-bucket/team/b", "copy_source_not_allowed")):
        request = replace(GET, headers={"x-amz-copy-source": source})
        assert find_refusal(listed, request, "/team/a") == expected


@pytest.mark.parametrize(
    "headers",
    [
        {"x-amz-content-sha256": "streaming-aws4-hmac-sha256-payload"},
        {"x-amz-content-sha256": f"{'a' * 64},STREAMING-AWS4-HMAC-SHA256-PAYLOAD"},
        {"x-amz-content-sha256": "nonsense"},
        {"content-encoding": "gzip, AWS-Chunked"},
        {"content-encoding": "aws-chunked", "x-amz-content-sha256": "a" * 64},
    ],
)
async def test_frames_that_nobody_announces_are_never_stored(headers: dict[str, str]) -> None:
    upload = replace(GET, method="PUT", length=9, body=b"1;chunk-s", body_complete=True, headers=headers)
    assert await payload_of(upload) == "payload_declaration_unknown"


async def test_a_declared_hash_may_be_in_capitals() -> None:
    upload = replace(GET, method="PUT", length=9999, headers={"x-amz-content-sha256": "A" * 64})
    assert await payload_of(upload) == "a" * 64


def test_two_copy_sources_are_refused() -> None:
    request = replace(GET, headers={"x-amz-copy-source": "example-bucket/team/b,another-bucket/secret"})
    assert find_refusal(READS, request, "/team/a") == "copy_source_not_allowed"


async def test_requests_are_dated_by_the_services_clock_only_where_the_author_wants_that() -> None:
    ahead = SignerTools(
        clock=FixedClock(), credentials=FixedCredentials(), upstream=FixedUpstream(skew=timedelta(minutes=20))
    )
    for correct_clock, expected in ((False, "20240425T120000Z"), (True, "20240425T122000Z")):
        signed = await KIND.start(replace(CONFIG, correct_clock=correct_clock), ahead).sign(GET)
        assert isinstance(signed, Signed)
        assert dict(signed.headers)["x-amz-date"] == expected


async def test_credentials_that_the_service_refused_are_doubted() -> None:
    credentials = FixedCredentials()
    signer = KIND.start(CONFIG, SignerTools(clock=FixedClock(), credentials=credentials, upstream=FixedUpstream()))
    signer.refused()
    assert credentials.doubts == 1
