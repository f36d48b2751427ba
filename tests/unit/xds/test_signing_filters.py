from __future__ import annotations

import pytest
import re2
from envoy.extensions.common.matching.v3.extension_matcher_pb2 import ExtensionWithMatcher
from envoy.extensions.filters.http.aws_request_signing.v3.aws_request_signing_pb2 import AwsRequestSigning
from envoy.extensions.filters.http.lua.v3.lua_pb2 import Lua

from apostille.base.secrets import SecretText
from apostille.model.lane import EnvoySigner
from apostille.signing.sigv4 import EMPTY_HASH
from apostille.xds.predicates import Predicate
from apostille.xds.signing_filters import (
    GUARD,
    SIGNATURE_HEADERS,
    emit_signer,
    emit_signing_filters,
    emit_void_removal,
    signer_name,
)

SIGNER = EnvoySigner(
    id="apps/sign@1", service="s3", region="eu-west-1", access_key="AKID", secret_key=SecretText("secret-of-ours")
)
_SIGNATURE = "AWS4-HMAC-SHA256 Credential=AKID/20260101/eu-west-1/s3/aws4_request, SignedHeaders={}, Signature={}"
OURS = "host;x-amz-content-sha256;x-amz-date"


def guard() -> ExtensionWithMatcher:
    return ExtensionWithMatcher.FromString(emit_signing_filters("apps/sign@1", inline=False)[1].typed_config.value)


def lets_pass(headers: dict[str, str]) -> bool:
    [only] = guard().xds_matcher.matcher_list.matchers
    return _is_true(only.predicate, headers)


def _is_true(predicate: Predicate, headers: dict[str, str]) -> bool:
    match predicate.WhichOneof("match_type"):
        case "and_matcher":
            return all(_is_true(each, headers) for each in predicate.and_matcher.predicate)
        case "or_matcher":
            return any(_is_true(each, headers) for each in predicate.or_matcher.predicate)
        case "single_predicate":
            asked = predicate.single_predicate
            value, wanted = headers.get(asked.input.name, ""), asked.value_match
            return value == wanted.exact if wanted.exact else wanted.contains in value
        case other:
            raise AssertionError(other)


def signed(names: str = OURS, signature: str = "ab" * 32, payload: str = EMPTY_HASH) -> dict[str, str]:
    return {"authorization": _SIGNATURE.format(names, signature), "x-amz-content-sha256": payload}


def test_the_guard_stands_behind_the_signer() -> None:
    sign, behind = emit_signing_filters("apps/sign@1", inline=False)
    assert (sign.name, behind.name) == (signer_name("apps/sign@1"), GUARD)
    assert (sign.WhichOneof("config_type"), sign.is_optional, sign.disabled) == ("config_discovery", False, False)


def test_a_signature_of_ours_passes() -> None:
    assert lets_pass(signed())
    assert lets_pass(signed(f"{OURS};x-amz-security-token"))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "", "x-amz-content-sha256": EMPTY_HASH},
        {"authorization": "Bearer x", "x-amz-content-sha256": EMPTY_HASH},
        signed(f"{OURS};x-amz-acl"),
        signed(f"host;x-amz-acl;{OURS[5:]}"),
        signed("host"),
        signed("x-amz-content-sha256;x-amz-date"),
        {"authorization": signed()["authorization"].partition(" Signature=")[0], "x-amz-content-sha256": EMPTY_HASH},
        signed(payload="ab" * 32),
        signed(payload="UNSIGNED-PAYLOAD"),
        signed(payload=""),
    ],
)
def test_anything_else_meets_the_script_that_refuses(headers: dict[str, str]) -> None:
    assert not lets_pass(headers)


def test_the_script_answers_and_never_lets_anything_pass() -> None:
    script = Lua.FromString(guard().extension_config.typed_config.value).default_source_code.inline_string
    assert script.count("handle:respond(") == 3
    assert script.rstrip().endswith('["x-apostille-reason"] = "sign_failed"}, "")\n  end\nend')
    assert EMPTY_HASH in script
    assert f'["{OURS}"]' in script


def test_the_credentials_are_in_a_resource_of_their_own_and_in_no_cluster() -> None:
    resource = emit_signer(SIGNER)
    found = AwsRequestSigning.FromString(resource.typed_config.value)
    given = found.credential_provider.inline_credential
    assert resource.name == signer_name(SIGNER.id)
    assert (given.access_key_id, given.secret_access_key, given.session_token) == ("AKID", "secret-of-ours", "")
    # Nothing else is asked for credentials: an environment, an instance, a file.
    assert [field.name for field, _ in found.credential_provider.ListFields()] == ["inline_credential"]
    for inline in (True, False):
        assert b"secret-of-ours" not in b"".join(
            each.SerializeToString() for each in emit_signing_filters(SIGNER.id, inline=inline)
        )
    assert "secret-of-ours" not in repr(SIGNER)


def test_the_body_is_hashed_and_the_headers_of_the_signature_are_all_that_is_signed() -> None:
    found = AwsRequestSigning.FromString(emit_signer(SIGNER).typed_config.value)
    assert (found.service_name, found.region, found.use_unsigned_payload) == ("s3", "eu-west-1", False)
    assert found.host_rewrite == ""
    assert [each.WhichOneof("match_pattern") for each in found.match_included_headers] == ["exact", "prefix"]


@pytest.mark.parametrize(
    ("name", "goes"),
    [
        *((name, False) for name in SIGNATURE_HEADERS if name != "x-amz-region-set"),
        *((name, False) for name in ("host", "x-amz", "x-amzn", "authorization", "accept", "x-a")),
        *((name, True) for name in ("x-amz-acl", "x-amz-", "x-amz-dat", "x-amz-dates", "x-amz-d", "x-amz-content-sha")),
        *((name, True) for name in ("x-amz-content-sha2567", "x-amz-security-tokens", "x-amz-x:y")),
    ],
)
def test_what_is_named_like_a_signature_and_is_none_goes(name: str, goes: bool) -> None:
    pattern = emit_void_removal().remove_on_match.key_matcher.safe_regex.regex
    assert (re2.fullmatch(pattern, name) is not None) is goes
