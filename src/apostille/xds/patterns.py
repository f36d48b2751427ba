"""Regular expressions for Envoy's header lists, which know only "or" and have no "except"."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Node:
    """A node of the trie of excluded words: a whole name ends here, or everything from here on is excluded."""

    children: dict[str, _Node] = field(default_factory=dict)
    is_name: bool = False
    is_prefix: bool = False


def everything_but(names: Iterable[str], prefixes: Iterable[str]) -> str:
    """An RE2 pattern, for full matches, of every header name except `names` and what starts with one of `prefixes`.

    Pseudo-headers (they start with a colon) are excluded too. RE2 has no look-ahead, so the complement is spelled out
    along the trie of the excluded words: at each node either the name ends (and is not excluded), or it leaves the trie
    with a character that no excluded word has next.
    """
    root = _Node()
    for name in names:
        _insert(root, name).is_name = True
    for prefix in prefixes:
        _insert(root, prefix).is_prefix = True
    if root.is_prefix:
        raise ValueError("an empty prefix excludes everything")
    # At the root the name cannot end (it would be empty) and cannot begin with a colon.
    return f"(?:{'|'.join(_ways(root, ':'))})"


def _insert(node: _Node, word: str) -> _Node:
    for char in word:
        node = node.children.setdefault(char, _Node())
    return node


def _ways(node: _Node, forbidden: str = "") -> list[str]:
    known = forbidden + "".join(sorted(node.children))
    leave = f"[^{re.escape(known)}].*" if known else "..*"
    stay = [re.escape(char) + _rest(child) for char, child in sorted(node.children.items()) if not child.is_prefix]
    return [leave, *stay]


def _rest(node: _Node) -> str:
    return f"(?:{'|'.join(_ways(node))})" + ("" if node.is_name else "?")
