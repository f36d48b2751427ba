"""Which header names and values may be put on a message by a step, and which belong to the wire itself.

A web server in between may drop an illegal header in silence. Where the header is a signature or an identity, that is a
request without it: so everything is looked at here before it goes out.
"""

from __future__ import annotations

import re
from functools import lru_cache

# Names are few and come back with every request; the bound is for signers that make up their own.
_REMEMBERED = 4096

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# Everything but control characters (a tab is fine) and halves of surrogate pairs, which no encoding can carry.
_VALUE = re.compile("[\t\x20-\x7e\x80-\ud7ff\ue000-\U0010ffff]*")

_FRAMING = frozenset(
    {
        "connection",
        "content-length",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# Envoy takes these of an auth answer for the answer's own and never puts them on the upstream request.
_NOT_CARRIED = frozenset({"content-type", "date", "server"})
_RESERVED = ("x-envoy-", "x-apostille-")


@lru_cache(_REMEMBERED)
def is_header_name(name: str) -> bool:
    """A token of RFC 9110. Pseudo-headers such as ``:path`` are none."""
    return _NAME.fullmatch(name) is not None


def is_header_value(value: str) -> bool:
    """No line feed, carriage return, NUL or other control character. Text beyond ASCII goes out as UTF-8."""
    return _VALUE.fullmatch(value) is not None


@lru_cache(_REMEMBERED)
def is_settable_name(name: str) -> bool:
    """A step may set it on a client's response: a legal name, not part of the framing, not reserved for Envoy or us."""
    low = name.lower()
    return is_header_name(low) and low not in _FRAMING and not low.startswith(_RESERVED)


@lru_cache(_REMEMBERED)
def is_upstream_name(name: str) -> bool:
    """A step may set it on the upstream request."""
    return is_settable_name(name) and name.lower() not in _NOT_CARRIED
