"""Which spellings of a path are odd: another server might read a different path from them than Envoy does.

Envoy could resolve them itself, for all routes of a listener alike, and would then change the names of S3 objects too.
So they are refused instead, route by route.
"""

from __future__ import annotations

# After each other: a segment of dots (also with path parameters), a doubled slash, a backslash; escapes of a dot, a
# slash, a backslash or a NUL; escapes of what needs none; a percent sign that begins no escape.
_ODDITIES = (
    r"/\.{1,2}(?:[/;?].*)?",
    r"//.*",
    r"\\.*",
    r"%(?:2[eEfF]|5[cC]|00).*",
    r"%(?:3[0-9]|4[1-9a-fA-F]|5[0-9aA]|6[1-9a-fA-F]|7[0-9aA]|2[dD]|5[fF]|7[eE]).*",
    r"%(?:[^0-9a-fA-F].*|[0-9a-fA-F](?:[^0-9a-fA-F].*)?)?",
)

UNSENDABLE = r'(?s)(?:[^?]*[<>`].*|[^?]*\?.*[<>"].*)'
"""RE2, for full matches of a path with its query: of the characters that no URI has (RFC 3986) those that the auth
service's web server would hang up on."""

ODD_PATH = rf"(?s)(?:[^?]*(?:{'|'.join(_ODDITIES)})|{UNSENDABLE.removeprefix('(?s)')})"
"""RE2, for full matches of a path with its query. The query may hold what a URI can."""
