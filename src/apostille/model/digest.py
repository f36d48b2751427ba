"""One stable hash over model values: equal content, equal digest, on every machine and in every process."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum

from apostille.base.refs import Ref
from apostille.base.secrets import SecretText
from apostille.model.auth import Place, Step
from apostille.model.outbound import Outbound


def content_digest(value: object) -> str:
    """SHA-256, in hex, over dataclasses, mappings, tuples, enums, secrets and plain values.

    A secret goes into the hash and nowhere else. Raises TypeError for what has no stable content (a set of objects,
    a function), with the type's name only.
    """
    return hashlib.sha256(_canonical(value)).hexdigest()


def program_id(
    policy: Ref,
    steps: tuple[Step, ...],
    deadline_ms: int,
    outbound: Outbound | None = None,
    place: Place | None = None,
) -> str:
    """``namespace/name@`` and twelve digits of the content's digest: what `Program.id` holds."""
    return f"{policy.short}@{content_digest((policy, steps, deadline_ms, outbound, place))[:12]}"


def _canonical(value: object) -> bytes:
    match value:
        # Before str and int: a StrEnum is a str, and True is an int.
        case Enum():
            return _tagged(b"e", _canonical(value.value))
        case bool() | None:
            return _tagged(b"c", str(value).encode())
        case SecretText():
            return _tagged(b"x", value.reveal().encode("utf-8", "surrogatepass"))
        case str():
            return _tagged(b"s", value.encode("utf-8", "surrogatepass"))
        case bytes():
            return _tagged(b"b", value)
        case int():
            return _tagged(b"i", str(value).encode())
        case float():
            return _tagged(b"f", value.hex().encode())
        case tuple() | list():
            return _tagged(b"t", b"".join(_canonical(item) for item in value))
        case Mapping():
            pairs = sorted((_canonical(key), _canonical(item)) for key, item in value.items())
            return _tagged(b"m", b"".join(key + item for key, item in pairs))
        case _ if is_dataclass(value) and not isinstance(value, type):
            parts = ((field.name, getattr(value, field.name)) for field in fields(value))
            return _tagged(b"d", _canonical(type(value).__name__) + b"".join(_canonical(part) for part in parts))
        case _:
            raise TypeError(f"a {type(value).__name__} has no content digest")


def _tagged(tag: bytes, content: bytes) -> bytes:
    # The length keeps ("ab", "c") and ("a", "bc") apart.
    return tag + str(len(content)).encode() + b":" + content
