"""apiKeyAuth as people write it, and what it compiles to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pydantic import Field

from apostille.sdk import (
    CompiledStep,
    EnvoyKeyCheck,
    HeaderUse,
    KeyRing,
    Problem,
    Reason,
    Spec,
    StepScope,
    is_header_name,
    is_upstream_name,
)
from apostille.steps.api_key.secret_keys import SECRET_TYPE, FoundKey, find_keys

# Key headers that HTTP, Envoy or a signature changes, takes away or joins in a way of its own.
_NOT_ENVOYS = frozenset(
    {
        *("authorization", "connection", "content-encoding", "content-length", "content-md5", "content-type", "cookie"),
        *("expect", "host", "te", "transfer-encoding", "upgrade", "via", "x-request-id"),
    }
)
_NOT_ENVOYS_PREFIXES = ("x-amz-", "x-apostille-", "x-envoy-", "x-forwarded-")

# Entries that every key has, whatever its metadata are; a Secret has no key that could be named.
CONSUMER_ENTRY = "apostille.dev/consumer"
KEY_ENTRY = "apostille.dev/key"

AUTHORIZATION = "authorization"
COOKIE = "cookie"


class MetadataEntry(Spec):
    name: str
    required: bool = False


class SecretRef(Spec):
    name: str
    namespace: str | None = None


class SecretStorage(Spec):
    label_selector: dict[str, str] = Field(default_factory=dict)
    api_key_secret_refs: list[SecretRef] = Field(default_factory=list)


class KeyStore(Spec):
    """Ours. Keys of the gateway's own store; with a selector those alone that carry all of its labels."""

    misspelling_widens = True

    label_selector: dict[str, str] = Field(default_factory=dict)


class KeySources(Spec):
    """Ours. Where besides the header a key may stand. `bearer` of None: where keys of the store are asked for."""

    misspelling_widens = True

    bearer: bool | None = None
    query_parameter: str | None = None
    cookie: str | None = None


class ApiKeySpec(Spec):
    """Reference 9.2. The fields of `label_selector`, `api_key_secret_refs` and `headers_from_metadata` are the
    deprecated spelling of what stands above them. With no storage at all the keys are those of the key store, so a
    misspelt storage would let all of them in."""

    misspelling_widens = True

    header_name: str = "api-key"
    headers_from_metadata_entry: dict[str, MetadataEntry] = Field(default_factory=dict)
    # Spelled out: the general rule makes k8SSecretApikeyStorage of it.
    k8s_secret_apikey_storage: SecretStorage | None = Field(default=None, alias="k8sSecretApikeyStorage")
    key_store: KeyStore | None = None
    key_sources: KeySources = Field(default_factory=KeySources)
    label_selector: dict[str, str] = Field(default_factory=dict)
    api_key_secret_refs: list[SecretRef] = Field(default_factory=list)
    headers_from_metadata: dict[str, MetadataEntry] = Field(default_factory=dict)
    # Accepted without effect: an entry that is no legal header value can never be sent.
    skip_metadata_validation: bool = False
    aerospike_apikey_storage: dict[str, object] | None = None
    hmac: dict[str, object] | None = None
    digest: dict[str, object] | None = None
    match: dict[str, object] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataHeader:
    """`header` as the author spells it: later steps find its value in the state under this very name."""

    header: str
    entry: str
    required: bool = False


class Bearer(StrEnum):
    """Which bearer tokens are keys. OURS: those in the form of the store's keys; others are somebody else's."""

    NONE = "none"
    OURS = "ours"
    ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKeyUse:
    """Keys of the store, with all of `labels`."""

    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyConfig:
    """`header` is in lower case. `ring` is the id of the key ring, None where no Secrets are asked for; `stored`: what
    of the key store is asked for."""

    header: str
    ring: str | None = None
    stored: StoredKeyUse | None = None
    metadata: tuple[MetadataHeader, ...] = field(default=())
    bearer: Bearer = Bearer.NONE
    query: str | None = None
    cookie: str | None = None


def compile_api_key(spec: ApiKeySpec, scope: StepScope) -> CompiledStep | list[Problem]:
    metadata = {**spec.headers_from_metadata, **spec.headers_from_metadata_entry}
    problems = [*_not_built(spec), *_header_problems(spec), *_source_problems(spec)]
    if problems:
        return problems
    stored = _stored(spec)
    keys = _find_keys(spec, tuple(metadata.values()), scope)
    config = ApiKeyConfig(
        header=spec.header_name.lower(),
        ring=None if keys is None else scope.id,
        stored=stored,
        metadata=tuple(
            MetadataHeader(header=name, entry=metadata[name].name, required=metadata[name].required)
            for name in sorted(metadata)
        ),
        bearer=_bearer(spec.key_sources.bearer, stored),
        query=spec.key_sources.query_parameter,
        cookie=spec.key_sources.cookie,
    )
    shown_in = (
        config.header,
        *([AUTHORIZATION] if config.bearer is not Bearer.NONE else ()),
        *([COOKIE] if config.cookie is not None else ()),
    )
    return CompiledStep(
        config=config,
        headers=HeaderUse(
            reads=tuple(dict.fromkeys(shown_in)),
            credentials=tuple(name for name in dict.fromkeys(shown_in) if name != COOKIE or config.header == COOKIE),
            # The other cookies of the client are put back.
            writes=(*sorted(name.lower() for name in metadata), *([COOKIE] if config.cookie is not None else ())),
            query=config.query is not None,
        ),
        keyrings=() if keys is None else (KeyRing(id=scope.id, keys=tuple(found.key for found in keys)),),
        native=_compile_native(config, keys, scope.id),
        asks_place=stored is not None or any(found.is_narrow for found in keys or ()),
        asks_store=stored is not None,
    )


def _stored(spec: ApiKeySpec) -> StoredKeyUse | None:
    if spec.key_store is None and _names_secrets(spec):
        return None
    labels = spec.key_store.label_selector if spec.key_store is not None else {}
    return StoredKeyUse(labels=tuple(sorted(labels.items())))


def _bearer(written: bool | None, stored: StoredKeyUse | None) -> Bearer:
    if written is None:
        return Bearer.NONE if stored is None else Bearer.OURS
    return Bearer.ALL if written else Bearer.NONE


def _compile_native(config: ApiKeyConfig, keys: tuple[FoundKey, ...] | None, ring: str) -> EnvoyKeyCheck | str:
    if config.stored is not None or keys is None:
        return "keys of the key store are known by their digests, and Envoy's filter compares keys in clear"
    if config.metadata:
        return "`headersFromMetadataEntry`: Envoy would show the entries in its dumps"
    if config.bearer is not Bearer.NONE or config.query is not None or config.cookie is not None:
        return "`keySources`: Envoy's filter takes the first key that it finds, and never says that there are two"
    if config.header in _NOT_ENVOYS or config.header.startswith(_NOT_ENVOYS_PREFIXES):
        return f"Envoy, or a signature, has a use of its own for the header {config.header}"
    limited = next((found for found in keys if found.key.expires is not None or found.is_narrow), None)
    if limited is not None:
        return f"the key of Secret {limited.secret.short} expires or has scopes, and Envoy's filter knows neither"
    return EnvoyKeyCheck(ring=ring, header=config.header, keys=tuple(found.envoy_key for found in keys))


def _names_secrets(spec: ApiKeySpec) -> bool:
    return spec.k8s_secret_apikey_storage is not None or any(_storage(spec))


def _storage(spec: ApiKeySpec) -> tuple[Mapping[str, str], list[SecretRef]]:
    """A storage block replaces the deprecated fields as a whole."""
    block = spec.k8s_secret_apikey_storage
    if block is not None:
        return block.label_selector, block.api_key_secret_refs
    return spec.label_selector, spec.api_key_secret_refs


def _find_keys(spec: ApiKeySpec, entries: tuple[MetadataEntry, ...], scope: StepScope) -> tuple[FoundKey, ...] | None:
    """None where no Secrets are asked for."""
    if not _names_secrets(spec):
        return None
    labels, refs = _storage(spec)
    return find_keys(
        labels,
        [(ref.namespace or scope.namespace, ref.name) for ref in refs],
        {entry.name: entry.required for entry in entries if entry.name not in (CONSUMER_ENTRY, KEY_ENTRY)},
        scope,
    )


def _not_built(spec: ApiKeySpec) -> Iterator[Problem]:
    for name, value in (
        ("aerospikeApikeyStorage", spec.aerospike_apikey_storage),
        ("hmac", spec.hmac),
        ("digest", spec.digest),
        ("match", spec.match),
    ):
        if value is not None:
            yield Problem(
                at=(name,),
                reason=Reason.NOT_BUILT,
                message=f"{name} is not built; keep the keys in the gateway's own key store (leave every storage out), "
                f"or in Secrets of type {SECRET_TYPE}, in plain, and name them in k8sSecretApikeyStorage",
            )
    if spec.k8s_secret_apikey_storage is not None and not any(_storage(spec)):
        yield Problem(
            at=("k8sSecretApikeyStorage",),
            reason=Reason.MISSING_FIELD,
            message="it selects nothing; write a labelSelector with at least one label, or apiKeySecretRefs",
        )


def _header_problems(spec: ApiKeySpec) -> Iterator[Problem]:
    if not is_header_name(spec.header_name):
        yield Problem(
            at=("headerName",),
            reason=Reason.INVALID_VALUE,
            message=f"{spec.header_name!r} is no header name; write a name such as api-key",
        )
    seen: dict[str, str] = {}
    for where, headers in (
        ("headersFromMetadataEntry", spec.headers_from_metadata_entry),
        ("headersFromMetadata", spec.headers_from_metadata),
    ):
        for name in headers:
            if not is_upstream_name(name):
                yield Problem(
                    at=(where, name),
                    reason=Reason.INVALID_VALUE,
                    message=f"{name!r} cannot be set on the upstream request; write another header name, such as "
                    "x-user-email",
                )
            if seen.setdefault(name.lower(), name) != name:
                yield Problem(
                    at=(where, name),
                    reason=Reason.CONFLICT,
                    message=f"{name!r} and {seen[name.lower()]!r} are the same header; keep one of them",
                )


def _source_problems(spec: ApiKeySpec) -> Iterator[Problem]:
    sources = spec.key_sources
    for name, value, example in (
        ("queryParameter", sources.query_parameter, "api_key"),
        ("cookie", sources.cookie, "api_key"),
    ):
        # A token needs no escape, neither in a query nor in a cookie.
        if value is not None and not is_header_name(value):
            yield Problem(
                at=("keySources", name),
                reason=Reason.INVALID_VALUE,
                message=f"{value!r} cannot be the name of a {name}; write a name such as {example}",
            )
    if sources.cookie is not None and spec.header_name.lower() == COOKIE:
        yield Problem(
            at=("keySources", "cookie"),
            reason=Reason.CONFLICT,
            message="headerName is the header of all cookies; leave one of the two out",
        )
