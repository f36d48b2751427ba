"""apiKeyAuth: the caller shows a key that stands in a Secret.

The keys travel as digests in a key ring beside the program: a new key changes no program and no route.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pydantic import Field

from apostille.sdk import (
    CHALLENGE,
    KEY_REFUSED,
    Allow,
    AuthRequest,
    CompiledStep,
    Deny,
    EnvoyKey,
    EnvoyKeyCheck,
    HeaderUse,
    Key,
    KeyRing,
    Problem,
    Reason,
    Ref,
    SecretText,
    SecretView,
    Spec,
    StepKind,
    StepScope,
    StepTools,
    Verdict,
    is_header_name,
    is_header_value,
    is_upstream_name,
)

# Key headers that HTTP, Envoy or a signature changes, takes away or joins in a way of its own.
_NOT_ENVOYS = frozenset(
    {
        *("authorization", "connection", "content-encoding", "content-length", "content-md5", "content-type", "cookie"),
        *("expect", "host", "te", "transfer-encoding", "upgrade", "via", "x-request-id"),
    }
)
_NOT_ENVOYS_PREFIXES = ("x-amz-", "x-apostille-", "x-envoy-", "x-forwarded-")

SECRET_TYPE = "extauth.solo.io/apikey"  # noqa: S105 - a type of Secret, no secret
KEY_ENTRY = "api-key"


class MetadataEntry(Spec):
    name: str
    required: bool = False


class SecretRef(Spec):
    name: str
    namespace: str | None = None


class SecretStorage(Spec):
    label_selector: dict[str, str] = Field(default_factory=dict)
    api_key_secret_refs: list[SecretRef] = Field(default_factory=list)


class ApiKeySpec(Spec):
    """Reference 9.2. The fields of `label_selector`, `api_key_secret_refs` and `headers_from_metadata` are the
    deprecated spelling of what stands above them."""

    header_name: str = "api-key"
    headers_from_metadata_entry: dict[str, MetadataEntry] = Field(default_factory=dict)
    # Spelled out: the general rule makes k8SSecretApikeyStorage of it.
    k8s_secret_apikey_storage: SecretStorage | None = Field(default=None, alias="k8sSecretApikeyStorage")
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyConfig:
    """`header` is in lower case. `ring` is the id of the key ring."""

    header: str
    ring: str
    metadata: tuple[MetadataHeader, ...] = field(default=())


def compile_api_key(spec: ApiKeySpec, scope: StepScope) -> CompiledStep | list[Problem]:
    metadata = {**spec.headers_from_metadata, **spec.headers_from_metadata_entry}
    problems = [*_not_built(spec), *_header_problems(spec)]
    if problems:
        return problems
    header = spec.header_name.lower()
    keys = _keys(_selected(spec, scope), tuple(metadata.values()), scope)
    return CompiledStep(
        config=ApiKeyConfig(
            header=header,
            ring=scope.id,
            metadata=tuple(MetadataHeader(header=name, entry=metadata[name].name) for name in sorted(metadata)),
        ),
        headers=HeaderUse(
            reads=(header,), credentials=(header,), writes=tuple(sorted(name.lower() for name in metadata))
        ),
        keyrings=(KeyRing(id=scope.id, keys=tuple(key for key, _ in keys)),),
        native=_compile_native(scope.id, header, metadata, keys),
    )


def _compile_native(
    ring: str, header: str, metadata: Mapping[str, MetadataEntry], keys: tuple[tuple[Key, SecretText], ...]
) -> EnvoyKeyCheck | str:
    if metadata:
        return "`headersFromMetadataEntry`: Envoy would show the entries in its dumps"
    if header in _NOT_ENVOYS or header.startswith(_NOT_ENVOYS_PREFIXES):
        return f"Envoy, or a signature, has a use of its own for the header {header}"
    return EnvoyKeyCheck(
        ring=ring, header=header, keys=tuple(EnvoyKey(key=raw, consumer=key.consumer) for key, raw in keys)
    )


_REFUSAL = Deny(status=401, reason=KEY_REFUSED, headers=(("www-authenticate", CHALLENGE),))


class ApiKeyStep:
    """A missing key, an empty one and an unknown one get the same answer by the same path."""

    __slots__ = ("_find", "_header", "_metadata", "_ring")

    def __init__(self, config: ApiKeyConfig, tools: StepTools) -> None:
        self._header, self._ring, self._metadata = config.header, config.ring, config.metadata
        self._find = tools.keyrings.find

    async def check(self, request: AuthRequest, /) -> Verdict:
        shown = request.headers.get(self._header, "")
        # Looked up even when nothing was shown, so that the time does not tell the cases apart.
        key = self._find(self._ring, shown)
        if key is None or not shown:
            return _REFUSAL
        state = {**request.state, "api_key_value": shown}
        if not self._metadata:
            return Allow(state=state, consumer=key.consumer)
        found = {
            item.header: key.metadata[item.entry].reveal() for item in self._metadata if item.entry in key.metadata
        }
        return Allow(set_headers=tuple(found.items()), state=state | found, consumer=key.consumer)


KIND = StepKind(
    name="apiKeyAuth",
    spec=ApiKeySpec,
    config=ApiKeyConfig,
    compile_step=compile_api_key,
    start_step=ApiKeyStep,
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
                message=f"{name} is not built; keep the keys in Secrets of type {SECRET_TYPE}, in plain, and name them "
                "in k8sSecretApikeyStorage",
            )
    if spec.aerospike_apikey_storage is not None or any(_storage(spec)):
        return
    if spec.k8s_secret_apikey_storage is None:
        yield Problem(
            at=(),
            reason=Reason.NOT_BUILT,
            message="no storage is named, and a key store of the gateway's own is not built; write "
            "k8sSecretApikeyStorage with a labelSelector or apiKeySecretRefs",
        )
    else:
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


def _storage(spec: ApiKeySpec) -> tuple[Mapping[str, str], list[SecretRef]]:
    """A storage block replaces the deprecated fields as a whole."""
    block = spec.k8s_secret_apikey_storage
    if block is not None:
        return block.label_selector, block.api_key_secret_refs
    return spec.label_selector, spec.api_key_secret_refs


def _selected(spec: ApiKeySpec, scope: StepScope) -> tuple[SecretView, ...]:
    """The union of both ways to select, each Secret once, the oldest of the labelled ones first."""
    labels, refs = _storage(spec)
    found = {secret.ref: secret for secret in scope.secrets(labels)} if labels else {}
    for ref in refs:
        namespace = ref.namespace or scope.namespace
        secret = scope.secret(namespace, ref.name)
        if secret is not None:
            found.setdefault(secret.ref, secret)
        else:
            _warn(
                scope,
                Ref("Secret", namespace, ref.name),
                f"apiKeySecretRefs of {scope.id} names it, and it is not there; its key is refused until it is",
                reason=Reason.REFERENCE_NOT_FOUND,
            )
    return tuple(found.values())


def _keys(
    secrets: tuple[SecretView, ...], entries: tuple[MetadataEntry, ...], scope: StepScope
) -> tuple[tuple[Key, SecretText], ...]:
    """Each with the key itself, which the auth service need not know."""
    keys: dict[str, tuple[Key, SecretText]] = {}
    owners: dict[str, Ref] = {}
    for secret in secrets:
        fault = _secret_fault(secret) or _entry_fault(secret, entries)
        if fault is not None:
            _warn(scope, secret.ref, *fault)
            continue
        digest = hashlib.sha256(secret.data[KEY_ENTRY].reveal().encode()).hexdigest()
        if digest in keys:
            _warn(
                scope,
                secret.ref,
                f"its API key is also that of {owners[digest]}, which is older and counts; give each Secret a key of "
                "its own",
                KEY_ENTRY,
                reason=Reason.CONFLICT,
            )
            continue
        owners[digest] = secret.ref
        names = sorted({entry.name for entry in entries})
        key = Key(
            digest=digest,
            consumer=secret.ref.name,
            metadata={name: secret.data[name] for name in names if name in secret.data},
        )
        keys[digest] = (key, secret.data[KEY_ENTRY])
    return tuple(keys[digest] for digest in sorted(keys))


def _secret_fault(secret: SecretView) -> tuple[str, str | None] | None:
    """What is wrong with the key itself, and in which entry."""
    if secret.type != SECRET_TYPE:
        return f"it is selected for API keys but is of type {secret.type!r}; its type must be {SECRET_TYPE}", None
    key = secret.data.get(KEY_ENTRY, SecretText("")).reveal()
    if not key:
        return f"it has no {KEY_ENTRY} entry, or an empty one, and is left out; put the key there", None
    if key != key.strip() or not key.isascii() or not is_header_value(key):
        return (
            (
                f"its {KEY_ENTRY} can never be sent in a header and is left out: it has a space or line feed at an "
                "end, a control character, or a character beyond ASCII; mind the line feed that `echo` adds"
            ),
            KEY_ENTRY,
        )
    return None


def _entry_fault(secret: SecretView, entries: tuple[MetadataEntry, ...]) -> tuple[str, str | None] | None:
    """The first metadata entry that keeps the key from being used."""
    for entry in entries:
        value = secret.data.get(entry.name)
        if value is None and entry.required:
            return f"a policy requires its entry {entry.name!r}, which is not there; the key is refused", None
        if value is not None and not is_header_value(value.reveal()):
            return (
                f"its entry {entry.name!r} is no legal header value (a line feed, for one); the key is refused",
                entry.name,
            )
    return None


def _warn(
    scope: StepScope, ref: Ref, message: str, entry: str | None = None, *, reason: Reason = Reason.SECRET_UNUSABLE
) -> None:
    scope.warn(ref, Problem(at=("data", entry) if entry else (), reason=reason, message=message))
