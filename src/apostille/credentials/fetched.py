"""What a fetch gives, and the two ways of having no credentials."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from apostille.signing.sigv4 import Credentials


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """`expires` is in UTC; None when the source tells no end."""

    credentials: Credentials
    expires: datetime | None = None


class FetchError(Exception):
    """The source gave nothing. Its text is for people: what failed, where, what to do; it holds no secret."""


class Reason(StrEnum):
    """Why nothing can be signed, as the ``x-apostille-reason`` header says it."""

    CREDENTIALS_EXPIRED = "credentials_expired"
    CREDENTIALS_UNAVAILABLE = "credentials_unavailable"


class CredentialsUnavailable(Exception):
    """There is nothing to sign with now: answer 503 and send nothing. The text is for the log and holds no secret."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason
