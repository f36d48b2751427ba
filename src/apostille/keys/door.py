"""Who may pass with a key of the store: found, verified, and held against what it is good for. It must not know HTTP.

A key that is known is let in from memory. A wrong secret costs one look into the store, as an unknown id does: so the
time of a refusal tells nobody which ids exist.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from apostille.base.clock import Clock
from apostille.keys.cache import KeyCache
from apostille.keys.errors import DamagedRecord, PepperMissing, StoreUnavailable
from apostille.keys.fingerprint import PepperCheck
from apostille.keys.format import KeyParts, parse_key
from apostille.keys.limiter import Limited, Limiter, subject_of
from apostille.keys.outcome import Holder, Refusal, Why
from apostille.keys.record import KeyRecord, Pepper, Verdict, judge
from apostille.model.scopes import Asked, Dimension, first_miss

_NO_KEY = Refusal(why=Why.UNKNOWN, cause="not in the form of a key")


class KeyDoor:
    """One event loop owns it."""

    def __init__(
        self,
        *,
        cache: KeyCache,
        pepper: PepperCheck,
        limiter: Limiter,
        used: Callable[[str, datetime], None],
        clock: Clock,
    ) -> None:
        """`used` is told of each key that was let in."""
        self._cache, self._pepper, self._limiter, self._used, self._clock = cache, pepper, limiter, used, clock
        # The pepper, once a key has shown that it is the right one.
        self._proven: Pepper | None = None

    async def open(self, shown: str, asked: Asked, labels: Mapping[str, str], /) -> Holder | Refusal:
        """See `auth.contract.StoredKeys`. Raises nothing."""
        parts = parse_key(shown)
        if parts is None:
            return _NO_KEY
        try:
            record = await self._verified(parts)
        except StoreUnavailable as error:
            return Refusal(why=Why.UNAVAILABLE, cause=error.cause)
        except DamagedRecord as error:
            return Refusal(why=Why.UNAVAILABLE, cause=f"its record is damaged: {error.what}", key=parts.shown)
        except PepperMissing:
            return Refusal(why=Why.UNAVAILABLE, cause="no pepper")
        if isinstance(record, Refusal):
            return record
        holder = Holder(consumer=record.consumer, key=record.shown, metadata=record.metadata)
        if any(record.labels.get(label) != value for label, value in labels.items()):
            return _refusal(holder, Why.UNKNOWN, "without the labels that are asked for")
        miss = first_miss(record.scopes, asked)
        if miss is not None:
            return _refusal(holder, Why.NOT_FOR, f"not for this {miss.value}", dimension=miss)
        if record.limits.rate is not None or record.limits.quotas:
            subject = subject_of(record.id, record.consumer, record.limits)
            taken = self._limiter.take_now(subject, record.limits) or await self._limiter.take(subject, record.limits)
            if isinstance(taken, Limited):
                return _refusal(holder, Why.LIMITED, "too often", headers=taken.headers)
        self._used(record.id, self._clock.now())
        return holder

    async def _verified(self, parts: KeyParts) -> KeyRecord | Refusal:
        """Raises StoreUnavailable, DamagedRecord and PepperMissing."""
        pepper = self._proven or await self._pepper.confirm()
        # Before anything is looked up, known or not: what comes first may change how long the rest takes.
        digest, now = pepper.digest(parts.key), self._clock.now()
        record = self._cache.peek(parts.id)
        remembered = record is not None
        if record is None:
            record = await self._cache.get(parts.id)
            now = self._clock.now()
        verdict = judge(record, digest, now)
        if record is not None and verdict is Verdict.ACCEPTED:
            self._proven = pepper
            return record
        if verdict is Verdict.WRONG_SECRET:
            if remembered:
                await self._cache.miss()
            return Refusal(why=Why.UNKNOWN, cause=verdict.value)
        return Refusal(
            why=Why.UNKNOWN,
            cause=verdict.value,
            consumer=None if record is None else record.consumer,
            key=parts.shown,
        )


def _refusal(
    holder: Holder,
    why: Why,
    cause: str,
    *,
    dimension: Dimension | None = None,
    headers: tuple[tuple[str, str], ...] = (),
) -> Refusal:
    return Refusal(why=why, cause=cause, consumer=holder.consumer, key=holder.key, dimension=dimension, headers=headers)
