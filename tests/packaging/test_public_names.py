"""What plug-ins may rely on. A change of this list is a change of the product: it belongs in the release notes."""

from __future__ import annotations

from apostille import sdk

PUBLIC = [
    "Allow",
    "AuthRequest",
    "AuthStep",
    "CompiledStep",
    "Deny",
    "Endpoint",
    "HeaderUse",
    "Headers",
    "Key",
    "KeyRing",
    "Problem",
    "Reason",
    "Ref",
    "SecretText",
    "SecretView",
    "Spec",
    "State",
    "StepKind",
    "StepScope",
    "StepTools",
    "Verdict",
    "is_header_name",
    "is_header_value",
    "is_settable_name",
    "is_upstream_name",
    "parse_duration",
]


def test_the_sdk_offers_exactly_these_names() -> None:
    assert sdk.__all__ == PUBLIC
    assert [name for name in PUBLIC if not hasattr(sdk, name)] == []


def test_the_names_are_sorted() -> None:
    assert sorted(PUBLIC) == PUBLIC
