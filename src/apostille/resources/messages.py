"""The library's error types in plain sentences that say what to write instead. No message ever holds a value."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from apostille.base.secrets import SecretText
from apostille.resources.documents import DuplicateKey
from apostille.resources.rules import WRONG
from apostille.status.reasons import Reason

_TEXTS = {
    "string_type": "must be text, not {written}",
    "int_type": "must be a whole number, not {written}",
    "int_from_float": "must be a whole number, not {written}",
    "float_type": "must be a number, not {written}",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false without quotes, not {written}",
    "tuple_type": "must be a list, not {written}; begin each entry with a dash",
    "model_type": "must be a mapping (name: value), not {written}",
    "model_attributes_type": "must be a mapping (name: value), not {written}",
    "dict_type": "must be a mapping (name: value), not {written}",
    "mapping_type": "must be a mapping (name: value), not {written}",
    "greater_than_equal": "must be {ge} or more",
    "less_than_equal": "must be {le} or less",
    "string_too_short": "must not be empty",
    "string_too_long": "is too long; at most {max_length} characters are allowed",
    "too_short": "needs at least {min_length} entry",
    "too_long": "has too many entries; at most {max_length} are allowed",
}
"""What follows the name of the field, by pydantic's error type; in braces its context, and what was written."""


def explain(kind: str, context: Mapping[str, object], field: str, value: object) -> tuple[Reason, str]:
    """`kind` and `context` are pydantic's; `value` is what was written, of which at most the type is told."""
    if isinstance(value, DuplicateKey):
        return Reason.CONFLICT, value.message
    if kind == WRONG:
        reason = context.get("reason")
        text = str(context.get("text"))
        return reason if isinstance(reason, Reason) else Reason.INVALID_VALUE, text
    if kind == "missing" or (value is None and kind.endswith("_type")):
        return Reason.MISSING_FIELD, f"`{field}` is missing; write it."
    return Reason.INVALID_VALUE, _value_text(kind, context, field, kind_of(value))


def _value_text(kind: str, context: Mapping[str, object], field: str, written: str) -> str:
    if kind == "value_error":
        return f"{str(context.get('error')).rstrip('.')}."
    hint = ""
    if kind == "string_type" and written in ("a number", "true or false"):
        hint = '; put it in quotes ("…")'
    elif kind == "int_type" and written == "text":
        hint = "; remove the quotes, or write a number"
    template = _TEXTS.get(kind, f"has a value that does not fit it ({kind}); see the reference of this kind")
    return f"`{field}` {template.format_map({**context, 'written': written})}{hint}."


def kind_of(value: object) -> str:
    """What sort of thing was written, without its value."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str() | SecretText():
            return "text"
        case Mapping():
            return "a mapping"
        case tuple() | list():
            return "a list"
        case _:
            return "something else"


def unknown_field(field: str, known: Iterable[str], *, ignored: bool = True) -> str:
    near = nearest(field, known)
    told = f"`{field}` is not a known field here" + (" and is ignored" if ignored else "")
    if near is None:
        return f"{told}; remove it, or check its place and spelling."
    return f"{told}; did you mean `{near}`?"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is most like `word`, whatever its case and underscores; None when none is near."""
    plain = {_plain(each): each for each in known}
    found = difflib.get_close_matches(_plain(word), plain, n=1, cutoff=0.75)
    return plain[found[0]] if found else None


def _plain(word: str) -> str:
    return word.replace("_", "").lower()[:80]
