"""Which spellings of a path are odd, and which routes take them.

Another server might read a different path from an odd spelling than Envoy does. Envoy could resolve them itself, for
all routes of a listener alike, and would then change the names of S3 objects too. So they are refused, but where the
route asks for them or nothing is sent on.
"""

from __future__ import annotations

from enum import Enum

import re2

from apostille.model.route import Forward, Route

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

UNSENDABLE_PATH = r'(?s)(?:[^?]*[<>`].*|[^?]*\?.*[<>"].*)'
"""RE2, for full matches of a path with its query: of the characters that no URI has (RFC 3986) those that the auth
service's web server would hang up on."""

ODD_PATH = rf"(?s)(?:[^?]*(?:{'|'.join(_ODDITIES)})|{UNSENDABLE_PATH.removeprefix('(?s)')})"
"""RE2, for full matches of a path with its query. What is unsendable is odd too; the query may hold what a URI can."""


class Spelling(Enum):
    """How a path is spelled, from the harmless to the worst."""

    ORDINARY = "ordinary"
    ODD = "odd"
    UNSENDABLE = "unsendable"


def spelling_of(path: str) -> Spelling:
    """`path` with its query."""
    if re2.fullmatch(ODD_PATH, path) is None:
        return Spelling.ORDINARY
    return Spelling.ODD if re2.fullmatch(UNSENDABLE_PATH, path) is None else Spelling.UNSENDABLE


def takes(route: Route, spelling: Spelling) -> bool:
    """Whether paths of this spelling may find the route. What is answered here takes them all; an odd one that is
    sent on may mean another path to the upstream than it meant to the guards here."""
    if not isinstance(route.action, Forward) or spelling is Spelling.ORDINARY:
        return True
    return route.raw_path and spelling is Spelling.ODD
