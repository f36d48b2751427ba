"""Who is calling, as far as it matters to credentials, and the placeholders that stand for it in an author's text.

``{consumer}``, ``{key}`` and ``{metadata.NAME}``. What a placeholder is called here is what stands in its braces.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import MappingProxyType

from apostille.base.headers import is_header_value
from apostille.model.scopes import NOTHING

_CONSUMER, _KEY, _METADATA = "consumer", "key", "metadata"
_ENTRY = f"{_METADATA}."
_KNOWN = "`{consumer}`, `{key}` or `{metadata.NAME}`"

_BRACES = re.compile(r"\{([^{}]*)\}")
# One word, as no text in braces is that only happens to stand there: somebody expects something in its place.
_WORD = re.compile(r"[^\W\d][\w.:/\[\]-]*")
_OURS = re.compile(rf"(?:{_CONSUMER}|{_KEY}|{_METADATA})(?!\w)")
_UNCLOSED = re.compile(rf"\{{\s*({_CONSUMER}|{_KEY}|{_METADATA})(?!\w)[^{{}}]*(?=\{{|\Z)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """`key`: what stands for the key in logs; `metadata`: what else is known of them and may be told.

    What is None, or empty, is not known.
    """

    consumer: str | None = None
    key: str | None = None
    metadata: Mapping[str, str] = field(default_factory=lambda: NOTHING, repr=False)

    def __hash__(self) -> int:
        return hash((self.consumer, self.key, frozenset(self.metadata.items())))

    def find(self, placeholder: str) -> str | None:
        """What the placeholder stands for; None where that is not known."""
        if placeholder == _CONSUMER:
            return self.consumer or None
        if placeholder == _KEY:
            return self.key or None
        return self.metadata.get(placeholder.removeprefix(_ENTRY)) or None

    def lacks(self, placeholders: Iterable[str]) -> tuple[str, ...]:
        return tuple(each for each in placeholders if self.find(each) is None)

    def only(self, placeholders: Iterable[str]) -> Caller:
        """What the placeholders stand for and nothing else: callers who differ in other things are equal then."""
        consumer = key = None
        metadata = {}
        for each in placeholders:
            found = self.find(each)
            if each == _CONSUMER:
                consumer = found
            elif each == _KEY:
                key = found
            elif found is not None:
                metadata[each.removeprefix(_ENTRY)] = found
        return Caller(consumer=consumer, key=key, metadata=MappingProxyType(metadata) if metadata else NOTHING)


NOBODY = Caller()


def find_placeholders(text: str) -> tuple[str, ...]:
    """Those that are known. Other braces stand for themselves."""
    return tuple(match[1] for match in _BRACES.finditer(text) if _is_known(match[1]))


def fill_placeholders(text: str, caller: Caller) -> str:
    """Each in its place, and what comes in is not looked at again. Raises LookupError when the caller lacks one."""
    lacking = caller.lacks(find_placeholders(text))
    if lacking:
        raise LookupError(explain_lack(lacking))
    return _BRACES.sub(lambda match: (caller.find(match[1]) or "") if _is_known(match[1]) else match[0], text)


def explain_lack(placeholders: Iterable[str]) -> str:
    """Why nothing can stand there, and what to do. The placeholders are known ones."""
    return "; ".join(dict.fromkeys(_explain_lack(each) for each in placeholders))


def placeholder_faults(text: str) -> tuple[str, ...]:
    """What was meant to be a placeholder and is none, each with what to write instead."""
    found = [_explain_unknown(each[1]) for each in _BRACES.finditer(text) if _is_mistaken(each[1])]
    unclosed = [
        f"`{each[0]}` has no closing brace; write `{{{_ENTRY + 'NAME' if each[1] == _METADATA else each[1]}}}`."
        for each in _UNCLOSED.finditer(text)
    ]
    return tuple(dict.fromkeys([*found, *unclosed]))


def _is_known(inside: str) -> bool:
    if inside in (_CONSUMER, _KEY):
        return True
    name = inside.removeprefix(_ENTRY)
    return name != inside and bool(name) and name == name.strip() and is_header_value(name)


def _is_mistaken(inside: str) -> bool:
    """Text with white space, quotes or commas is left alone, unless it begins as a placeholder does."""
    word = inside.strip()
    return not _is_known(inside) and (_WORD.fullmatch(word) is not None or _OURS.match(word) is not None)


def _explain_unknown(inside: str) -> str:
    said = f"`{{{inside}}}`"
    root, _, rest = inside.partition(".")
    if root.strip() == _METADATA and not rest.strip():
        return f"{said} names no entry of the key's metadata; write for example `{{metadata.team}}`."
    closest = get_close_matches(root.strip().casefold(), (_CONSUMER, _KEY, _METADATA), n=1, cutoff=0.7)
    if closest and closest[0] != _METADATA:
        return f"{said} stands for nothing; write `{{{closest[0]}}}`."
    meant = f"{_ENTRY}{rest.strip()}"
    if closest and _is_known(meant):
        return f"{said} stands for nothing; write `{{{meant}}}`."
    return f"{said} stands for nothing; write {_KNOWN}."


def _explain_lack(placeholder: str) -> str:
    said = f"{{{placeholder}}} stands"
    if placeholder == _CONSUMER:
        return (
            f"{said} for who is calling, and this request has no consumer: put a step before it that tells who is "
            "calling, such as apiKeyAuth"
        )
    if placeholder == _KEY:
        return (
            f"{said} for the caller's key, and this request has none of the key store: put a step before it that "
            "takes keys of the store (apiKeyAuth with `keyStore`); keys in Secrets have nothing that stands for them"
        )
    return (
        f"{said} for an entry of the key's metadata, and this request has no key with such an entry: write it on the "
        "key, which must be one of the key store"
    )
