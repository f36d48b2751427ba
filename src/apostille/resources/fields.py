"""Field types that many specs share: durations, ports, enums, host names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from enum import Enum
from typing import Annotated, Any, Self, TypeVar

from pydantic import AfterValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, PlainValidator, WithJsonSchema
from pydantic_core import CoreSchema, core_schema

from apostille.base.durations import parse_duration
from apostille.resources.rules import listed, wrong

Item = TypeVar("Item")


class ProtoEnum(Enum):
    """Members are named as in manifests; values are the proto numbers, which may be written too."""

    @classmethod
    def parse(cls, value: object) -> Self:
        if isinstance(value, cls):
            return value
        if isinstance(value, str) and value in cls.__members__:
            return cls.__members__[value]
        if isinstance(value, int) and not isinstance(value, bool) and any(value == member.value for member in cls):
            return cls(value)
        raise wrong(f"This is no value of the field; write {listed(tuple(cls.__members__), 'or')}.")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # Any: pydantic's
        return core_schema.no_info_plain_validator_function(cls.parse)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"enum": [*cls.__members__, *(member.value for member in cls)]}


def _duration(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise wrong("A duration is text with a unit; write for example 250ms, 1.5s or 1h30m.")
    try:
        return parse_duration(value)
    except ValueError as error:
        raise wrong(f"{error}.") from None


def _whole_milliseconds(value: timedelta) -> timedelta:
    if value < timedelta(milliseconds=1) or value % timedelta(milliseconds=1):
        raise wrong("This duration must be at least 1ms and a whole number of milliseconds.")
    return value


def _port_or_name(value: object) -> int | str:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 65535:
        return value
    raise wrong("A port is a number from 1 to 65535, or the name of a port.")


def _not_empty(value: tuple[Item, ...]) -> tuple[Item, ...]:
    if not value:
        raise wrong("The list is empty; write at least one entry.")
    return value


_HOST_LABEL = re.compile(r"[a-zA-Z0-9](?:[-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?")
_HOST_TAIL = re.compile(r"[-a-zA-Z0-9]{0,61}[a-zA-Z0-9]")


def _host_name(value: str) -> str:
    if value == "*":
        return value
    labels = value.removesuffix(".").split(".")
    first = labels[0]
    starred = first == "*" or (first.startswith("*") and _HOST_TAIL.fullmatch(first[1:]) is not None)
    good = starred or _HOST_LABEL.fullmatch(first) is not None
    if not good or len(value) > 255 or not all(_HOST_LABEL.fullmatch(label) for label in labels[1:]):
        raise wrong(
            "This is no host name; write for example api.example.com, *.example.com or * "
            "(no scheme, port or path; a * only at the very start)."
        )
    if labels[-1].isdigit():
        raise wrong("The last part of a host name cannot be a number; addresses do not belong here.")
    return value


Duration = Annotated[timedelta, PlainValidator(_duration), WithJsonSchema({"type": "string"})]
"""Written as text, such as ``250ms``, ``1.5s`` or ``1h30m``."""

Milliseconds = Annotated[Duration, AfterValidator(_whole_milliseconds)]
"""A `Duration` of at least 1 ms and no finer grain."""

PortNumber = Annotated[int, Field(ge=1, le=65535)]

PortOrName = Annotated[int | str, PlainValidator(_port_or_name), WithJsonSchema({"type": ["integer", "string"]})]

HostName = Annotated[str, AfterValidator(_host_name)]
"""A DNS name; ``*`` alone, or at the start of its first label."""

# Not pydantic's min_length: that one counts the good entries only, and so calls a list of one bad entry empty.
NotEmpty = AfterValidator(_not_empty)

Text = Annotated[str, Field(min_length=1)]

Labels = Mapping[str, str]

Opaque = Mapping[str, object]
"""Known, accepted and not looked into here."""
