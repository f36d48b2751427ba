"""API keys that stand in Secrets: which ones count, and what is wrong with the others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from apostille.sdk import (
    EVERYTHING,
    EnvoyKey,
    Key,
    Problem,
    Reason,
    Ref,
    Scopes,
    SecretText,
    SecretView,
    StepScope,
    is_header_value,
)

SECRET_TYPE = "extauth.solo.io/apikey"  # noqa: S105 - a type of Secret, no secret
KEY_ENTRY = "api-key"
EXPIRES_ENTRY = "expires"
SCOPES_ENTRY = "scopes"

# As in the admin API: one word for one thing.
_LISTS = {"methods": "methods", "hosts": "hosts", "pathPrefixes": "paths", "destinations": "destinations"}
_LABELS = "routeLabels"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundKey:
    """`value` is the key itself, which the auth service need not know."""

    key: Key
    value: SecretText
    secret: Ref

    @property
    def is_narrow(self) -> bool:
        return self.key.scopes.are_narrow

    @property
    def envoy_key(self) -> EnvoyKey:
        return EnvoyKey(key=self.value, consumer=self.key.consumer)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fault:
    """`entry`: of the Secret, where it is the fault of one."""

    message: str
    entry: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Term:
    """`expires` in seconds since 1970."""

    expires: int | None = None
    scopes: Scopes = EVERYTHING


def find_keys(
    labels: Mapping[str, str], refs: Iterable[tuple[str, str]], entries: Mapping[str, bool], scope: StepScope
) -> tuple[FoundKey, ...]:
    """The keys of all selected Secrets, in the order of their digests. `refs`: (namespace, name). `entries`: metadata
    that is asked for, and whether a key without it counts for nothing. Owners of the others are told why."""
    keys: dict[str, FoundKey] = {}
    for secret in _selected(labels, refs, scope):
        term = _key_fault(secret) or _entry_fault(secret, entries) or _term(secret)
        if isinstance(term, _Fault):
            _warn(scope, secret.ref, term.message, term.entry)
            continue
        value = secret.data[KEY_ENTRY]
        digest = hashlib.sha256(value.reveal().encode()).hexdigest()
        if digest in keys:
            text = (
                f"its API key is also that of {keys[digest].secret}, which is older and counts; give each Secret a key "
                "of its own"
            )
            _warn(scope, secret.ref, text, KEY_ENTRY, reason=Reason.CONFLICT)
            continue
        metadata = {name: secret.data[name] for name in sorted(entries) if name in secret.data}
        key = Key(
            digest=digest,
            consumer=secret.ref.name,
            metadata=metadata,
            expires=term.expires,
            scopes=term.scopes,
        )
        keys[digest] = FoundKey(key=key, value=value, secret=secret.ref)
    return tuple(keys[digest] for digest in sorted(keys))


def _selected(labels: Mapping[str, str], refs: Iterable[tuple[str, str]], scope: StepScope) -> tuple[SecretView, ...]:
    """The union of both ways to select, each Secret once, the oldest of the labelled ones first."""
    found = {secret.ref: secret for secret in scope.secrets(labels)} if labels else {}
    for namespace, name in refs:
        secret = scope.secret(namespace, name)
        if secret is not None:
            found.setdefault(secret.ref, secret)
        else:
            _warn(
                scope,
                Ref("Secret", namespace, name),
                f"apiKeySecretRefs of {scope.id} names it, and it is not there; its key is refused until it is",
                reason=Reason.REFERENCE_NOT_FOUND,
            )
    return tuple(found.values())


def _key_fault(secret: SecretView) -> _Fault | None:
    """What is wrong with the key itself."""
    if secret.type != SECRET_TYPE:
        return _Fault(
            message=f"it is selected for API keys but is of type {secret.type!r}; its type must be {SECRET_TYPE}"
        )
    key = secret.data.get(KEY_ENTRY, SecretText("")).reveal()
    if not key:
        return _Fault(message=f"it has no {KEY_ENTRY} entry, or an empty one, and is left out; put the key there")
    if key != key.strip() or not key.isascii() or not is_header_value(key):
        return _Fault(
            message=(
                f"its {KEY_ENTRY} can never be sent in a header and is left out: it has a space or line feed at an "
                "end, a control character, or a character beyond ASCII; mind the line feed that `echo` adds"
            ),
            entry=KEY_ENTRY,
        )
    return None


def _entry_fault(secret: SecretView, entries: Mapping[str, bool]) -> _Fault | None:
    """The first metadata entry that keeps the key from being used."""
    for name, required in entries.items():
        value = secret.data.get(name)
        if value is None and required:
            return _Fault(message=f"a policy requires its entry {name!r}, which is not there; the key is refused")
        if value is not None and not is_header_value(value.reveal()):
            return _Fault(
                message=f"its entry {name!r} is no legal header value (a line feed, for one); the key is refused",
                entry=name,
            )
    return None


def _term(secret: SecretView) -> _Term | _Fault:
    """How long the key is good and what for. What cannot be understood makes it good for nothing."""
    expires = secret.data.get(EXPIRES_ENTRY)
    moment = None if expires is None else _parse_moment(expires.reveal().strip())
    if expires is not None and moment is None:
        return _Fault(
            message=f"its entry {EXPIRES_ENTRY!r} is no point in time; the key is refused; write for example "
            "2027-01-31T00:00:00Z",
            entry=EXPIRES_ENTRY,
        )
    written = secret.data.get(SCOPES_ENTRY)
    try:
        scopes = EVERYTHING if written is None else parse_scopes(written.reveal())
    except ValueError as error:
        return _Fault(message=f"its entry {SCOPES_ENTRY!r}: {error}; the key is refused", entry=SCOPES_ENTRY)
    return _Term(expires=moment, scopes=scopes)


def _parse_moment(text: str) -> int | None:
    """Seconds since 1970; None for what is no time or names no zone."""
    try:
        moment = datetime.fromisoformat(text)
        return int(moment.timestamp()) if moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def parse_scopes(text: str) -> Scopes:
    """JSON such as ``{"methods": ["GET"], "pathPrefixes": ["/orders"], "routeLabels": {"team": "a"}}``.

    Raises ValueError, with what to write instead.
    """
    try:
        written = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(
            'it is not JSON; write for example {"methods": ["GET"], "pathPrefixes": ["/orders"]}'
        ) from None
    if not isinstance(written, dict) or not written.keys() <= {*_LISTS, _LABELS}:
        raise ValueError(f"it should be an object with some of the fields {', '.join([*_LISTS, _LABELS])}")
    fields: dict[str, tuple[str, ...]] = {}
    for name, field in _LISTS.items():
        values = written.get(name, [])
        if name in written and not (isinstance(values, list) and values and all(isinstance(v, str) for v in values)):
            # An empty list would mean everything, where its author may have meant nothing.
            raise ValueError(f"{name} should be a list of one or more texts; leave it out where everything is allowed")
        fields[field] = tuple(values)
    labels = written.get(_LABELS, {})
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        raise ValueError(f"{_LABELS} should be an object of texts")
    return Scopes(
        methods=fields["methods"],
        hosts=fields["hosts"],
        paths=fields["paths"],
        destinations=fields["destinations"],
        labels=labels,
    )


def _warn(
    scope: StepScope, ref: Ref, message: str, entry: str | None = None, *, reason: Reason = Reason.SECRET_UNUSABLE
) -> None:
    scope.warn(ref, Problem(at=("data", entry) if entry else (), reason=reason, message=message))
