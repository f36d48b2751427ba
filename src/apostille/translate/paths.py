"""Paths: whether a regular expression is one, and which requests a rewrite must not be let loose on."""

from __future__ import annotations

from dataclasses import replace

import re2

from apostille.base.limits import MAX_REGEX_PROGRAM
from apostille.model.route import HeaderMatch, Match, PathKind, PathMatch, PathRewrite, RegexRewrite

_META = set("\\.+*?()|[]{}^$")
# Two dots in a row, in the path and not in the query. A second condition on the path, beside the one of the route.
_TWO_DOTS = HeaderMatch(name=":path", value=r"(?s)[^?]*\.\..*", regex=True)


def regex_problem(pattern: str) -> str | None:
    """What RE2, the engine of Envoy, has against a pattern; None when it is fine. The text is for people."""
    try:
        options = re2.Options()
        options.log_errors = False
        size = re2.compile(pattern, options).programsize
    except re2.error as error:
        words = error.args[0] if error.args else "it cannot be parsed"
        text = words.decode(errors="replace") if isinstance(words, bytes) else str(words)
        what, colon, where = text.partition(": ")
        return f"{pattern!r} is no regular expression for RE2: {what}{f' at {where!r}' if colon else ''}"
    if size > MAX_REGEX_PROGRAM:
        return f"{pattern!r} compiles to a program of {size} instructions; at most {MAX_REGEX_PROGRAM} are allowed"
    return None


def literal_prefix(pattern: str) -> str:
    """The text that every match of a (possibly broken) pattern begins with, as far as can be told without parsing."""
    pattern = pattern.removeprefix("^")
    end = next((i for i, char in enumerate(pattern) if char in _META), len(pattern))
    # `ab*` need not hold a b; and with an alternative anywhere nothing is certain.
    if end < len(pattern) and pattern[end] in "*?{" and end > 0:
        end -= 1
    return "" if "|" in pattern else pattern[:end]


def compile_path_rewrite(path: PathMatch, replacement: str) -> PathRewrite | RegexRewrite:
    """`replacement` for the matched prefix or exact path.

    Envoy takes an empty replacement for none, and would make ``//x`` of ``/api/x`` when ``/api`` becomes ``/``: there
    the slashes after the prefix go with it.
    """
    open_ended = path.kind is PathKind.PREFIX and not path.value.endswith("/")
    if replacement not in ("", "/"):
        return PathRewrite(replacement=replacement)
    if not open_ended:
        return PathRewrite(replacement="/")
    flags = "(?i)" if path.ignore_case else ""
    return RegexRewrite(pattern=f"{flags}^{re2.escape(path.value)}/*", substitution="/")


def rewrite_trap(match: Match, rewrite: PathRewrite | RegexRewrite) -> Match | None:
    """Those requests of `match` that this rewrite would send out of the place it points to; None when there are none.

    A plain prefix also matches in the middle of a segment: ``/plain`` with the rewrite ``/base/`` would turn
    ``/plain../admin`` into ``/base/../admin``, although every path was normalized before. Envoy offers no check
    after a rewrite, so those requests get a route of their own, in front, that refuses them.
    """
    path = match.path
    if isinstance(rewrite, RegexRewrite):
        if path.kind is PathKind.EXACT and ".." not in path.value:
            return None
        return replace(match, headers=(*match.headers, _TWO_DOTS))
    open_ended = path.kind is PathKind.PREFIX and not path.value.endswith("/")
    if open_ended and rewrite.replacement.endswith("/"):
        flags = "(?is)" if path.ignore_case else "(?s)"
        value = f"{flags}{re2.escape(path.value)}\\.{{1,2}}(?:[/;\\\\].*)?"
        return replace(match, path=PathMatch(kind=PathKind.REGEX, value=value))
    return None
