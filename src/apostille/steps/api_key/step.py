"""apiKeyAuth: the caller shows a key that stands in a Secret or in the gateway's key store.

Keys of Secrets travel as digests in a key ring beside the program: a new key changes no program and no route.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from apostille.sdk import (
    CHALLENGE,
    KEY_REFUSED,
    NOTHING,
    Allow,
    Asked,
    AuthRequest,
    Deny,
    Dimension,
    Key,
    Refusal,
    StepKind,
    StepTools,
    Verdict,
    Why,
    first_miss,
)
from apostille.steps.api_key.places import Shown, find_shown
from apostille.steps.api_key.spec import CONSUMER_ENTRY, COOKIE, KEY_ENTRY, ApiKeyConfig, ApiKeySpec, compile_api_key

SEVERAL_KEYS = "several_keys"
KEY_LIMITED = "key_limited"
STORE_UNAVAILABLE = "store_unavailable"
NO_STORE = "no key store is configured"

_NOT_FOR = {
    Dimension.METHOD: Deny(status=403, reason="key_not_for_method"),
    Dimension.HOST: Deny(status=403, reason="key_not_for_host"),
    Dimension.PATH: Deny(status=403, reason="key_not_for_path"),
    Dimension.ROUTE: Deny(status=403, reason="key_not_for_route"),
    Dimension.DESTINATION: Deny(status=403, reason="key_not_for_destination"),
}

_CHALLENGE = (("www-authenticate", CHALLENGE),)
_REFUSAL = Deny(status=401, reason=KEY_REFUSED, headers=_CHALLENGE)
_SEVERAL = Deny(status=400, reason=SEVERAL_KEYS)


class _Caller(NamedTuple):
    """Who a key stands for, wherever the key is kept. `entries`: what its headers can say."""

    consumer: str
    key: str | None
    entries: Mapping[str, str]
    metadata: Mapping[str, str]


class ApiKeyStep:
    """A missing key, an empty one and an unknown one get the same answer by the same path."""

    __slots__ = ("_clock", "_config", "_find", "_is_plain", "_labels", "_stored")

    def __init__(self, config: ApiKeyConfig, tools: StepTools) -> None:
        self._config, self._clock = config, tools.clock
        self._find, self._stored = tools.keyrings.find, tools.stored
        self._labels = dict(config.stored.labels) if config.stored is not None else {}
        if config.stored is not None and self._stored is not None:
            self._stored.prepare()
        self._is_plain = not config.metadata and config.query is None and config.cookie is None

    async def check(self, request: AuthRequest, /) -> Verdict:
        found = find_shown(request, self._config)
        shown = self._one_of(found)
        if shown is None:
            return _SEVERAL
        caller: _Caller | Deny = _REFUSAL
        if self._config.ring is not None:
            # Looked up even when nothing was shown, so that the time does not tell the cases apart.
            key = self._find(self._config.ring, shown)
            caller = self._judged(key, request) if key is not None and shown else _REFUSAL
        if caller is _REFUSAL and self._config.stored is not None:
            caller = await self._ask_store(shown, request)
        if isinstance(caller, Deny):
            return caller
        state = {**request.state, "api_key_value": shown}
        if self._is_plain:
            return Allow(state=state, consumer=caller.consumer, key=caller.key, metadata=caller.metadata)
        if any(each.required and each.entry not in caller.entries for each in self._config.metadata):
            return _refused_without_entry(caller)
        headers = {
            each.header: caller.entries[each.entry] for each in self._config.metadata if each.entry in caller.entries
        }
        cookies = ((COOKIE, found.cookies),) if found.cookies else ()
        return Allow(
            set_headers=(*headers.items(), *cookies),
            state=state | headers,
            query=found.query,
            consumer=caller.consumer,
            key=caller.key,
            metadata=caller.metadata,
        )

    def _one_of(self, found: Shown) -> str | None:
        """The key, empty where there is none; None where there are several."""
        ring = self._config.ring
        if ring is not None and found.joined is not None and self._find(ring, found.joined) is not None:
            return found.joined
        if not found.keys:
            return ""
        return found.keys[0] if len(found.keys) == 1 else None

    def _judged(self, key: Key, request: AuthRequest) -> _Caller | Deny:
        """A key of a Secret that was found."""
        if key.expires is not None and self._clock.now().timestamp() >= key.expires:
            return Deny(status=401, reason=KEY_REFUSED, headers=_CHALLENGE, cause="expired", consumer=key.consumer)
        if key.scopes.are_narrow:
            miss = first_miss(key.scopes, _asked(request))
            if miss is not None:
                return _not_for(miss, key.consumer, None)
        # The metadata of a Secret are for the headers that its policy names, and for nothing else.
        entries = NOTHING
        if self._config.metadata:
            entries = {name: value.reveal() for name, value in key.metadata.items()} | {CONSUMER_ENTRY: key.consumer}
        return _Caller(key.consumer, None, entries, NOTHING)

    async def _ask_store(self, shown: str, request: AuthRequest) -> _Caller | Deny:
        if self._stored is None:
            return Deny(status=503, reason=STORE_UNAVAILABLE, broken=True, cause=NO_STORE)
        answer = await self._stored.open(shown, _asked(request), self._labels)
        if isinstance(answer, Refusal):
            return _refused(answer)
        entries = {**answer.metadata, CONSUMER_ENTRY: answer.consumer, KEY_ENTRY: answer.key}
        return _Caller(answer.consumer, answer.key, entries, answer.metadata)


KIND = StepKind(
    name="apiKeyAuth",
    spec=ApiKeySpec,
    config=ApiKeyConfig,
    compile_step=compile_api_key,
    start_step=ApiKeyStep,
)


def _asked(request: AuthRequest) -> Asked:
    return Asked(
        method=request.method,
        host=request.host,
        path=request.path.partition("?")[0],
        labels=request.place.labels,
        destinations=request.place.destinations,
    )


def _refused(refusal: Refusal) -> Deny:
    if refusal.dimension is not None:
        return _not_for(refusal.dimension, refusal.consumer, refusal.key)
    match refusal.why:
        case Why.LIMITED:
            return Deny(
                status=429,
                reason=KEY_LIMITED,
                headers=refusal.headers,
                consumer=refusal.consumer,
                key=refusal.key,
            )
        case Why.UNAVAILABLE:
            return Deny(status=503, reason=STORE_UNAVAILABLE, broken=True, cause=refusal.cause)
        case _:
            return Deny(
                status=401,
                reason=KEY_REFUSED,
                headers=_CHALLENGE,
                cause=refusal.cause,
                consumer=refusal.consumer,
                key=refusal.key,
            )


def _refused_without_entry(caller: _Caller) -> Deny:
    cause = "without an entry that the policy requires"
    return _refused(Refusal(why=Why.UNKNOWN, cause=cause, consumer=caller.consumer, key=caller.key))


def _not_for(dimension: Dimension, consumer: str | None, key: str | None) -> Deny:
    return replace(_NOT_FOR[dimension], consumer=consumer, key=key)
