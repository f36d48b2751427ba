"""The model as plain data (dicts, lists, scalars) for people and for golden files. It holds no secret."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from typing import Any

from apostille.base.refs import Ref
from apostille.base.secrets import SecretText
from apostille.model.auth import Key

_DIGITS_SHOWN = 12


def dump_model(value: object) -> object:
    """Equal values give equal data, in the order of the fields; entries of mappings are sorted.

    A field that has its default is left out, and so is what would give a secret away. Raises TypeError for what has no
    plain form, with the type's name only.
    """
    match value:
        # Before str and int: a StrEnum is a str.
        case Enum():
            return dump_model(value.value)
        case str() | int() | float() | None:
            return value
        case SecretText() | Ref():
            return str(value)
        case Key():
            # A short key could be found out by trying: the whole digest is for the auth service alone.
            return {**_dump_fields(value), "digest": f"{value.digest[:_DIGITS_SHOWN]}..."}
        case tuple() | list():
            return [dump_model(item) for item in value]
        case Mapping():
            return {str(key): dump_model(value[key]) for key in sorted(value)}
        case _ if is_dataclass(value) and not isinstance(value, type):
            return _dump_fields(value)
        case _:
            raise TypeError(f"a {type(value).__name__} has no plain form")


def _dump_fields(value: Any) -> dict[str, object]:  # Any: some dataclass
    written = ((field, getattr(value, field.name)) for field in fields(value))
    return {field.name: dump_model(part) for field, part in written if not _is_default(field, part)}


def _is_default(field: Field[Any], part: object) -> bool:  # Any: a field's type parameter says nothing here
    if field.default is not MISSING:
        return bool(part == field.default)
    return field.default_factory is not MISSING and bool(part == field.default_factory())
