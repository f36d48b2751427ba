"""A secret is a type of its own, so that it cannot be printed by accident."""

from __future__ import annotations

import hmac


class SecretText:
    """Text that shows as ``[redacted]`` in every representation; only `reveal` gives it back.

    Comparing two of them takes a time that does not depend on where they differ.
    It cannot be pickled: a pickle would hold it in clear.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "SecretText('[redacted]')"

    def __str__(self) -> str:
        return "[redacted]"

    def __format__(self, spec: str) -> str:
        return "[redacted]"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SecretText):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash(("SecretText", self._text))

    def __bool__(self) -> bool:
        return bool(self._text)

    def __reduce__(self) -> str:
        raise TypeError("a SecretText is not for pickling")
