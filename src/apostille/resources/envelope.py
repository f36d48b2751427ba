"""What every resource has around its spec: metadata. Read first, so that a bad spec still has a known owner."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from apostille.resources.documents import DuplicateKey
from apostille.resources.messages import kind_of, unknown_field
from apostille.status.problem import FieldPath, Problem
from apostille.status.reasons import Reason

DEFAULT_NAMESPACE = "default"

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_READ = ("name", "namespace", "labels", "annotations", "creationTimestamp")
_ACCEPTED = frozenset(
    (
        *_READ,
        "uid",
        "resourceVersion",
        "generation",
        "managedFields",
        "ownerReferences",
        "finalizers",
        "generateName",
        "selfLink",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    )
)
# kubectl's copy of the whole manifest: of a Secret, with its values in clear.
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """`name` is None when none could be read; the rest holds what could. `warnings` change nothing of substance."""

    name: str | None
    namespace: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    created: datetime | None
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


def parse_envelope(metadata: object) -> Envelope:
    problems: list[Problem] = []
    warnings: list[Problem] = []
    if not isinstance(metadata, Mapping):
        problems.append(_wrong_type(("metadata",), metadata, "a mapping with at least a `name`"))
        metadata = {}
    elif metadata.get("name") is None:
        text = "`name` is missing; every resource needs one."
        problems.append(Problem(at=("metadata", "name"), reason=Reason.MISSING_FIELD, message=text))
    for field, value in metadata.items():
        if field not in _ACCEPTED:
            at = ("metadata", field)
            if isinstance(value, DuplicateKey):
                warnings.append(Problem(at=at, reason=Reason.CONFLICT, message=value.message))
            warnings.append(Problem(at=at, reason=Reason.UNKNOWN_FIELD, message=unknown_field(field, _READ)))
    return Envelope(
        name=_name(metadata, "name", _NAME, problems),
        namespace=_name(metadata, "namespace", _NAMESPACE, problems) or DEFAULT_NAMESPACE,
        labels=_texts(metadata, "labels", problems),
        annotations=_texts(metadata, "annotations", warnings),
        created=_created(metadata.get("creationTimestamp"), warnings),
        problems=tuple(problems),
        warnings=tuple(warnings),
    )


def _name(metadata: Mapping[str, object], field: str, pattern: re.Pattern[str], problems: list[Problem]) -> str | None:
    value = metadata.get(field)
    at = ("metadata", field)
    if value is None:
        return None
    if not isinstance(value, str):
        problems.append(_wrong_type(at, value, "text; put it in quotes"))
        return None
    if not pattern.fullmatch(value):
        text = f"`{field}` must be lower-case letters, digits and dashes, with a letter or digit at both ends."
        problems.append(Problem(at=at, reason=Reason.INVALID_VALUE, message=text))
    return value


def _texts(metadata: Mapping[str, object], field: str, problems: list[Problem]) -> Mapping[str, str]:
    value = metadata.get(field)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        problems.append(_wrong_type(("metadata", field), value, "a mapping (name: value)"))
        return {}
    texts: dict[str, str] = {}
    for key, text in value.items():
        if isinstance(text, str):
            if key != _LAST_APPLIED:
                texts[key] = text
        else:
            problems.append(_wrong_type(("metadata", field, key), text, "text; put it in quotes"))
    return texts


def _created(value: object, warnings: list[Problem]) -> datetime | None:
    if value is None:
        return None
    try:
        created = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        created = None
    if created is None:
        at = ("metadata", "creationTimestamp")
        text = "`creationTimestamp` is no time and is ignored; write for example 2024-04-25T10:00:00Z."
        warnings.append(Problem(at=at, reason=Reason.INVALID_VALUE, message=text))
        return None
    return created if created.tzinfo else created.replace(tzinfo=UTC)


def _wrong_type(at: FieldPath, value: object, wanted: str) -> Problem:
    if isinstance(value, DuplicateKey):
        return Problem(at=at, reason=Reason.CONFLICT, message=value.message)
    if value is None:
        return Problem(at=at, reason=Reason.MISSING_FIELD, message=f"`{at[-1]}` is missing; it must be {wanted}.")
    return Problem(at=at, reason=Reason.INVALID_VALUE, message=f"`{at[-1]}` is {kind_of(value)} and must be {wanted}.")
