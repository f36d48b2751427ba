"""Holds the credentials of one source: renewed in the background, given out without waiting.

It must not know what the source is, nor how it is asked. One event loop owns it: there are no locks.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from apostille.base.clock import Clock
from apostille.credentials.fetched import CredentialsUnavailable, Fetched, FetchError, Reason
from apostille.model.caller import NOBODY, Caller
from apostille.signing.sigv4 import Credentials

_log = logging.getLogger(__name__)

Jitter = Callable[[float, float], float]
Pause = Callable[[asyncio.Event, float | None], Awaitable[None]]

# The part of their life after which credentials are renewed: between the two, for processes not to come all at once.
_RENEW_FROM, _RENEW_TO = 0.60, 0.75
# Seconds between two good fetches at least: a source may give the same credentials until shortly before their end.
_LEAST_PAUSE = 1.0

# Seconds between failing attempts: up to a limit that doubles. Without credentials callers are refused, so the last
# limit is low then, and recovery follows the source soon.
_FIRST_LIMIT = 0.5
_LAST_LIMIT = 30.0
_LAST_LIMIT_IN_NEED = 2.0
_IN_NEED = timedelta(seconds=60)

# Seconds between fetches because an upstream refused the credentials.
_LEAST_DOUBT = 5.0

# After this time without a request, credentials that have ended, or never came, are of no interest any more.
_IDLE = timedelta(seconds=60)

# Seconds: of one attempt, and of a request that waits for one.
_ATTEMPT_LIMIT = 20.0
PATIENCE = 2.0


class State(StrEnum):
    FRESH = "fresh"
    STALE_BUT_VALID = "stale but valid"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeeperReport:
    """How one source stands, without any secret.

    `caller` is whom the credentials were taken for, no more of them than the source asks for; NOBODY: for everybody.
    `reason` is that of the refusals, while there are any. `expires` and `refreshed` are those of the credentials held.
    `failures` are the attempts that failed since the last good one; `last_error` is the text of the latest of them.
    """

    source: str
    caller: Caller
    state: State
    reason: Reason | None
    expires: datetime | None
    refreshed: datetime | None
    failures: int
    last_error: str | None


async def wait_for_event(event: asyncio.Event, seconds: float | None) -> None:
    """Until `event` is set, and no longer than `seconds`."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


class Keeper:
    """Never gives up valid credentials: a failed renewal leaves them in place, to their very end.

    Only its own task fetches, so there is one fetch in flight, whoever asks.
    """

    def __init__(
        self,
        fetch: Callable[[], Awaitable[Fetched]],
        *,
        source: str,
        clock: Clock,
        caller: Caller = NOBODY,
        held: Fetched | None = None,
        reread: float | None = None,
        eager: bool = True,
        failed: Callable[[], None] = lambda: None,
        jitter: Jitter = random.uniform,
        pause: Pause = wait_for_event,
        attempt_limit: float = _ATTEMPT_LIMIT,
    ) -> None:
        """`source` and `caller` are for status and logs. `held` is what there is already: with no end, and with no
        `reread`, it is never fetched. `reread`: seconds after which credentials without an end are fetched again.
        `eager`: renewed whether somebody asks or not; else the first request past the time begins it.
        `failed` is told of every attempt that fails. `jitter(low, high)` gives a number between the two.
        """
        self._fetch, self._clock, self._failed = fetch, clock, failed
        self._source, self._caller = source, caller
        self._reread, self._eager = reread, eager
        self._jitter, self._pause, self._attempt_limit = jitter, pause, attempt_limit
        self._held: Fetched | None = None
        self._refreshed: datetime | None = None
        # When to fetch next; None is never.
        self._due: datetime | None = clock.now()
        self._doubted: float | None = None
        self._failures = 0
        self._last_error: str | None = None
        self._wake = asyncio.Event()
        # Set, and replaced, when an attempt has ended.
        self._attempted = asyncio.Event()
        # An attempt that took longer than we wait: its thread cannot be stopped, so no second one joins it.
        self._pending: asyncio.Future[Fetched] | None = None
        self._task: asyncio.Task[None] | None = None
        if held is not None:
            self._accept(held, clock.now())

    def start(self) -> None:
        """Fetches now, unless something is held, and keeps renewing until `close`. Needs a running event loop."""
        if self._task is None and self._due is not None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name=f"credentials: {self._source}")

    def close(self) -> asyncio.Task[None] | None:
        """Ends renewing; what is valid can still be had. Returns the task that is ending, for the owner to await."""
        task, self._task = self._task, None
        self._due = None
        if task is not None:
            task.cancel()
        if self._pending is not None:
            self._pending.cancel()
        self._attempted.set()
        return task

    def current(self, now: datetime) -> Credentials:
        """What to sign with, without waiting. Raises CredentialsUnavailable."""
        if self._due is not None and now >= self._due:
            # The task may have slept through it, as a suspended machine does.
            self._wake.set()
        if self._held is None or not _is_valid(self._held, now):
            raise self._refusal(now)
        return self._held.credentials

    async def get(self, patience: float = PATIENCE) -> Credentials:
        """Like `current`, but waits, `patience` seconds at most, for an attempt that may help.

        While the source is failing nobody waits. Raises CredentialsUnavailable.
        """
        now = self._clock.now()
        if (self._held is None or not _is_valid(self._held, now)) and self._may_help(now):
            self._wake.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._attempted.wait()
            now = self._clock.now()
        return self.current(now)

    def doubt(self) -> None:
        """The upstream refused what is held: fetch again soon. Nothing is thrown away by it.

        Does nothing where there is nothing to fetch again, as with static keys.
        """
        moment = self._clock.monotonic()
        if self._due is None or self._held is None:
            return
        if self._failures or (self._doubted is not None and moment - self._doubted < _LEAST_DOUBT):
            return
        self._doubted = moment
        self._due = self._clock.now()
        self._wake.set()

    def is_idle(self, now: datetime) -> bool:
        """Whether there is nothing to give and nobody has asked for it lately. Never so when eager."""
        if self._eager or self._due is None or (self._held is not None and _is_valid(self._held, now)):
            return False
        return now - self._due > _IDLE and self._pending is None

    def report(self) -> KeeperReport:
        now = self._clock.now()
        held = self._held
        refusal = None if held is not None and _is_valid(held, now) else self._refusal(now)
        state = State.STALE_BUT_VALID if self._failures else State.FRESH
        return KeeperReport(
            source=self._source,
            caller=self._caller,
            state=state if refusal is None else State.EXPIRED,
            reason=None if refusal is None else refusal.reason,
            expires=None if held is None else held.expires,
            refreshed=self._refreshed,
            failures=self._failures,
            last_error=self._last_error,
        )

    def _may_help(self, now: datetime) -> bool:
        if self._task is None or self._due is None:
            return False
        # Without requests nothing is retried in a keeper that is not eager: the one that begins it waits for it.
        begins = not self._eager and self._pending is None and now >= self._due
        return self._failures == 0 or begins

    async def _run(self) -> None:
        if self._held is not None:
            await self._rest()
        while self._due is not None:
            await self._attempt()
            await self._rest()

    async def _rest(self) -> None:
        # A wish for credentials that came during the attempt has been met by it, or will come again.
        self._wake.clear()
        if self._due is None:
            return
        seconds = max(0.0, (self._due - self._clock.now()).total_seconds()) if self._eager else None
        await self._pause(self._wake, seconds)

    async def _attempt(self) -> None:
        try:
            fetched = await self._fetch_in_time()
        except (FetchError, CredentialsUnavailable) as error:
            self._fail(str(error))
        except Exception as error:  # noqa: BLE001 - renewing must not end because of a fault nobody thought of
            self._fail(f"the source gave no credentials ({type(error).__name__})")
        else:
            now = self._clock.now()
            if _is_valid(fetched, now):
                self._accept(fetched, now)
            else:
                self._fail(f"the source gave credentials that ended at {fetched.expires}: is the clock here right?")
        attempted, self._attempted = self._attempted, asyncio.Event()
        attempted.set()

    async def _fetch_in_time(self) -> Fetched:
        attempt = self._pending or asyncio.ensure_future(self._fetch())
        # Known from the start, so that closing in the middle ends it too.
        self._pending = attempt
        done, _ = await asyncio.wait({attempt}, timeout=self._attempt_limit)
        if not done:
            raise FetchError(f"the source has not answered for {self._attempt_limit:g} seconds")
        self._pending = None
        return attempt.result()

    def _accept(self, fetched: Fetched, now: datetime) -> None:
        if self._failures:
            _log.info("credentials of %s: renewed after %d failures", self._source, self._failures)
        self._held, self._refreshed = fetched, now
        self._failures, self._last_error = 0, None
        if fetched.expires is not None:
            life = (fetched.expires - now).total_seconds()
            seconds = max(_LEAST_PAUSE, life * self._jitter(_RENEW_FROM, _RENEW_TO))
        elif self._reread is not None:
            seconds = self._reread * self._jitter(_RENEW_FROM, 1.0)
        else:
            self._due = None
            return
        self._due = now + timedelta(seconds=seconds)

    def _fail(self, text: str) -> None:
        now = self._clock.now()
        held = self._held
        if self._failures == 0:
            _log.warning(
                "credentials of %s: %s; %s",
                self._source,
                text,
                "nothing can be signed" if held is None else f"those held are used until {held.expires or 'replaced'}",
            )
        self._failures += 1
        self._last_error = text
        self._failed()
        in_need = held is None or (held.expires is not None and held.expires - now < _IN_NEED)
        limit = min(_FIRST_LIMIT * 2.0 ** min(self._failures - 1, 10), _LAST_LIMIT_IN_NEED if in_need else _LAST_LIMIT)
        seconds = self._jitter(limit / 2, limit)
        if held is not None and held.expires is not None and not in_need:
            # Never asleep when the time of need begins.
            seconds = min(seconds, max(_LEAST_PAUSE, (held.expires - now - _IN_NEED).total_seconds()))
        self._due = now + timedelta(seconds=seconds)

    def _refusal(self, now: datetime) -> CredentialsUnavailable:
        why = self._last_error or "they have not been fetched yet"
        if self._held is None:
            text = f"no credentials of {self._source}: {why}"
            return CredentialsUnavailable(Reason.CREDENTIALS_UNAVAILABLE, text)
        text = f"the credentials of {self._source} expired at {self._held.expires} and now it is {now}: {why}"
        return CredentialsUnavailable(Reason.CREDENTIALS_EXPIRED, text)


def _is_valid(fetched: Fetched, now: datetime) -> bool:
    return fetched.expires is None or now < fetched.expires
