"""Limits that several layers must agree on."""

from __future__ import annotations

# A regular expression that compiles to more RE2 instructions than this is refused, by the translation and by Envoy:
# larger ones make every request slow that gets as far as their route.
MAX_REGEX_PROGRAM = 1000
