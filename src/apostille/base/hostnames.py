"""Host names with a wildcard in their first label: which covers which."""

from __future__ import annotations


def covers(pattern: str, host: str) -> bool:
    """Whether every name that `host` stands for is also one that `pattern` stands for."""
    if pattern in ("*", host):
        return True
    if not pattern.startswith("*"):
        return False
    suffix = pattern[1:]
    bare = host.removeprefix("*")
    return bare.endswith(suffix) and (len(bare) > len(suffix) or host.startswith("*"))
