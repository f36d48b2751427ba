"""Every reason a problem can have, and every effect it can have on the wire."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Machine-readable; the free text is in the problem's message."""

    INVALID_SYNTAX = "InvalidSyntax"  # not YAML, or a limit of the parser was passed
    UNREADABLE = "Unreadable"  # the file or folder cannot be read
    UNKNOWN_KIND = "UnknownKind"
    NOT_BUILT = "NotBuilt"  # known from Gloo Gateway, not built here yet
    UNKNOWN_FIELD = "UnknownField"
    MISSING_FIELD = "MissingField"
    INVALID_VALUE = "InvalidValue"
    CONFLICT = "Conflict"  # an older resource, or a sibling, has it already
    REFERENCE_NOT_FOUND = "ReferenceNotFound"
    SECRET_UNUSABLE = "SecretUnusable"  # noqa: S105 - a reason, no secret
    NOTHING_SELECTED = "NothingSelected"  # a policy or table that applies to nothing
    DUPLICATE = "Duplicate"  # the same kind, namespace and name written twice
    UNSAFE = "Unsafe"  # allowed by Gloo, refused here, with the safe way in the message
    UNGUARDED = "Unguarded"  # it lends out what is worth a guard, and there is none
    NO_EFFECT = "NoEffect"  # accepted, and means nothing outside a service mesh
    REJECTED_BY_ENVOY = "RejectedByEnvoy"
    STALE = "Stale"  # the source is broken; what was last read from it is served
    INTERNAL_ERROR = "InternalError"  # a bug of ours, contained


class Effect(StrEnum):
    """What a client on the wire gets because of a problem."""

    REJECTED = "Rejected"  # nothing of this resource is programmed
    REPLACED = "Replaced"  # 500 on exactly the routes it covers
    PARTIAL = "Partial"  # the rest of the resource works
    IGNORED = "Ignored"  # traffic flows, the setting is absent; never for a guard
    STALE = "Stale"  # the last good state is served
    AS_WRITTEN = "AsWritten"  # all of it works; perhaps more than its author meant

    @property
    def is_warning(self) -> bool:
        return self in (Effect.IGNORED, Effect.AS_WRITTEN)
