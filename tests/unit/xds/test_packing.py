from __future__ import annotations

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.wrappers_pb2 import StringValue

from apostille.xds.packing import emit_bytes, emit_field, field_tag, wrap_field

TYPE_URL, VALUE = field_tag(AnyMessage, "type_url"), field_tag(AnyMessage, "value")


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 3_000_000])
def test_a_field_is_what_the_message_itself_would_write(size: int) -> None:
    value = b"x" * size
    written = emit_field(TYPE_URL, b"about") + emit_field(VALUE, value)
    assert AnyMessage.FromString(written) == AnyMessage(type_url="about", value=value)
    if size:
        assert written == emit_bytes(AnyMessage(type_url="about", value=value))


def test_a_field_in_pieces_is_the_same_field() -> None:
    inner = (b"a" * 100, b"", b"b" * 100)
    assert b"".join(wrap_field(VALUE, inner)) == emit_field(VALUE, b"".join(inner))
    assert b"".join(wrap_field(VALUE, ())) == emit_field(VALUE, b"")


def test_a_tag_of_a_field_that_does_not_exist_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        field_tag(StringValue, "nothing")
