"""Regular expressions for Envoy's header lists, which know only "or" and have no "except"."""

from __future__ import annotations

import re
from collections.abc import Iterable

_ANY = r"[^:]"  # header names of pseudo-headers start with a colon; those are never ours to pass on


def everything_but(names: Iterable[str], prefixes: Iterable[str]) -> str:
    """An RE2 pattern, for full matches, of every header name except `names` and what starts with one of `prefixes`.

    RE2 has no look-ahead, so the complement is spelled out along the trie of the excluded words: at each node either
    the name ends here (and is not excluded) or it leaves the trie with a character that no excluded word has next.
    """
    trie: dict[str, object] = {}
    for word, ending in [*((n, "name") for n in names), *((p, "prefix") for p in prefixes)]:
        node = trie
        for char in word:
            node = node.setdefault(char, {})  # type: ignore[assignment]  # a trie's values are tries
        node[ending] = True
    # The empty name is not a header name, so the root must consume a character.
    return _complement(trie, root=True)


def _complement(node: dict[str, object], *, root: bool = False) -> str:
    if "prefix" in node:
        raise ValueError("an empty prefix excludes everything")
    chars = sorted(char for char in node if len(char) == 1)
    first = _ANY if root else "."
    leave = f"[^{':' if root else ''}{''.join(re.escape(c) for c in chars)}].*" if chars else f"{first}.*"
    ways = [leave]
    for char in chars:
        child = node[char]
        assert isinstance(child, dict)
        if "prefix" in child:
            continue
        ways.append(re.escape(char) + _complement(child))
    body = "|".join(ways)
    may_end_here = not root and "name" not in node
    return f"(?:{body})?" if may_end_here else f"(?:{body})"
