"""The form of a key: ``apo_<env>_<id><secret><crc>``. Pure: it must not know whether a key exists.

The prefix is for scanners that look for leaked secrets. The checksum refuses what was mistyped or made up without a
look into the store; it keeps nobody out who reads this file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from zlib import crc32

from apostille.base.secrets import SecretText

PREFIX = "apo"
ID_LENGTH = 12
# 62 ** 28 is 2 ** 166.7.
SECRET_LENGTH = 28
_CHECK_LENGTH = 6
_MAX_ENV = 16
_MAX_LENGTH = len(PREFIX) + 1 + _MAX_ENV + 1 + ID_LENGTH + SECRET_LENGTH + _CHECK_LENGTH

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BASE = len(_DIGITS)
# Bytes from here on would make the first characters likelier than the others.
_FAIR = 256 - 256 % _BASE
# A source whose bytes are unusable this many times over is broken.
_PATIENCE = 100

_ENV = re.compile(rf"[a-z0-9]{{1,{_MAX_ENV}}}")
_ID = re.compile(rf"[0-9A-Za-z]{{{ID_LENGTH}}}")
_KEY = re.compile(
    rf"{PREFIX}_([a-z0-9]{{1,{_MAX_ENV}}})_([0-9A-Za-z]{{{ID_LENGTH}}})[0-9A-Za-z]{{{SECRET_LENGTH + _CHECK_LENGTH}}}"
)
_SHOWN = re.compile(rf"(?:{PREFIX}_([a-z0-9]{{1,{_MAX_ENV}}})_)?([0-9A-Za-z]{{{ID_LENGTH}}})")

Chance = Callable[[int], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyParts:
    """A key that is well formed. `key` is the whole of it; `env` and `id` may be shown."""

    env: str
    id: str
    key: SecretText

    @property
    def shown(self) -> str:
        """What stands for the key in logs and on pages: ``apo_<env>_<id>``."""
        return f"{PREFIX}_{self.env}_{self.id}"


def new_key(env: str, chance: Chance) -> KeyParts:
    """A key that did not exist before. `chance(n)` gives n random bytes, as `secrets.token_bytes` does.

    Raises ValueError when `env` is not of one to sixteen lower-case letters and digits.
    """
    if not is_env(env):
        raise ValueError(f"{env!r} cannot be an environment: write 1 to {_MAX_ENV} of the letters a-z and digits")
    drawn = _draw(ID_LENGTH + SECRET_LENGTH, chance)
    body = f"{PREFIX}_{env}_{drawn}"
    return KeyParts(env=env, id=drawn[:ID_LENGTH], key=SecretText(body + _checksum(body)))


def parse_key(text: str) -> KeyParts | None:
    """The parts of a key, or None for anything that is none. Never raises, and costs little whatever it is given."""
    # The length first: everything after it looks at every character.
    if len(text) > _MAX_LENGTH:
        return None
    match = _KEY.fullmatch(text)
    if match is None or text[-_CHECK_LENGTH:] != _checksum(text[:-_CHECK_LENGTH]):
        return None
    return KeyParts(env=match[1], id=match[2], key=SecretText(text))


def parse_shown(text: str) -> tuple[str | None, str] | None:
    """Environment and id of what stands for a key, ``apo_<env>_<id>``, or of an id alone; None for anything else.

    A whole key is something else.
    """
    match = _SHOWN.fullmatch(text)
    return None if match is None else (match[1], match[2])


def is_env(text: str) -> bool:
    return _ENV.fullmatch(text) is not None


def is_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None


def _checksum(body: str) -> str:
    rest, digits = crc32(body.encode("ascii")), ""
    for _ in range(_CHECK_LENGTH):
        rest, digit = divmod(rest, _BASE)
        digits = _DIGITS[digit] + digits
    return digits


def _draw(length: int, chance: Chance) -> str:
    drawn = ""
    for _ in range(_PATIENCE):
        drawn += "".join(_DIGITS[byte % _BASE] for byte in chance(length) if byte < _FAIR)
        if len(drawn) >= length:
            return drawn[:length]
    raise RuntimeError("the source of random bytes gives the same unusable bytes again and again")
