"""apiKeyAuth with keys of the store, keys in other places than the header, and keys with an end or scopes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apostille.auth.keyrings import KeyRingStore
from apostille.model.auth import Place
from apostille.sdk import (
    Allow,
    Asked,
    AuthRequest,
    AuthStep,
    CompiledStep,
    Deny,
    Dimension,
    Holder,
    Reason,
    Ref,
    Refusal,
    Scopes,
    SecretText,
    SecretView,
    StepTools,
    Why,
)
from apostille.steps.api_key import KIND
from apostille.steps.api_key.places import find_shown
from apostille.steps.api_key.secret_keys import SECRET_TYPE, parse_scopes
from apostille.steps.api_key.spec import ApiKeyConfig, ApiKeySpec, Bearer
from tests.unit.credentials.stand_ins import START, FakeClock

# The fixture class stands in conftest.py, which cannot be imported.
Scope = Any

KEY = "apo_live_canary"
OTHER = "apo_live_other"
BY_LABEL = {"k8sSecretApikeyStorage": {"labelSelector": {"keys": "s3"}}}
ALICE = Holder(consumer="alice", key="apo_live_id", metadata={"email": "a@example.com"})
UNKNOWN = Refusal(why=Why.UNKNOWN, cause="wrong secret")


@dataclass
class Store:
    """Answers with what stands under the key that was shown."""

    answers: dict[str, Holder | Refusal] = field(default_factory=lambda: {KEY: ALICE})
    asked: list[tuple[str, Asked, Mapping[str, str]]] = field(default_factory=list)

    prepared: int = 0

    def prepare(self) -> None:
        self.prepared += 1

    async def open(self, shown: str, asked: Asked, labels: Mapping[str, str], /) -> Holder | Refusal:
        self.asked.append((shown, asked, labels))
        return self.answers.get(shown, UNKNOWN)


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def tools(store: Store, clock: FakeClock) -> AsyncIterator[StepTools]:
    async with aiohttp.ClientSession() as http:
        yield StepTools(clock=clock, keyrings=KeyRingStore(), http=http, stored=store)


def compiled(scope: Scope, spec: Mapping[str, object]) -> CompiledStep:
    result = KIND.compile(ApiKeySpec.model_validate(spec), scope)
    assert isinstance(result, CompiledStep), result
    return result


def start(scope: Scope, tools: StepTools, spec: Mapping[str, object]) -> AuthStep:
    step = compiled(scope, spec)
    for ring in step.keyrings:
        tools.keyrings.put(ring)  # type: ignore[attr-defined]  # the real store, behind what steps see of it
    return KIND.start(step.config, tools)


def asking(path: str = "/orders/7", method: str = "GET", **headers: str) -> AuthRequest:
    return AuthRequest(
        method=method,
        host="api.example.com",
        place=Place(labels={"team": "a"}, destinations=("apps/shop",)),
        path=path,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


def secret(name: str, key: str, **entries: str) -> SecretView:
    data = {"api-key": SecretText(key), **{entry: SecretText(value) for entry, value in entries.items()}}
    return SecretView(ref=Ref("Secret", "gateway", name), type=SECRET_TYPE, data=data)


async def refused(step: AuthStep, request: AuthRequest) -> Deny:
    verdict = await step.check(request)
    assert isinstance(verdict, Deny), verdict
    return verdict


async def allowed(step: AuthStep, request: AuthRequest) -> Allow:
    verdict = await step.check(request)
    assert isinstance(verdict, Allow), verdict
    return verdict


class TestStorage:
    async def test_without_a_storage_the_store_is_asked(self, scope: Scope, tools: StepTools, store: Store) -> None:
        step = start(scope, tools, {})
        assert await allowed(step, asking(api_key=KEY)) == Allow(
            state={"api_key_value": KEY},
            consumer="alice",
            key="apo_live_id",
            metadata={"email": "a@example.com"},
        )
        ((shown, asked, labels),) = store.asked
        assert (shown, labels) == (KEY, {})
        assert asked == Asked(
            method="GET",
            host="api.example.com",
            path="/orders/7",
            labels={"team": "a"},
            destinations=("apps/shop",),
        )

    def test_the_store_is_prepared_by_those_who_will_ask(self, scope: Scope, tools: StepTools, store: Store) -> None:
        start(scope, tools, BY_LABEL)
        assert store.prepared == 0
        start(scope, tools, {})
        assert store.prepared == 1

    async def test_labels_go_along(self, scope: Scope, tools: StepTools, store: Store) -> None:
        step = start(scope, tools, {"keyStore": {"labelSelector": {"team": "a"}}})
        await step.check(asking(api_key=KEY))
        assert store.asked[0][2] == {"team": "a"}

    async def test_secrets_and_store_feed_one_policy(self, scope: Scope, tools: StepTools, store: Store) -> None:
        scope.labelled = [secret("bob", "key-1")]
        step = start(scope, tools, {**BY_LABEL, "keyStore": {}})
        assert (await allowed(step, asking(api_key="key-1"))).consumer == "bob"
        assert store.asked == []
        assert (await allowed(step, asking(api_key=KEY))).consumer == "alice"

    async def test_secrets_alone_leave_the_store_alone(self, scope: Scope, tools: StepTools, store: Store) -> None:
        for spec in (BY_LABEL, {"labelSelector": {"keys": "s3"}}, {"apiKeySecretRefs": [{"name": "alice"}]}):
            assert (await refused(start(scope, tools, spec), asking(api_key=KEY))).status == 401
        assert store.asked == []

    async def test_metadata_becomes_headers_and_required_ones_must_be_there(
        self, scope: Scope, tools: StepTools
    ) -> None:
        spec = {"headersFromMetadataEntry": {"X-Email": {"name": "email"}, "x-team": {"name": "team"}}}
        verdict = await allowed(start(scope, tools, spec), asking(api_key=KEY))
        assert verdict.set_headers == (("X-Email", "a@example.com"),)
        assert verdict.state == {"api_key_value": KEY, "X-Email": "a@example.com"}
        required = {"headersFromMetadataEntry": {"x-team": {"name": "team", "required": True}}}
        denial = await refused(start(scope, tools, required), asking(api_key=KEY))
        assert (denial.status, denial.key) == (401, "apo_live_id")

    async def test_consumer_and_key_can_be_headers_too(self, scope: Scope, tools: StepTools) -> None:
        scope.labelled = [secret("bob", "key-1")]

        def named(*, key_required: bool) -> dict[str, object]:
            consumer = {"name": "apostille.dev/consumer", "required": True}
            return {"x-consumer": consumer, "x-key": {"name": "apostille.dev/key", "required": key_required}}

        names = named(key_required=False)
        step = start(scope, tools, {**BY_LABEL, "keyStore": {}, "headersFromMetadataEntry": names})
        verdict = await allowed(step, asking(api_key=KEY))
        assert verdict.set_headers == (("x-consumer", "alice"), ("x-key", "apo_live_id"))
        assert (await allowed(step, asking(api_key="key-1"))).set_headers == (("x-consumer", "bob"),)
        assert scope.warnings == []
        step = start(scope, tools, {**BY_LABEL, "headersFromMetadataEntry": named(key_required=True)})
        assert (await refused(step, asking(api_key="key-1"))).cause == "without an entry that the policy requires"

    @pytest.mark.parametrize(
        ("answer", "status", "reason"),
        [
            (UNKNOWN, 401, "api_key_missing_or_invalid"),
            (Refusal(why=Why.NOT_FOR, cause="c", dimension=Dimension.METHOD), 403, "key_not_for_method"),
            (Refusal(why=Why.LIMITED, cause="c", headers=(("retry-after", "3"),)), 429, "key_limited"),
            (Refusal(why=Why.UNAVAILABLE, cause="ConnectionError"), 503, "store_unavailable"),
        ],
    )
    async def test_each_refusal_has_its_answer(
        self, scope: Scope, tools: StepTools, store: Store, answer: Refusal, status: int, reason: str
    ) -> None:
        store.answers[KEY] = replace(answer, consumer="alice", key="apo_live_id")
        denial = await refused(start(scope, tools, {}), asking(api_key=KEY))
        assert (denial.status, denial.reason, denial.broken) == (status, reason, status == 503)
        if status != 503:
            assert (denial.consumer, denial.key) == ("alice", "apo_live_id")
        if status == 429:
            assert denial.headers == (("retry-after", "3"),)

    async def test_without_a_store_nobody_passes(self, scope: Scope, tools: StepTools) -> None:
        denial = await refused(start(scope, replace(tools, stored=None), {}), asking(api_key=KEY))
        assert (denial.status, denial.reason) == (503, "store_unavailable")

    def test_the_store_keeps_a_policy_out_of_the_envoy_lane(self, scope: Scope) -> None:
        scope.labelled = [secret("bob", "key-1")]
        for spec in ({}, {**BY_LABEL, "keyStore": {}}):
            step = compiled(scope, spec)
            assert isinstance(step.native, str)
            assert "key store" in step.native
            assert (step.asks_place, step.asks_store) == (True, True)


class TestPlaces:
    async def test_of_the_store_a_bearer_token_will_do(self, scope: Scope, tools: StepTools) -> None:
        step = start(scope, tools, {})
        for written in (f"Bearer {KEY}", f"bearer  {KEY}", f"Bearer {KEY},Bearer {KEY}"):
            assert (await allowed(step, asking(authorization=written))).consumer == "alice"
        # Somebody else's token beside the key is not ours to judge.
        assert (await allowed(step, asking(api_key=KEY, authorization="Bearer eyJ"))).consumer == "alice"
        for written in (KEY, f"Basic {KEY}", "Bearer eyJ", "Bearer"):
            assert (await refused(step, asking(authorization=written))).status == 401

    async def test_of_secrets_only_where_it_is_written(self, scope: Scope, tools: StepTools) -> None:
        scope.labelled = [secret("bob", "key-1")]
        request = asking(authorization="Bearer key-1")
        assert (await refused(start(scope, tools, BY_LABEL), request)).status == 401
        step = start(scope, tools, {**BY_LABEL, "keySources": {"bearer": True}})
        assert (await allowed(step, request)).consumer == "bob"
        assert (await refused(step, asking(api_key="key-1", authorization="Bearer eyJ"))).status == 400

    async def test_the_authorization_header_itself(self, scope: Scope, tools: StepTools) -> None:
        step = start(scope, tools, {"headerName": "Authorization"})
        for written in (KEY, f"Bearer {KEY}"):
            assert (await allowed(step, asking(authorization=written))).consumer == "alice"

    async def test_query_and_cookie_are_off_unless_written(self, scope: Scope, tools: StepTools) -> None:
        step = start(scope, tools, {})
        assert (await refused(step, asking(f"/?api_key={KEY}", cookie=f"api_key={KEY}"))).status == 401
        assert compiled(scope, {}).headers.query is False

    async def test_the_key_goes_out_of_the_query(self, scope: Scope, tools: StepTools) -> None:
        step = start(scope, tools, {"keySources": {"queryParameter": "api_key"}})
        verdict = await allowed(step, asking(f"/a?b=%41&api_key={KEY}&c&a=+"))
        assert verdict.query == "b=%41&c&a=+"
        assert (await allowed(step, asking(f"/a?%61pi_key={KEY}"))).query == ""

    async def test_the_key_goes_out_of_the_cookies(self, scope: Scope, tools: StepTools) -> None:
        spec = {"keySources": {"cookie": "k"}}
        step = start(scope, tools, spec)
        verdict = await allowed(step, asking(cookie=f'a=1; k="{KEY}"; b="x y"'))
        assert verdict.set_headers == (("cookie", 'a=1; b="x y"'),)
        assert (await allowed(step, asking(cookie=f"k={KEY}"))).set_headers == ()
        headers = compiled(scope, spec).headers
        assert "cookie" in headers.reads
        assert "cookie" in headers.writes

    @pytest.mark.parametrize(
        "request_",
        [
            asking(api_key=f"{KEY},{OTHER}"),
            asking(api_key=KEY, authorization=f"Bearer {OTHER}"),
            asking(f"/?k={OTHER}", api_key=KEY),
            asking(f"/?k={KEY}&k={OTHER}"),
            asking(api_key=KEY, cookie=f"k={OTHER}"),
        ],
    )
    async def test_two_keys_are_one_too_many(
        self, scope: Scope, tools: StepTools, store: Store, request_: AuthRequest
    ) -> None:
        step = start(scope, tools, {"keySources": {"queryParameter": "k", "cookie": "k"}})
        denial = await refused(step, request_)
        assert (denial.status, denial.reason, denial.broken) == (400, "several_keys", False)
        assert store.asked == []

    async def test_one_key_in_two_places_is_one(self, scope: Scope, tools: StepTools) -> None:
        step = start(scope, tools, {"keySources": {"queryParameter": "k", "cookie": "k"}})
        request = asking(f"/?k={KEY}", api_key=f"{KEY},{KEY}", cookie=f"k={KEY}", authorization=f"Bearer {KEY}")
        assert (await allowed(step, request)).consumer == "alice"

    async def test_a_secret_key_may_hold_a_comma(self, scope: Scope, tools: StepTools) -> None:
        scope.labelled = [secret("bob", "key,1")]
        step = start(scope, tools, BY_LABEL)
        assert (await allowed(step, asking(api_key="key,1"))).consumer == "bob"
        assert (await refused(step, asking(api_key="key,2"))).status == 400

    def test_other_places_keep_secrets_out_of_the_envoy_lane(self, scope: Scope) -> None:
        scope.labelled = [secret("bob", "key-1")]
        assert not isinstance(compiled(scope, BY_LABEL).native, str)
        for sources in ({"bearer": True}, {"queryParameter": "k"}, {"cookie": "k"}):
            assert isinstance(compiled(scope, {**BY_LABEL, "keySources": sources}).native, str)

    @given(st.text(alphabet='ak=&;%25, \x00é"', max_size=40), st.text(alphabet='ak=;, "é', max_size=40))
    def test_whatever_comes_nothing_of_the_key_stays(self, query: str, cookies: str) -> None:
        config = ApiKeyConfig(header="api-key", bearer=Bearer.ALL, query="k", cookie="k")
        found = find_shown(asking(f"/?{query}", cookie=cookies), config)
        again = find_shown(asking(f"/?{found.query}", cookie=found.cookies or ""), config)
        assert again.keys == ()
        assert (again.query, again.cookies) == (found.query, found.cookies)


class TestTerms:
    async def test_a_key_ends_to_the_second(self, scope: Scope, tools: StepTools, clock: FakeClock) -> None:
        end = datetime.fromtimestamp(START.timestamp() + 60, UTC)
        scope.labelled = [secret("alice", "key-1", expires=end.isoformat())]
        step = start(scope, tools, BY_LABEL)
        assert (await allowed(step, asking(api_key="key-1"))).consumer == "alice"
        clock.advance(59.9)
        assert (await allowed(step, asking(api_key="key-1"))).consumer == "alice"
        clock.advance(0.2)
        denial = await refused(step, asking(api_key="key-1"))
        assert (denial.status, denial.cause, denial.consumer) == (401, "expired", "alice")

    async def test_a_key_is_good_for_its_scopes_only(self, scope: Scope, tools: StepTools) -> None:
        scope.labelled = [secret("alice", "key-1", scopes='{"methods": ["GET"], "pathPrefixes": ["/orders"]}')]
        step = start(scope, tools, BY_LABEL)
        assert (await allowed(step, asking(api_key="key-1"))).consumer == "alice"
        denial = await refused(step, asking(method="POST", api_key="key-1"))
        assert (denial.status, denial.reason, denial.consumer) == (403, "key_not_for_method", "alice")
        assert (await refused(step, asking("/other?/orders", api_key="key-1"))).reason == "key_not_for_path"

    def test_such_keys_stay_out_of_the_envoy_lane(self, scope: Scope) -> None:
        for entries in ({"expires": "2030-01-01T00:00:00Z"}, {"scopes": '{"methods": ["GET"]}'}):
            scope.labelled = [secret("alice", "key-1", **entries)]
            step = compiled(scope, BY_LABEL)
            assert isinstance(step.native, str)
            assert "gateway/alice" in step.native
            assert step.asks_place is ("scopes" in entries)

    @pytest.mark.parametrize(
        "entries",
        [
            {"expires": "tomorrow"},
            {"expires": ""},
            {"expires": "2030-01-01"},
            {"expires": "2030-01-01T00:00:00"},
            {"scopes": ""},
            {"scopes": "GET"},
            {"scopes": "[]"},
            {"scopes": '{"method": ["GET"]}'},
            {"scopes": '{"methods": []}'},
            {"scopes": '{"methods": "GET"}'},
            {"scopes": '{"methods": ["get"]}'},
            {"scopes": '{"pathPrefixes": ["orders"]}'},
            {"scopes": '{"routeLabels": {"a": 1}}'},
            {"scopes": '{"destinations": ["shop"]}'},
        ],
    )
    def test_what_cannot_be_understood_makes_the_key_good_for_nothing(
        self, scope: Scope, entries: dict[str, str]
    ) -> None:
        scope.labelled = [secret("alice", "key-1", **entries), secret("bob", "key-2")]
        (ring,) = compiled(scope, BY_LABEL).keyrings
        assert [key.consumer for key in ring.keys] == ["bob"]
        ((ref, problem),) = scope.warnings
        assert ref.name == "alice"
        assert (problem.reason, problem.at) == (Reason.SECRET_UNUSABLE, ("data", next(iter(entries))))

    def test_scopes_are_written_as_in_the_admin_api(self) -> None:
        text = (
            '{"methods": ["GET"], "hosts": ["*.example.com"], "pathPrefixes": ["/a"], '
            '"routeLabels": {"team": "a"}, "destinations": ["apps/shop"]}'
        )
        assert parse_scopes(text) == Scopes(
            methods=("GET",),
            hosts=("*.example.com",),
            paths=("/a",),
            labels={"team": "a"},
            destinations=("apps/shop",),
        )
        assert parse_scopes("{}") == Scopes()
