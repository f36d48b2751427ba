"""What a policy compiles to, what it says that this comes to, and what the signer then does for single services."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from apostille.auth.contract import Deny, OutboundRequest, Signed, SignerTools
from apostille.base.refs import Ref
from apostille.base.secrets import SecretText
from apostille.integrations.aws_sigv4 import KIND
from apostille.integrations.aws_sigv4_spec import AwsSigV4Config, AwsSigV4Spec
from apostille.model.caller import NOBODY, Caller
from apostille.model.credentials import Source
from apostille.model.destination import Endpoint
from apostille.signing import sigv4a
from apostille.signing.sigv4 import EMPTY_HASH, UNSIGNED_PAYLOAD, Credentials
from apostille.status.problem import Problem
from apostille.status.reasons import Reason
from apostille.translate.contract import CompiledIntegration, SecretView

WHO = Credentials(access_key="AKIDEXAMPLE", secret_key=SecretText("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"))
HOST = "mfzwi23gnjvgw.mrap.accesspoint.s3-global.amazonaws.com"
GET = OutboundRequest(method="GET", host=HOST, path="/cake.json", tls=True, headers={})
PUT = replace(GET, method="PUT", length=5, body=b"hello", body_complete=True)


class Scope:
    """For policies whose credentials are the instance's: nothing is asked of it."""

    id = "gateway/policy/awsSigV4"
    namespace = "gateway"

    def secret(self, namespace: str, name: str, /) -> SecretView | None:
        return None

    def secrets(self, labels: Mapping[str, str], /) -> tuple[SecretView, ...]:
        return ()

    def endpoints(self, host: str, port: int, /) -> tuple[Endpoint, ...] | None:
        return None

    def warn(self, ref: Ref, problem: Problem, /) -> None:
        raise AssertionError("no other resource is wrong")


@dataclass(frozen=True)
class Noon:
    def now(self) -> datetime:
        return datetime(2024, 4, 25, 12, 0, tzinfo=UTC)

    def monotonic(self) -> float:
        return 0.0


@dataclass(frozen=True)
class OnTime:
    skew: timedelta = timedelta(0)


class Fixed:
    def lease(self, source: Source, /) -> Fixed:
        return self

    async def get(self, caller: Caller = NOBODY) -> Credentials:
        return WHO

    def doubt(self) -> None:
        raise AssertionError("nobody refuses anything here")


def compiled(**fields: object) -> CompiledIntegration | list[Problem]:
    spec = AwsSigV4Spec.model_validate(
        {"service": "s3", "region": "eu-west-1", "credentials": {"instance": {}}, **fields}
    )
    return KIND.compile(spec, Scope())


def sound(**fields: object) -> CompiledIntegration:
    outcome = compiled(**fields)
    assert isinstance(outcome, CompiledIntegration)
    return outcome


def problem_of(outcome: CompiledIntegration | list[Problem]) -> Problem:
    assert isinstance(outcome, list)
    (problem,) = outcome
    return problem


async def signed(request: OutboundRequest, **fields: object) -> Signed | Deny:
    tools = SignerTools(clock=Noon(), credentials=Fixed(), upstream=OnTime())
    return await KIND.start(sound(**fields).config, tools).sign(request)


async def headers_of(request: OutboundRequest, **fields: object) -> dict[str, str]:
    outcome = await signed(request, **fields)
    assert isinstance(outcome, Signed), outcome
    return dict(outcome.headers)


# --- what callers may do ----------------------------------------------------------------------------------------------


def test_for_s3_the_summary_lists_the_reads_that_nobody_wrote() -> None:
    summary = sound().summary
    assert summary[:3] == ("signs for s3 in eu-west-1 with: instance", "methods: GET, HEAD (the default)", "paths: all")
    assert summary[3].startswith("query parameters: those of reading and listing (the default: continuation-token, ")
    assert summary[4].startswith("x-amz- headers: those of SDKs (the default: x-amz-checksum-algorithm, ")
    assert summary[5:] == (
        "copy sources: none, since x-amz-copy-source is not allowed",
        "everything else is refused with 403 before it is signed",
    )


def test_what_the_author_added_stands_after_the_default() -> None:
    allow = {
        "methods": ["GET", "put"],
        "pathPrefixes": ["/team/", "/shared/"],
        "query": ["uploadId"],
        "headers": ["x-amz-copy-source", "x-amz-meta-*"],
        "copySources": ["bucket/team/"],
    }
    summary = sound(allow=allow).summary
    assert summary[1:3] == ("methods: GET, PUT", "paths: /team/*, /shared/*")
    assert summary[3].endswith("x-id), and uploadId")
    assert summary[4].endswith("x-amz-id-2), and x-amz-copy-source, x-amz-meta-*")
    assert summary[5] == "copy sources: bucket/team/*"


@pytest.mark.parametrize(
    ("allow", "expected"),
    [
        ({"headers": ["x-amz-copy-source"]}, "the same bucket, below the same paths"),
        ({"headers": ["x-amz-*"]}, "the same bucket, below the same paths"),
        ({"headers": ["x-amz-copy-source"], "copySources": []}, "none"),
        ({"copySources": ["bucket/"]}, "none, since x-amz-copy-source is not allowed"),
    ],
)
def test_copy_sources_count_only_where_their_header_is_allowed(allow: Mapping[str, object], expected: str) -> None:
    assert f"copy sources: {expected}" in sound(allow=allow).summary


def test_of_other_services_everything_is_allowed_and_iam_has_the_last_word() -> None:
    assert sound(service="dynamodb").summary == (
        "signs for dynamodb in eu-west-1 with: instance",
        "callers may send everything; IAM has the last word",
    )


def test_other_services_can_be_narrowed() -> None:
    assert sound(service="execute-api", allow={"methods": ["POST"], "pathPrefixes": ["/prod/"]}).summary == (
        "signs for execute-api in eu-west-1 with: instance",
        "methods: POST",
        "paths: /prod/*",
        "query parameters: all",
        "x-amz- headers: all",
        "everything else is refused with 403 before it is signed; of the rest IAM has the last word",
    )


# --- SigV4A -----------------------------------------------------------------------------------------------------------

WRITES = {"allow": {"methods": ["GET", "PUT"]}}
MULTI_REGION = {"algorithm": "SIGV4A", "regionSet": ["us-east-1", "eu-*"], **WRITES}


async def test_a_signature_for_many_regions_verifies() -> None:
    tools = SignerTools(clock=Noon(), credentials=Fixed(), upstream=OnTime())
    explained = await KIND.start(sound(**MULTI_REGION).config, tools).explain(PUT)
    assert not isinstance(explained, Deny)
    texts = dict(explained)
    assert texts["string to sign"].startswith("AWS4-ECDSA-P256-SHA256\n20240425T120000Z\n20240425/s3/aws4_request\n")
    assert "\nx-amz-region-set:us-east-1,eu-*\n" in texts["canonical request"]
    assert "\nx-amz-region-set: us-east-1,eu-*" in texts["request"]
    found = re.search(
        r"authorization: AWS4-ECDSA-P256-SHA256 Credential=AKIDEXAMPLE/20240425/s3/aws4_request, "
        r"SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-region-set, Signature=([0-9a-f]+)",
        texts["request"],
    )
    assert found is not None
    public = sigv4a.derive_key_pair(WHO).public_key()
    public.verify(bytes.fromhex(found[1]), texts["string to sign"].encode(), ec.ECDSA(hashes.SHA256()))


async def test_the_regions_are_ours_whatever_the_client_says() -> None:
    theirs = replace(GET, headers={"x-amz-region-set": "*"})
    for fields, ours in ((MULTI_REGION, "us-east-1,eu-*"), ({}, None)):
        outcome = await signed(theirs, **fields)
        assert isinstance(outcome, Signed)
        assert dict(outcome.headers).get("x-amz-region-set") == ours
        assert "x-amz-region-set" in outcome.remove


def test_the_summary_names_the_regions() -> None:
    assert sound(**MULTI_REGION).summary[0] == "signs for s3 in the regions us-east-1, eu-* with: instance"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"algorithm": "SIGV4A"}, Reason.MISSING_FIELD),
        ({"regionSet": ["*"]}, Reason.CONFLICT),
        ({"algorithm": "SIGV4", "regionSet": ["*"]}, Reason.CONFLICT),
    ],
)
def test_a_set_of_regions_goes_with_its_algorithm(fields: Mapping[str, object], reason: Reason) -> None:
    problem = problem_of(compiled(**fields))
    assert (problem.at, problem.reason) == (("regionSet",), reason)


@pytest.mark.parametrize("regions", [[], [""], ["a,b"], ["EU"], "*"])
def test_a_set_of_regions_that_is_none_is_refused(regions: object) -> None:
    with pytest.raises(ValueError, match="region"):
        AwsSigV4Spec.model_validate(
            {
                "service": "s3",
                "region": "eu-west-1",
                "credentials": {"instance": {}},
                "algorithm": "SIGV4A",
                "regionSet": regions,
            }
        )


# --- what single services demand --------------------------------------------------------------------------------------


async def test_services_that_want_the_hash_of_the_body_get_it() -> None:
    for service in ("s3", "aoss", "glacier"):
        assert (await headers_of(PUT, service=service, **WRITES))["x-amz-content-sha256"] == sha256(
            b"hello"
        ).hexdigest()
        assert (await headers_of(GET, service=service))["x-amz-content-sha256"] == EMPTY_HASH
    assert "x-amz-content-sha256" not in await headers_of(PUT, service="dynamodb")


async def test_a_body_that_cannot_be_seen_whole_is_refused_where_it_would_be_in_vain() -> None:
    long = replace(PUT, length=9999, body=b"the beginning", body_complete=False)
    for service in ("s3", "aoss", "ebs"):
        assert (await headers_of(long, service=service, **WRITES))["x-amz-content-sha256"] == UNSIGNED_PAYLOAD
    refused = await signed(long, service="dynamodb")
    assert isinstance(refused, Deny)
    assert (refused.status, refused.reason) == (413, "payload_too_large")
    assert refused.body == "dynamodb wants signed bodies, up to 1048576 bytes (`bodyLimit`); this one is larger.\n"
    # Whoever says so in so many words knows the service better.
    assert (await headers_of(long, service="custom", payload="UNSIGNED"))["x-amz-content-sha256"] == UNSIGNED_PAYLOAD
    told = replace(long, headers={"x-amz-content-sha256": UNSIGNED_PAYLOAD})
    assert (await headers_of(told, service="custom"))["x-amz-content-sha256"] == UNSIGNED_PAYLOAD


async def test_no_body_is_ever_covered_for_a_service_that_cannot_check_one() -> None:
    for request in (GET, PUT, replace(GET, method="POST", chunked=True)):
        headers = await headers_of(request, service="vpc-lattice-svcs")
        assert headers["x-amz-content-sha256"] == UNSIGNED_PAYLOAD
    assert sound(service="vpc-lattice-svcs").body_limit is None
    problem = problem_of(compiled(service="vpc-lattice-svcs", payload="SIGNED"))
    assert (problem.at, problem.reason) == (("payload",), Reason.CONFLICT)


@pytest.mark.parametrize(
    ("payload", "limit", "unread"),
    [
        ("AUTO", 4096, ("content-length", "x-amz-content-sha256")),
        ("SIGNED", 4096, ()),
        # One byte tells that there is a body.
        ("UNSIGNED", 1, ("content-length",)),
    ],
)
def test_a_body_without_a_length_is_always_looked_at(payload: str, limit: int, unread: tuple[str, ...]) -> None:
    """Nothing else tells of it: it would be signed as a request without a body."""
    found = sound(service="s3", payload=payload, bodyLimit=4096)
    assert (found.body_limit, found.unread) == (limit, unread)


@pytest.mark.parametrize("field", ["service", "region"])
def test_a_service_or_region_that_would_forge_a_scope_is_refused(field: str) -> None:
    for value in ("", "a/b", "a b", "a,b", "a\nb"):
        spec = {"service": "s3", "region": "eu-west-1", "credentials": {"instance": {}}, field: value}
        with pytest.raises(ValueError, match=field):
            AwsSigV4Spec.model_validate(spec)


def test_the_config_carries_the_regions_only_where_they_are_signed_for() -> None:
    for fields, regions in ((MULTI_REGION, ("us-east-1", "eu-*")), ({}, ())):
        config = sound(**fields).config
        assert isinstance(config, AwsSigV4Config)
        assert config.region_set == regions
