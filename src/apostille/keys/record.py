"""What is known of one key, and whether a key that was shown is that one. The key itself is not here."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from apostille.base.headers import is_header_value
from apostille.base.secrets import SecretText
from apostille.keys.format import PREFIX, is_env, is_id
from apostille.model.limits import UNLIMITED, Limits
from apostille.model.scopes import EVERYTHING, NOTHING, Scopes

DIGEST_LENGTH = 32
_LEAST_PEPPER = 32

# Compared with when the id is unknown, so that the same work is done as for a wrong secret.
_NO_DIGEST = bytes(DIGEST_LENGTH)


class State(StrEnum):
    ACTIVE = "active"
    REVOKED = "revoked"


class Verdict(StrEnum):
    """What is said of a key. All but the first are one answer to the caller; the difference is for the log."""

    ACCEPTED = "accepted"
    WRONG_SECRET = "wrong secret"  # noqa: S105 - a verdict
    NOT_YET_VALID = "not yet valid"
    EXPIRED = "expired"
    REVOKED = "revoked"


class Pepper:
    """The server's own secret: who has only the store can neither find out keys from it nor add keys to it.

    Without it no key can be verified any more. It shows as nothing and cannot be pickled.
    """

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        """Raises ValueError when it has fewer than 32 bytes."""
        if len(secret) < _LEAST_PEPPER:
            raise ValueError(f"the pepper has {len(secret)} bytes; it needs {_LEAST_PEPPER} random ones or more")
        self._secret = secret

    def digest(self, key: SecretText) -> bytes:
        """HMAC-SHA256 of the whole key, so that a digest fits one environment and one id only."""
        return hmac.digest(self._secret, key.reveal().encode("utf-8", "surrogatepass"), "sha256")

    def __repr__(self) -> str:
        return "Pepper('[redacted]')"

    def __reduce__(self) -> str:
        raise TypeError("a Pepper is not for pickling")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """All that is kept of a key. Times are UTC, in whole seconds.

    `consumer` is whom the key stands for; `name` what people call the key. `labels` are for selecting keys,
    `metadata` is for headers and logs: it is shown, so nothing secret belongs there. It is valid from `not_before`
    on and until just before `expires`. `successor` is the id of the key that replaces this one. `revision` is the
    store's: 0 was never stored. `last_used` is kept apart from the rest and is None where it was not asked for.

    Raises ValueError for what cannot be a record.
    """

    id: str
    env: str
    consumer: str
    digest: bytes = field(repr=False)
    created: datetime
    name: str = ""
    labels: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    metadata: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    scopes: Scopes = EVERYTHING
    limits: Limits = UNLIMITED
    not_before: datetime | None = None
    expires: datetime | None = None
    last_used: datetime | None = None
    state: State = State.ACTIVE
    successor: str | None = None
    revision: int = 0

    def __post_init__(self) -> None:
        if not is_id(self.id) or (self.successor is not None and not is_id(self.successor)):
            raise ValueError("an id of a key has twelve letters and digits")
        if not is_env(self.env):
            raise ValueError(f"{self.env!r} cannot be an environment: write 1 to 16 of the letters a-z and digits")
        if len(self.digest) != DIGEST_LENGTH:
            raise ValueError(f"a digest has {DIGEST_LENGTH} bytes")
        if self.revision < 0:
            raise ValueError("a revision is not negative")
        if not self.consumer:
            raise ValueError("a key needs a consumer: whom does it stand for?")
        for what, text in (("consumer", self.consumer), ("name", self.name)):
            _check_text(what, text)
        for what, entries in (("label", self.labels), ("metadata entry", self.metadata)):
            for entry, value in entries.items():
                if not entry:
                    raise ValueError(f"a {what} needs a name")
                _check_text(f"{what}'s name", entry)
                _check_text(f"{what} {entry!r}", value)
        for moment in (self.created, self.not_before, self.expires, self.last_used):
            if moment is not None and (moment.tzinfo is not UTC or moment.microsecond):
                raise ValueError(f"{moment!r} is not in UTC and whole seconds; pass it through to_second")

    @property
    def shown(self) -> str:
        """What stands for the key in logs and on pages."""
        return f"{PREFIX}_{self.env}_{self.id}"


def to_second(moment: datetime) -> datetime:
    """The same moment as records write it. Raises ValueError when it names no zone."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment} names no time zone; write for example 2027-01-31T00:00:00Z")
    return moment.astimezone(UTC).replace(microsecond=0)


def judge(record: KeyRecord | None, digest: bytes, now: datetime) -> Verdict:
    """What is said at `now` of the key that has this digest. `record`: of its id; None where nobody knows the id.

    Takes the same time for every wrong secret, that for an unknown id included.
    """
    matches = hmac.compare_digest(_NO_DIGEST if record is None else record.digest, digest)
    if record is None or not matches:
        return Verdict.WRONG_SECRET
    if record.state is State.REVOKED:
        return Verdict.REVOKED
    if record.not_before is not None and now < record.not_before:
        return Verdict.NOT_YET_VALID
    if record.expires is not None and now >= record.expires:
        return Verdict.EXPIRED
    return Verdict.ACCEPTED


def _check_text(what: str, text: str) -> None:
    if not is_header_value(text):
        raise ValueError(f"the {what} holds a control character or half a character: {text!r}")
