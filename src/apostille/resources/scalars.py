"""What a plain YAML scalar means, decided as kubectl's parser does. Knows nothing of events or resources.

YAML 1.1 booleans (``yes``, ``on``, ``y``), octal and hexadecimal numbers; no base-60 numbers and no dates:
``12:30:45`` and ``2024-04-25`` stay text.
"""

from __future__ import annotations

import re

_WORDS: dict[str, bool | float | None] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
}
_FIRST = frozenset("0123456789+-.yYnNtTfFoO~")
_INTEGER = re.compile(r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|(0|[1-9][0-9]*))")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_LONGEST_INTEGER = 64
_YAML = "tag:yaml.org,2002:"

Scalar = str | int | float | bool | None


def resolve_plain(text: str) -> Scalar:
    """The value of a scalar written without quotes and without a tag."""
    if text and text[0] not in _FIRST:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if text[0] in "yYnNtTfFoO~":
        return text
    digits = text.replace("_", "")
    whole = _INTEGER.fullmatch(digits)
    if whole and len(digits) <= _LONGEST_INTEGER:
        sign, hexadecimal, binary, octal, decimal = whole.groups()
        if hexadecimal:
            number = int(hexadecimal, 16)
        elif binary:
            number = int(binary, 2)
        elif octal:
            number = int(octal, 8)
        else:
            number = int(decimal)
        return -number if sign == "-" else number
    if _FLOAT.fullmatch(digits):
        return float(digits)
    return text


def resolve_tagged(text: str, tag: str) -> Scalar:
    """The value of a scalar with an explicit tag such as ``!!str``.

    Raises ValueError, whose text never repeats the scalar, for a foreign tag or a value that does not fit its tag.
    """
    name = tag.removeprefix(_YAML) if tag.startswith(_YAML) else tag
    if name in ("!", "str", "timestamp"):
        return text
    value = resolve_plain(text)
    match name:
        case "null" if value is None:
            return None
        case "bool" if isinstance(value, bool):
            return value
        case "int" if isinstance(value, int) and not isinstance(value, bool):
            return value
        case "float" if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        case "null" | "bool" | "int" | "float":
            raise ValueError(f"The tag !!{name} does not fit its value; remove the tag or mend the value.")
        case _:
            raise ValueError("This YAML tag is not supported; remove it and write plain data.")
