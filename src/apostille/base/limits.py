"""Limits that several layers must agree on."""

from __future__ import annotations

# A regular expression that compiles to more RE2 instructions than this is refused, by the translation and by Envoy:
# larger ones make every request slow that gets as far as their route.
MAX_REGEX_PROGRAM = 1000

# The largest body of a direct answer, in bytes. Envoy's own limit is 4096 unless it is told another.
MAX_BODY_BYTES = 1024 * 1024
