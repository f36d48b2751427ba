"""Putting messages into Any, and into each other, deterministically."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

_LENGTH_DELIMITED = 2


def emit_any(message: Message) -> AnyMessage:
    return AnyMessage(
        type_url=f"type.googleapis.com/{message.DESCRIPTOR.full_name}",
        value=message.SerializeToString(deterministic=True),
    )


def emit_bytes(message: Message) -> bytes:
    return message.SerializeToString(deterministic=True)


def field_tag(message: type[Message], field: str) -> bytes:
    """What stands before each value of a field of messages or texts, for `emit_field`."""
    return _varint(message.DESCRIPTOR.fields_by_name[field].number << 3 | _LENGTH_DELIMITED)


def emit_field(tag: bytes, value: bytes) -> bytes:
    """One value in its serialized message. A message is the fields that it has, one after the other."""
    return tag + _varint(len(value)) + value


def wrap_field(tag: bytes, value: Sequence[bytes]) -> tuple[bytes, ...]:
    """The same for a large value: in pieces, to be joined when all is there. What stands ten layers deep in a message
    would be copied ten times otherwise."""
    return (tag + _varint(sum(map(len, value))), *value)


def _varint(number: int) -> bytes:
    found = bytearray()
    while number >= 0x80:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)
