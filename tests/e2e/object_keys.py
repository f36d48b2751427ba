"""Object keys that proxies and signers are known to spoil, and the ways in which clients spell them."""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

KEY_LIMIT = 1024
"""Bytes of UTF-8 that S3 allows in a key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectKey:
    """`name` is the key as the bucket has it; `path` is how a client spells it in a request, without leading slash."""

    name: str
    path: str

    @property
    def spelling(self) -> str:
        """The spelling of AWS's SDKs, which is also the signed one."""
        return quote(self.name, safe="/~")


def corpus() -> tuple[ObjectKey, ...]:
    """All of them; no two have the same name."""
    keys = tuple(_keys())
    assert len({key.name for key in keys}) == len(keys)
    return keys


def _keys() -> Iterator[ObjectKey]:
    for name in (*_of_punctuation(), *_PLAIN, *_of_slashes_and_dots(), *_of_unicode(), *_long()):
        yield ObjectKey(name=name, path=quote(name, safe="/~"))
    yield from _spelled()


def _of_punctuation() -> Iterator[str]:
    for mark in string.punctuation:
        # Alone, a dot is a segment with a meaning and a slash an empty name: they have cases of their own.
        if mark not in "./":
            yield mark
        yield f"in/a{mark}b"


_PLAIN = (
    "a", "0", "UPPER/lower", "with space", " leading space", "trailing space ", "two  spaces", "tab\there",
    "line\nfeed", "return\rhere", "\x01\x1f\x7f", "a+b c", "1+1=2", "100%", "100%25", "100%2525", "%%", "%2F",
    "a%2Fb", "%zz", "%7E", "~user/~", "a?b=c&d=e", "?acl", "?uploads", "a#b", "a;b=c", "a=b&c=d", "@:/host", "http://example.com/x",
    "c:\\windows\\x", "{curly}[square]<angle>", "'single' \"double\" `back`", "$HOME ${x} $(y)", "!important^|",
    "report (final).pdf", "2026-11-22T00:00:00Z", "a,b,c", "key*", "_-.~", "null", "undefined", "..hidden",
    "trailing.", "many...dots", "cake.json.bak", "v1/AUTH_demo/x", "auth/v1.0", "healthcheck", "files/files/x",
)  # fmt: skip


def _of_slashes_and_dots() -> Iterator[str]:
    yield from (
        "double//slash",
        "triple///slash",
        "folder/",
        "folder//",
        "deep/a/b/c/d/e/f/g/h",
        "end/a/./b",
        "end/a/../b",
    )
    yield from ("/leading", "//leading-twice", "dots/.", "dots/..", "dots/./", "dots/../", "dots/...", "./dot", "../up")
    yield from ("../../up-twice", "space/ /x", "a/%2E%2E/b", "a/.%2e/b", ".", "..", "...")


def _of_unicode() -> Iterator[str]:
    accented = "café-Ångström-ñ"
    yield f"nfc/{unicodedata.normalize('NFC', accented)}"
    yield f"nfd/{unicodedata.normalize('NFD', accented)}"
    yield from (
        "\u7cfb\u7d71/\u30d5\u30a1\u30a4\u30eb/\ud30c\uc77c.txt",
        "\U0001f370",
        "cake-\U0001f370/\U0001f468\u200d\U0001f469\u200d\U0001f467",
        "flag-\U0001f1ea\U0001f1fa",
        "\u0434\u0430",
        "\u05e9\u05dc\u05d5\u05dd",
    )
    yield from (
        "no\u00a0break",
        "zero\u200bwidth",
        "soft\u00adhyphen",
        "bom\ufeff",
        "rtl\u202etxt",
        "line\u2028separator",
    )
    yield from (
        "\u00df\u1e9e\u0131\u0130",
        "\u212a-kelvin",
        "\uff21-wide",
        "\u00e9+\u00e9 %C3%A9",
        "max\U0010ffff",
        "replacement\ufffd",
    )


def _long() -> Iterator[str]:
    yield "x" * KEY_LIMIT
    yield ("ab+ %~/" * KEY_LIMIT)[:KEY_LIMIT]
    # Each of these bytes takes three on the wire.
    yield "\u00e9" * (KEY_LIMIT // 2)


def _spelled() -> Iterator[ObjectKey]:
    """Other spellings than the SDKs'. The folder keeps them apart from the same names above."""
    spellings = {
        "tilde/~": "tilde/%7E",
        "tilde/~~": "tilde/%7e~",
        "lower/a+b c/é": "lower/a%2bb%20c/%c3%a9",
        "mixed/é": "mixed/%C3%a9",
        "needless/abc": "needless/%61%62%63",
        "needless/-._": "needless/%2D%2e%5F",
        "slash/a/b": "slash/a%2Fb",
        "slash/c/d": "slash/c%2fd",
        "dots/a/../b": "dots/a/%2E%2E/b",
        "dots/a/./c": "dots/a/%2e/c",
        "plus/a+b": "plus/a+b",
        "plus/a+ +b": "plus/a+%20+b",
        "stray/100%": "stray/100%",
        "stray/%zz": "stray/%zz",
        "stray/%2": "stray/%2",
        "twice/%7E": "twice/%257E",
        "twice/%2F": "twice/%252F",
        "colon/a:b@c": "colon/a:b@c",
    }
    for name, path in spellings.items():
        yield ObjectKey(name=name, path=path)
    # No URL may hold some of these; clients send them all the same. Angle brackets and backticks are in `test_signing`.
    for mark in "!$&'()*,;=:@[]|^{}\"\\":
        yield ObjectKey(name=f"raw/a{mark}b", path=f"raw/a{mark}b")
