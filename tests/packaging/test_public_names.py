"""What plug-ins may rely on. A change of this list is a change of the product: it belongs in the release notes."""

from __future__ import annotations

from apostille import sdk

PUBLIC = [
    "CHALLENGE",
    "EMPTY_HASH",
    "KEY_REFUSED",
    "PLAIN_S3_PATH",
    "STREAMING_UNSIGNED_TRAILER",
    "UNSIGNED_PAYLOAD",
    "Allow",
    "AssumeRoleSource",
    "AsymmetricKeys",
    "AuthRequest",
    "AuthStep",
    "Choice",
    "CompiledIntegration",
    "CompiledStep",
    "ContainerSource",
    "Credentials",
    "CredentialsUnavailable",
    "DefaultSource",
    "Deny",
    "Duration",
    "Endpoint",
    "EnvironmentSource",
    "EnvoyKey",
    "EnvoyKeyCheck",
    "EnvoySigning",
    "HeaderPattern",
    "HeaderUse",
    "Headers",
    "InstanceSource",
    "IntegrationKind",
    "Key",
    "KeyRing",
    "NotEmpty",
    "OutboundRequest",
    "Problem",
    "ProfileSource",
    "ProtoEnum",
    "Reason",
    "Ref",
    "RefusalSigns",
    "Ruled",
    "SecretText",
    "SecretView",
    "Signature",
    "Signed",
    "Signer",
    "SignerTools",
    "SigningKeys",
    "SigningRequest",
    "Source",
    "Spec",
    "State",
    "StaticSource",
    "StepKind",
    "StepScope",
    "StepTools",
    "Text",
    "Verdict",
    "WebIdentitySource",
    "canonical_path",
    "is_header_name",
    "is_header_value",
    "is_s3",
    "is_settable_name",
    "is_upstream_name",
    "parse_duration",
    "query_names",
    "sign_v4",
    "sign_v4a",
    "signable_headers",
    "source_title",
    "takes_only_unsigned",
    "takes_unsigned",
]


def test_the_sdk_offers_exactly_these_names() -> None:
    assert sdk.__all__ == PUBLIC
    assert [name for name in PUBLIC if not hasattr(sdk, name)] == []


def test_no_name_stands_twice() -> None:
    # Their order is ruff's (RUF022): constants, classes, functions.
    assert len(set(PUBLIC)) == len(PUBLIC)
