"""Paths: whether a regular expression is one, and which requests a rewrite must not be let loose on."""

from __future__ import annotations

import re2

from apostille.model.route import Match, PathKind, PathMatch, PathRewrite, RegexRewrite

# Larger programs make Envoy slow on every request that gets as far as this route.
_MAX_PROGRAM = 1000
_META = set("\\.+*?()|[]{}^$")


def regex_problem(pattern: str) -> str | None:
    """What RE2, the engine of Envoy, has against a pattern; None when it is fine. The text is for people."""
    try:
        options = re2.Options()
        options.log_errors = False
        size = re2.compile(pattern, options).programsize
    except re2.error as error:
        words = error.args[0] if error.args else "it cannot be parsed"
        text = words.decode(errors="replace") if isinstance(words, bytes) else str(words)
        return f"{pattern!r} is not a regular expression that RE2 understands: {text}"
    if size > _MAX_PROGRAM:
        return f"{pattern!r} compiles to a program of {size} instructions; at most {_MAX_PROGRAM} are allowed"
    return None


def literal_prefix(pattern: str) -> str:
    """The text that every match of a (possibly broken) pattern begins with, as far as one can tell without parsing it."""
    pattern = pattern.removeprefix("^")
    end = next((i for i, char in enumerate(pattern) if char in _META), len(pattern))
    # `ab*` need not hold a b; and with an alternative anywhere nothing is certain.
    if end < len(pattern) and pattern[end] in "*?{" and end > 0:
        end -= 1
    return "" if "|" in pattern else pattern[:end]


def rewrite_trap(path: PathMatch, rewrite: PathRewrite | RegexRewrite) -> Match | None:
    """The requests that this rewrite would send out of the place it points to; None when there are none.

    A plain prefix also matches in the middle of a segment: ``/plain`` with the rewrite ``/base/`` would turn
    ``/plain../admin`` into ``/base/../admin``, although every path was normalized before. Envoy offers no check
    after a rewrite, so those requests get a route of their own, in front, that refuses them.
    """
    if isinstance(rewrite, RegexRewrite):
        return _regex_match(r"(?s).*\.\..*")
    open_ended = path.kind is PathKind.PREFIX and not path.value.endswith("/")
    if open_ended and rewrite.replacement.endswith("/"):
        flags = "(?is)" if path.ignore_case else "(?s)"
        return _regex_match(f"{flags}{re2.escape(path.value)}\\.{{1,2}}(?:[/;\\\\].*)?")
    return None


def _regex_match(pattern: str) -> Match:
    return Match(path=PathMatch(kind=PathKind.REGEX, value=pattern))
