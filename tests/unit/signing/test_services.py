from __future__ import annotations

import json
from datetime import UTC, datetime

import botocore.loaders
import pytest

from apostille.base.secrets import SecretText
from apostille.signing import sigv4, sigv4a
from apostille.signing.canonical import is_s3
from apostille.signing.services import demands_hash_header, takes_only_unsigned, takes_unsigned
from apostille.signing.sigv4 import EMPTY_HASH, STREAMING_UNSIGNED_TRAILER, UNSIGNED_PAYLOAD, Credentials, Request

WHO = Credentials(access_key="AKIDEXAMPLE", secret_key=SecretText("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"))
NOW = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)


def headers_for(service: str, payload: str) -> list[dict[str, str]]:
    """What both algorithms put on a request."""
    request = Request(method="PUT", host="a.example", path="/key", payload_hash=payload)
    return [
        dict(sigv4.sign(request, WHO, region="eu-west-1", service=service, now=NOW).headers),
        dict(sigv4a.sign(request, WHO, region_set=("*",), service=service, now=NOW).headers),
    ]


@pytest.mark.parametrize(
    "service", ["s3", "s3express", "s3-object-lambda", "s3-outposts", "aoss", "glacier", "vpc-lattice-svcs"]
)
def test_services_that_want_the_payload_hash_get_it(service: str) -> None:
    assert demands_hash_header(service)
    for headers in headers_for(service, EMPTY_HASH):
        assert headers["x-amz-content-sha256"] == EMPTY_HASH


@pytest.mark.parametrize("service", ["dynamodb", "execute-api", "s3tables", "s3vectors", "es"])
def test_other_services_are_told_of_a_marker_and_of_no_hash(service: str) -> None:
    for headers in headers_for(service, EMPTY_HASH):
        assert "x-amz-content-sha256" not in headers
    for marker in (UNSIGNED_PAYLOAD, STREAMING_UNSIGNED_TRAILER):
        for headers in headers_for(service, marker):
            assert headers["x-amz-content-sha256"] == marker


def test_only_services_that_are_known_for_it_take_uncovered_bodies() -> None:
    assert takes_unsigned("s3")
    assert takes_unsigned("aoss")
    assert not takes_unsigned("dynamodb")
    assert takes_only_unsigned("vpc-lattice-svcs")
    assert not takes_only_unsigned("aoss")


def test_botocore_covers_no_body_of_exactly_these_services() -> None:
    """And it treats no other service as it does S3: without a second encoding of the path."""
    loader = botocore.loaders.create_loader()
    uncovered, encoded_once = set(), set()
    for name in loader.list_available_services("service-2"):
        model = loader.load_service_model(name, "service-2")
        signing_name = model["metadata"].get("signingName", model["metadata"].get("endpointPrefix"))
        if any(
            o.get("authtype") == "v4-unsigned-body" or o.get("unsignedPayload") for o in model["operations"].values()
        ):
            uncovered.add(signing_name)
        rules = json.dumps(loader.load_service_model(name, "endpoint-rule-set-1"))
        if '"disableDoubleEncoding": true' in rules:
            encoded_once |= set(_signing_names(json.loads(rules))) | {signing_name}
    assert uncovered == {"s3", "ebs", "lex", "mediastore", "omics"}
    assert all(takes_unsigned(service) for service in uncovered)
    assert encoded_once == {"s3", "s3express", "s3-object-lambda", "s3-outposts"}
    assert all(is_s3(service) for service in encoded_once)


def _signing_names(rules: object) -> list[str]:
    if isinstance(rules, dict):
        own = [rules["signingName"]] if isinstance(rules.get("signingName"), str) else []
        return [*own, *(name for value in rules.values() for name in _signing_names(value))]
    return [name for value in rules for name in _signing_names(value)] if isinstance(rules, list) else []
