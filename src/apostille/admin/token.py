"""The token of the admin API, as the environment gives it to those who serve and to those who ask. Light to import.

::

    APOSTILLE_ADMIN_TOKEN       the token itself: 32 printable ASCII characters or more, no spaces
    APOSTILLE_ADMIN_TOKEN_FILE  a file that holds it
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from apostille.base.errors import StartError
from apostille.base.secrets import SecretText

TOKEN = "APOSTILLE_ADMIN_TOKEN"  # noqa: S105 - the name of a variable
TOKEN_FILE = "APOSTILLE_ADMIN_TOKEN_FILE"  # noqa: S105 - the same

_LEAST = 32
_LONGEST = 4096
_TOKEN = re.compile(rf"[\x21-\x7e]{{{_LEAST},{_LONGEST}}}")
_MAKE = "make one with: openssl rand -hex 32"


def parse_admin_token(environ: Mapping[str, str]) -> SecretText | None:
    """None: no token is set; a variable that is empty says nothing. Raises StartError, which quotes nothing of it."""
    text, file = environ.get(TOKEN), environ.get(TOKEN_FILE)
    if text and file:
        raise StartError(f"{TOKEN} and {TOKEN_FILE} are both set; leave one of them out")
    if file:
        return _checked(TOKEN_FILE, _read(Path(file)))
    return _checked(TOKEN, text) if text else None


def _read(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return opened.read(_LONGEST + 2).decode("ascii", "replace").strip()
    except OSError as error:
        raise StartError(f"{TOKEN_FILE}: {file} cannot be read: {error.strerror}") from None


def _checked(name: str, text: str) -> SecretText:
    if _TOKEN.fullmatch(text) is None:
        raise StartError(
            f"{name}: the token of the admin API has {_LEAST} printable ASCII characters or more and no spaces; {_MAKE}"
        )
    return SecretText(text)
