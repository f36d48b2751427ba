"""Host names with a wildcard in their first label: which covers which."""

from __future__ import annotations

import re

_LABEL = re.compile(r"[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?")


def parse_hostname(text: str) -> str:
    """A host as route tables and gateways name it, in lower case: a DNS name, ``*.foo.com``, ``*-bar.foo.com`` or ``*``.

    Raises ValueError with a text for people.
    """
    if text == "*":
        return text
    rest = text[1:] if text.startswith("*") else text
    if "*" in rest:
        raise ValueError(f"{text!r} has a '*' that is not at its start; only the first label may begin with one")
    labels = (rest[1:] if text.startswith("*.") else ("x" + rest if text.startswith("*") else rest)).split(".")
    if labels[-1] == "" and len(labels) > 1:
        labels.pop()
    if not text or len(text) > 255 or not all(len(label) <= 63 and _LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"{text!r} is not a host name; write for example api.example.com, *.example.com or *")
    if not text.startswith("*") and labels[-1].isdigit():
        raise ValueError(f"{text!r} ends in a number, so it is no host name; routes are chosen by name, not by address")
    return text.lower()


def covers(pattern: str, host: str) -> bool:
    """Whether every name that `host` stands for is also one that `pattern` stands for."""
    if pattern in ("*", host):
        return True
    if not pattern.startswith("*"):
        return False
    suffix = pattern[1:]
    bare = host[1:] if host.startswith("*") else host
    return bare.endswith(suffix) and (len(bare) > len(suffix) or host.startswith("*"))
