from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import pytest

from apostille.auth.keyrings import KeyRingStore
from apostille.base.clock import SystemClock
from apostille.sdk import (
    Allow,
    AuthRequest,
    AuthStep,
    CompiledStep,
    Deny,
    HeaderUse,
    KeyRing,
    Problem,
    Reason,
    Ref,
    SecretText,
    SecretView,
    StepTools,
)
from apostille.steps.api_key import KIND
from apostille.steps.api_key.secret_keys import SECRET_TYPE
from apostille.steps.api_key.spec import ApiKeyConfig, ApiKeySpec, MetadataHeader

# The fixture class stands in conftest.py, which cannot be imported.
Scope = Any

BY_LABEL = {"k8sSecretApikeyStorage": {"labelSelector": {"keys": "s3"}}}
USER = {"headersFromMetadataEntry": {"X-User-Email": {"name": "user-email"}}}
USER_REQUIRED = {"headersFromMetadataEntry": {"x-user-email": {"name": "user-email", "required": True}}}
REFUSED = Deny(
    status=401,
    reason="api_key_missing_or_invalid",
    headers=(("www-authenticate", "API key is missing or invalid"),),
)


def secret(name: str, key: str | None, *, secret_type: str = SECRET_TYPE, **entries: str) -> SecretView:
    data = {entry.replace("_", "-"): SecretText(value) for entry, value in entries.items()}
    if key is not None:
        data["api-key"] = SecretText(key)
    return SecretView(ref=Ref("Secret", "gateway", name), type=secret_type, data=data)


def compiled(scope: Scope, spec: Mapping[str, object]) -> CompiledStep:
    result = KIND.compile(ApiKeySpec.model_validate(spec), scope)
    assert isinstance(result, CompiledStep), result
    return result


def problems(scope: Scope, spec: Mapping[str, object]) -> list[Problem]:
    result = KIND.compile(ApiKeySpec.model_validate(spec), scope)
    assert isinstance(result, list), result
    return result


def ring_of(scope: Scope, spec: Mapping[str, object] = BY_LABEL) -> KeyRing:
    (ring,) = compiled(scope, spec).keyrings
    return ring


def consumers(ring: KeyRing) -> set[str]:
    return {key.consumer for key in ring.keys}


class TestCompile:
    def test_a_policy_becomes_a_config_and_a_ring_of_digests(self, scope: Scope) -> None:
        scope.labelled = [secret("alice", "key-1", user_email="a@example.com", unasked="x")]
        step = compiled(scope, {**BY_LABEL, **USER})
        assert step.config == ApiKeyConfig(
            header="api-key",
            ring="gateway/policy/step",
            metadata=(MetadataHeader(header="X-User-Email", entry="user-email"),),
        )
        assert step.headers == HeaderUse(reads=("api-key",), credentials=("api-key",), writes=("x-user-email",))
        (key,) = step.keyrings[0].keys
        assert key.digest == hashlib.sha256(b"key-1").hexdigest()
        assert key.consumer == "alice"
        assert key.metadata == {"user-email": SecretText("a@example.com")}
        assert scope.warnings == []

    def test_a_reference_selects_too_and_each_secret_counts_once(self, scope: Scope) -> None:
        scope.labelled = [secret("alice", "key-1")]
        scope.others = [secret("bob", "key-2")]
        storage = {
            "labelSelector": {"keys": "s3"},
            "apiKeySecretRefs": [{"name": "bob"}, {"name": "alice", "namespace": "gateway"}],
        }
        assert consumers(ring_of(scope, {"k8sSecretApikeyStorage": storage})) == {"alice", "bob"}
        assert scope.warnings == []

    def test_a_reference_to_nothing_is_said_and_harms_no_other_key(self, scope: Scope) -> None:
        scope.labelled = [secret("alice", "key-1")]
        spec = {"labelSelector": {"keys": "s3"}, "apiKeySecretRefs": [{"name": "gone"}]}
        assert consumers(ring_of(scope, spec)) == {"alice"}
        ((ref, problem),) = scope.warnings
        assert ref == Ref("Secret", "gateway", "gone")
        assert problem.reason == Reason.REFERENCE_NOT_FOUND

    def test_the_deprecated_fields_select_as_well(self, scope: Scope) -> None:
        scope.labelled = [secret("alice", "key-1", user_email="a")]
        step = compiled(scope, {"labelSelector": {"a": "b"}, "headersFromMetadata": {"x-mail": {"name": "user-email"}}})
        assert consumers(step.keyrings[0]) == {"alice"}
        assert step.headers.writes == ("x-mail",)

    def test_a_storage_block_replaces_the_deprecated_fields(self, scope: Scope) -> None:
        scope.labelled = [secret("alice", "key-1")]
        scope.others = [secret("bob", "key-2")]
        spec = {
            "labelSelector": {"keys": "s3"},
            "k8sSecretApikeyStorage": {"apiKeySecretRefs": [{"name": "bob"}]},
        }
        assert consumers(ring_of(scope, spec)) == {"bob"}

    @pytest.mark.parametrize(
        ("view", "told"),
        [
            (secret("bad", "canary", secret_type="Opaque"), "its type must be extauth.solo.io/apikey"),
            (secret("bad", None), "no api-key entry"),
            (secret("bad", ""), "no api-key entry"),
            (secret("bad", "canary\n"), "mind the line feed"),
            (secret("bad", " canary"), "a space"),
            (secret("bad", "cañary"), "beyond ASCII"),
            (secret("bad", "canary", user_email="canary\nx: y"), "no legal header value"),
        ],
    )
    def test_an_unusable_secret_is_left_out_with_a_warning_of_its_own(
        self, scope: Scope, view: SecretView, told: str
    ) -> None:
        scope.labelled = [view, secret("good", "key-1", user_email="a")]
        assert consumers(ring_of(scope, {**BY_LABEL, **USER})) == {"good"}
        ((ref, problem),) = scope.warnings
        assert ref == view.ref
        assert problem.reason == Reason.SECRET_UNUSABLE
        assert told in problem.message
        assert "canary" not in problem.message

    def test_a_missing_entry_is_no_header_and_a_required_one_refuses_the_key(self, scope: Scope) -> None:
        scope.labelled = [secret("alice", "key-1")]
        assert consumers(ring_of(scope, {**BY_LABEL, **USER})) == {"alice"}
        assert scope.warnings == []
        assert consumers(ring_of(scope, {**BY_LABEL, **USER_REQUIRED})) == set()
        assert "requires its entry 'user-email'" in scope.warnings[0][1].message

    def test_of_two_secrets_with_one_key_the_older_counts(self, scope: Scope) -> None:
        scope.labelled = [secret("old", "key-1"), secret("young", "key-1")]
        assert consumers(ring_of(scope)) == {"old"}
        ((ref, problem),) = scope.warnings
        assert ref.name == "young"
        assert problem.reason == Reason.CONFLICT
        assert "Secret/gateway/old" in problem.message

    def test_the_order_of_the_secrets_does_not_change_the_ring(self, scope: Scope) -> None:
        scope.labelled = [secret("alice", "key-1"), secret("bob", "key-2")]
        first = ring_of(scope)
        scope.labelled.reverse()
        assert ring_of(scope) == first

    @pytest.mark.parametrize(
        ("spec", "at", "reason"),
        [
            ({"k8sSecretApikeyStorage": {}}, ("k8sSecretApikeyStorage",), Reason.MISSING_FIELD),
            ({"aerospikeApikeyStorage": {"hostname": "h"}}, ("aerospikeApikeyStorage",), Reason.NOT_BUILT),
            ({**BY_LABEL, "digest": {"algorithm": "SHA256"}}, ("digest",), Reason.NOT_BUILT),
            ({**BY_LABEL, "hmac": {}}, ("hmac",), Reason.NOT_BUILT),
            ({**BY_LABEL, "match": {}}, ("match",), Reason.NOT_BUILT),
            ({**BY_LABEL, "headerName": "api key"}, ("headerName",), Reason.INVALID_VALUE),
            ({**BY_LABEL, "headerName": ":path"}, ("headerName",), Reason.INVALID_VALUE),
            ({**BY_LABEL, "headerName": ""}, ("headerName",), Reason.INVALID_VALUE),
            ({"keySources": {"queryParameter": "a b"}}, ("keySources", "queryParameter"), Reason.INVALID_VALUE),
            ({"keySources": {"cookie": ""}}, ("keySources", "cookie"), Reason.INVALID_VALUE),
            ({"headerName": "Cookie", "keySources": {"cookie": "k"}}, ("keySources", "cookie"), Reason.CONFLICT),
            (
                {**BY_LABEL, "headersFromMetadataEntry": {"host": {"name": "a"}}},
                ("headersFromMetadataEntry", "host"),
                Reason.INVALID_VALUE,
            ),
            (
                {**BY_LABEL, "headersFromMetadataEntry": {"x-a": {"name": "a"}, "X-A": {"name": "b"}}},
                ("headersFromMetadataEntry", "X-A"),
                Reason.CONFLICT,
            ),
        ],
    )
    def test_a_policy_that_cannot_be_kept_shuts_the_door(
        self, scope: Scope, spec: dict[str, object], at: tuple[str, ...], reason: Reason
    ) -> None:
        (problem,) = problems(scope, spec)
        assert (problem.at, problem.reason) == (at, reason)


@pytest.fixture
async def tools() -> AsyncIterator[StepTools]:
    async with aiohttp.ClientSession() as http:
        yield StepTools(clock=SystemClock(), keyrings=KeyRingStore(), http=http)


def start(scope: Scope, tools: StepTools, spec: Mapping[str, object]) -> AuthStep:
    step = compiled(scope, spec)
    assert isinstance(tools.keyrings, KeyRingStore)
    for ring in step.keyrings:
        tools.keyrings.put(ring)
    return KIND.start(step.config, tools)


def asking(**headers: str) -> AuthRequest:
    return AuthRequest(
        method="GET",
        path="/",
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        state={"earlier": 1},
    )


class TestCheck:
    async def test_the_right_key_allows_and_brings_its_metadata(self, scope: Scope, tools: StepTools) -> None:
        scope.labelled = [secret("alice", "key-1", user_email="a@example.com")]
        step = start(scope, tools, {**BY_LABEL, **USER})
        assert await step.check(asking(api_key="key-1")) == Allow(
            set_headers=(("X-User-Email", "a@example.com"),),
            state={"earlier": 1, "api_key_value": "key-1", "X-User-Email": "a@example.com"},
            consumer="alice",
        )

    @pytest.mark.parametrize(
        "shown", ["wrong", "", "KEY-1", "key-1,", "key-", " key-1", hashlib.sha256(b"key-1").hexdigest()]
    )
    async def test_any_other_key_gets_the_answer_of_a_missing_one(
        self, scope: Scope, tools: StepTools, shown: str
    ) -> None:
        scope.labelled = [secret("alice", "key-1")]
        step = start(scope, tools, BY_LABEL)
        assert await step.check(asking()) == REFUSED
        assert await step.check(asking(api_key=shown)) == REFUSED

    async def test_the_key_is_looked_for_in_the_named_header_only(self, scope: Scope, tools: StepTools) -> None:
        scope.labelled = [secret("alice", "key-1")]
        step = start(scope, tools, {**BY_LABEL, "headerName": "X-Token"})
        assert isinstance(await step.check(asking(x_token="key-1")), Allow)
        assert await step.check(asking(api_key="key-1")) == REFUSED

    async def test_without_its_ring_the_step_is_broken_and_blames_no_caller(
        self, scope: Scope, tools: StepTools
    ) -> None:
        step = KIND.start(compiled(scope, BY_LABEL).config, tools)
        with pytest.raises(LookupError):
            await step.check(asking(api_key="key-1"))

    async def test_neither_a_verdict_nor_a_ring_shows_a_key(self, scope: Scope, tools: StepTools) -> None:
        scope.labelled = [secret("alice", "canary", user_email="canary")]
        step = start(scope, tools, {**BY_LABEL, **USER})
        verdict = await step.check(asking(api_key="canary"))
        assert isinstance(verdict, Allow)
        assert "canary" not in repr((step, verdict, compiled(scope, {**BY_LABEL, **USER})))
