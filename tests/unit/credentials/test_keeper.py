from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from apostille.base.secrets import SecretText
from apostille.credentials.fetched import CredentialsUnavailable, Fetched, FetchError, Reason
from apostille.credentials.keeper import Keeper, State, wait_for_event
from apostille.signing.sigv4 import Credentials
from tests.unit.credentials.stand_ins import CANARY, FakeClock, Naps

HOUR = 3600.0


class Script:
    """A source that does what the test says: an error to raise, or the life in seconds of what it gives."""

    def __init__(self, clock: FakeClock, *outcomes: Exception | float | None) -> None:
        self._clock = clock
        self.outcomes = list(outcomes)
        self.begun = 0
        self._beginnings = asyncio.Semaphore(0)
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self) -> Fetched:
        self.begun += 1
        self._beginnings.release()
        await self.gate.wait()
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return fetched(self._clock, f"AKIA{self.begun}", outcome)

    async def next(self) -> None:
        """Waits until a fetch has begun that was not waited for before."""
        await self._beginnings.acquire()


def fetched(clock: FakeClock, access_key: str, life: float | None) -> Fetched:
    return Fetched(
        credentials=Credentials(access_key=access_key, secret_key=SecretText(f"s-{CANARY}")),
        expires=None if life is None else clock.now() + timedelta(seconds=life),
    )


class Stage:
    """Opens keepers, and closes them when the test is over."""

    def __init__(self, clock: FakeClock, naps: Naps) -> None:
        self._clock, self._naps = clock, naps
        self._opened: list[Keeper] = []
        self.failures = 0

    def __call__(self, script: Script, **settings: object) -> Keeper:
        defaults: dict[str, object] = {
            "source": "test source",
            "clock": self._clock,
            "jitter": lambda low, high: high,
            "pause": self._naps,
            "failed": self._fail,
        }
        keeper = Keeper(script, **{**defaults, **settings})  # type: ignore[arg-type]
        self._opened.append(keeper)
        keeper.start()
        return keeper

    def _fail(self) -> None:
        self.failures += 1

    async def close(self) -> None:
        tasks = [task for keeper in self._opened if (task := keeper.close()) is not None]
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def stage(clock: FakeClock, naps: Naps) -> AsyncIterator[Stage]:
    opened = Stage(clock, naps)
    yield opened
    await opened.close()


def refusal(keeper: Keeper, clock: FakeClock) -> CredentialsUnavailable:
    with pytest.raises(CredentialsUnavailable) as caught:
        keeper.current(clock.now())
    return caught.value


async def test_fresh_credentials_are_given_without_waiting(clock: FakeClock, naps: Naps, stage: Stage) -> None:
    keeper = stage(Script(clock, HOUR))
    await naps.next()
    assert keeper.current(clock.now()).access_key == "AKIA1"
    report = keeper.report()
    assert (report.state, report.reason, report.failures, report.last_error) == (State.FRESH, None, 0, None)
    assert report.expires == clock.now() + timedelta(hours=1)
    assert report.refreshed == clock.now()


async def test_200_callers_at_the_start_wait_for_one_fetch(clock: FakeClock, stage: Stage) -> None:
    script = Script(clock, HOUR)
    script.gate.clear()
    keeper = stage(script)
    callers = [asyncio.create_task(keeper.get(patience=30)) for _ in range(200)]
    await script.next()
    script.gate.set()
    given = await asyncio.gather(*callers)
    assert {credentials.access_key for credentials in given} == {"AKIA1"}
    assert script.begun == 1


async def test_a_caller_at_the_start_waits_no_longer_than_its_patience(clock: FakeClock, stage: Stage) -> None:
    script = Script(clock, HOUR)
    script.gate.clear()
    keeper = stage(script)
    with pytest.raises(CredentialsUnavailable) as caught:
        await keeper.get(patience=0.01)
    assert caught.value.reason == "credentials_unavailable"
    assert str(caught.value) == "no credentials of test source: they have not been fetched yet"


async def test_200_callers_past_the_time_of_renewal_cause_one_fetch_and_wait_for_none(
    clock: FakeClock, naps: Naps, stage: Stage
) -> None:
    script = Script(clock, HOUR, HOUR)
    keeper = stage(script)
    await naps.next()
    script.gate.clear()
    clock.advance(0.75 * HOUR)
    given = await asyncio.gather(*(keeper.get() for _ in range(200)))
    assert {credentials.access_key for credentials in given} == {"AKIA1"}
    script.gate.set()
    await naps.next()
    assert keeper.current(clock.now()).access_key == "AKIA2"
    assert script.begun == 2


async def test_renewal_comes_at_60_to_75_percent_of_life_and_not_always_at_the_same(
    clock: FakeClock, naps: Naps, stage: Stage
) -> None:
    chance = random.Random(7)  # noqa: S311 - the same numbers on every run
    planned = []
    for _ in range(200):
        stage(Script(clock, HOUR), jitter=chance.uniform)
        planned.append(await naps.next())
    assert all(seconds is not None and 0.60 * HOUR <= seconds <= 0.75 * HOUR for seconds in planned)
    assert len(set(planned)) > 190


async def test_a_source_that_repeats_itself_until_the_end_is_not_asked_in_a_hurry(
    clock: FakeClock, naps: Naps, stage: Stage
) -> None:
    stage(Script(clock, 0.5))
    assert await naps.next() == 1.0


async def test_credentials_are_renewed_when_their_time_comes(clock: FakeClock, naps: Naps, stage: Stage) -> None:
    keeper = stage(Script(clock, HOUR, HOUR))
    assert await naps.next() == 0.75 * HOUR
    clock.advance(0.75 * HOUR)
    naps.elapse()
    assert await naps.next() == 0.75 * HOUR
    assert keeper.current(clock.now()).access_key == "AKIA2"


async def test_a_failed_renewal_keeps_the_old_credentials_to_their_very_end(
    clock: FakeClock, naps: Naps, stage: Stage
) -> None:
    script = Script(clock, HOUR, FetchError("STS is away"), FetchError("STS is still away"), HOUR)
    keeper = stage(script)
    await naps.next()
    clock.advance(0.75 * HOUR)
    naps.elapse()
    await naps.next()
    assert keeper.current(clock.now()).access_key == "AKIA1"
    report = keeper.report()
    assert (report.state, report.reason, report.failures) == (State.STALE_BUT_VALID, None, 1)
    assert report.last_error == "STS is away"

    clock.advance(0.25 * HOUR - 0.001)
    assert keeper.current(clock.now()).access_key == "AKIA1"
    await naps.next()

    clock.advance(0.001)
    gone = refusal(keeper, clock)
    assert gone.reason == "credentials_expired"
    assert "expired at 2026-05-01 13:00:00+00:00" in str(gone)
    assert str(gone).endswith("STS is still away")
    assert (keeper.report().state, keeper.report().reason) == (State.EXPIRED, Reason.CREDENTIALS_EXPIRED)

    naps.elapse()
    await naps.next()
    assert keeper.current(clock.now()).access_key == "AKIA4"
    assert (keeper.report().state, keeper.report().failures, keeper.report().last_error) == (State.FRESH, 0, None)
    assert stage.failures == 2


async def test_a_source_that_never_gave_anything_is_unavailable(clock: FakeClock, naps: Naps, stage: Stage) -> None:
    keeper = stage(Script(clock, FetchError("no role is attached")))
    await naps.next()
    gone = refusal(keeper, clock)
    assert gone.reason == "credentials_unavailable"
    assert str(gone) == "no credentials of test source: no role is attached"
    report = keeper.report()
    assert (report.state, report.reason, report.expires) == (State.EXPIRED, Reason.CREDENTIALS_UNAVAILABLE, None)


async def test_nobody_waits_for_a_source_that_is_failing(clock: FakeClock, naps: Naps, stage: Stage) -> None:
    script = Script(clock, FetchError("away"), HOUR)
    keeper = stage(script)
    await naps.next()
    script.gate.clear()
    naps.elapse()
    await script.next()
    await script.next()
    async with asyncio.timeout(5):
        with pytest.raises(CredentialsUnavailable):
            await keeper.get(patience=3600)


async def test_without_credentials_attempts_come_at_most_two_seconds_apart(
    clock: FakeClock, naps: Naps, stage: Stage
) -> None:
    stage(Script(clock, *(FetchError("away") for _ in range(6))))
    pauses = []
    for _ in range(6):
        pauses.append(await naps.next())
        naps.elapse()
    assert pauses == [0.5, 1.0, 2.0, 2.0, 2.0, 2.0]


async def test_with_valid_credentials_attempts_grow_rare_until_the_end_is_near(
    clock: FakeClock, naps: Naps, stage: Stage
) -> None:
    stage(Script(clock, 400.0, *(FetchError("away") for _ in range(12))))
    pauses = []
    for _ in range(12):
        seconds = await naps.next()
        assert seconds is not None
        pauses.append(seconds)
        clock.advance(seconds)
        naps.elapse()
    assert pauses[:8] == [300.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 8.5]
    # A minute before the end, and later.
    assert all(seconds <= 2.0 for seconds in pauses[8:])


async def test_the_pause_after_a_failure_is_between_half_and_all_of_the_limit(
    clock: FakeClock, naps: Naps, stage: Stage
) -> None:
    stage(Script(clock, FetchError("away")), jitter=lambda low, high: low)
    assert await naps.next() == 0.25


async def test_credentials_that_have_ended_already_are_not_accepted(clock: FakeClock, naps: Naps, stage: Stage) -> None:
    keeper = stage(Script(clock, HOUR, -1.0))
    await naps.next()
    clock.advance(0.75 * HOUR)
    naps.elapse()
    await naps.next()
    assert keeper.current(clock.now()).access_key == "AKIA1"
    assert "is the clock here right?" in (keeper.report().last_error or "")


async def test_no_second_fetch_joins_one_that_hangs_and_its_late_result_counts(
    clock: FakeClock, naps: Naps, stage: Stage
) -> None:
    script = Script(clock, HOUR)
    script.gate.clear()
    keeper = stage(script, attempt_limit=0.01)
    for _ in range(3):
        await naps.next()
        assert "has not answered for 0.01 seconds" in str(refusal(keeper, clock))
        naps.elapse()
    script.gate.set()
    while keeper.report().state is not State.FRESH:
        await naps.next()
        naps.elapse()
    assert script.begun == 1


async def test_held_credentials_without_an_end_are_never_fetched(clock: FakeClock, stage: Stage) -> None:
    script = Script(clock)
    keeper = stage(script, held=fetched(clock, "AKIASTATIC", None))
    keeper.doubt()
    clock.advance(1000 * HOUR)
    assert (await keeper.get()).access_key == "AKIASTATIC"
    assert keeper.close() is None
    assert script.begun == 0


async def test_fetched_credentials_without_an_end_are_not_fetched_again(clock: FakeClock, stage: Stage) -> None:
    script = Script(clock, None)
    keeper = stage(script)
    assert (await keeper.get(patience=30)).access_key == "AKIA1"
    clock.advance(1000 * HOUR)
    assert keeper.current(clock.now()).access_key == "AKIA1"
    task = keeper.close()
    assert task is not None
    await asyncio.wait({task})
    assert not task.cancelled()
    assert script.begun == 1


async def test_what_may_be_replaced_is_read_again(clock: FakeClock, naps: Naps, stage: Stage) -> None:
    keeper = stage(Script(clock, None, FetchError("no such file"), None), reread=5.0)
    assert await naps.next() == 5.0
    naps.elapse()
    assert await naps.next() == 0.5
    assert keeper.current(clock.now()).access_key == "AKIA1"
    assert keeper.report().state is State.STALE_BUT_VALID
    naps.elapse()
    await naps.next()
    assert keeper.current(clock.now()).access_key == "AKIA3"


async def test_one_that_is_not_eager_renews_when_somebody_asks(clock: FakeClock, naps: Naps, stage: Stage) -> None:
    script = Script(clock, HOUR, HOUR, HOUR)
    keeper = stage(script, eager=False)
    assert await naps.next() is None
    keeper.current(clock.now())
    clock.advance(0.8 * HOUR)
    assert keeper.current(clock.now()).access_key == "AKIA1"
    assert await naps.next() is None
    assert keeper.current(clock.now()).access_key == "AKIA2"
    clock.advance(2 * HOUR)
    assert (await keeper.get(patience=30)).access_key == "AKIA3"


async def test_one_that_is_not_eager_retries_for_the_caller_who_comes_after_the_pause(
    clock: FakeClock, naps: Naps, stage: Stage
) -> None:
    script = Script(clock, FetchError("away"), HOUR)
    keeper = stage(script, eager=False)
    assert await naps.next() is None
    with pytest.raises(CredentialsUnavailable):
        await keeper.get(patience=30)
    assert script.begun == 1
    clock.advance(0.5)
    assert (await keeper.get(patience=30)).access_key == "AKIA2"


async def test_one_that_is_not_eager_is_idle_a_minute_after_the_last_interest(
    clock: FakeClock, naps: Naps, stage: Stage
) -> None:
    lazy, eager = stage(Script(clock, HOUR), eager=False), stage(Script(clock, HOUR))
    await naps.next()
    await naps.next()
    assert not lazy.is_idle(clock.now())
    clock.advance(2 * HOUR)
    assert lazy.is_idle(clock.now())
    assert not eager.is_idle(clock.now())


async def test_a_machine_that_slept_past_the_end_renews_for_the_first_caller(
    clock: FakeClock, naps: Naps, stage: Stage
) -> None:
    keeper = stage(Script(clock, HOUR, HOUR))
    await naps.next()
    clock.advance(10 * HOUR)
    assert (await keeper.get(patience=30)).access_key == "AKIA2"


async def test_doubted_credentials_are_fetched_again_but_kept_meanwhile(
    clock: FakeClock, naps: Naps, stage: Stage
) -> None:
    script = Script(clock, HOUR, HOUR, HOUR)
    keeper = stage(script)
    await naps.next()
    first = keeper.current(clock.now())
    script.gate.clear()
    keeper.doubt()
    assert keeper.current(clock.now()) == first
    script.gate.set()
    await naps.next()
    second = keeper.current(clock.now())
    assert second.access_key == "AKIA2"

    # Again, too soon.
    keeper.doubt()
    for _ in range(5):
        await asyncio.sleep(0)
    assert script.begun == 2
    clock.advance(5)
    keeper.doubt()
    await naps.next()
    assert script.begun == 3


async def test_closing_ends_the_fetch_and_lets_callers_go(clock: FakeClock, stage: Stage) -> None:
    script = Script(clock, HOUR)
    script.gate.clear()
    keeper = stage(script)
    caller = asyncio.create_task(keeper.get(patience=3600))
    await script.next()
    task = keeper.close()
    assert task is not None
    with pytest.raises(CredentialsUnavailable):
        await caller
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [left for left in asyncio.all_tasks() if left is not asyncio.current_task()] == []


async def test_valid_credentials_outlive_their_keeper(clock: FakeClock, naps: Naps, stage: Stage) -> None:
    keeper = stage(Script(clock, HOUR))
    await naps.next()
    keeper.close()
    assert (await keeper.get()).access_key == "AKIA1"
    clock.advance(HOUR)
    assert refusal(keeper, clock).reason == "credentials_expired"


async def test_neither_logs_nor_reports_nor_refusals_hold_a_secret(
    clock: FakeClock, naps: Naps, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    keeper = stage(Script(clock, HOUR, RuntimeError(CANARY), HOUR))
    await naps.next()
    clock.advance(0.75 * HOUR)
    naps.elapse()
    await naps.next()
    assert keeper.report().last_error == "the source gave no credentials (RuntimeError)"
    shown = repr(keeper.report()) + repr(keeper.current(clock.now()))
    clock.advance(HOUR)
    shown += str(refusal(keeper, clock)) + repr(keeper.report())
    await naps.next()
    assert "those held are used until 2026-05-01 13:00:00+00:00" in caplog.text
    assert "renewed after 1 failures" in caplog.text
    assert CANARY not in shown + caplog.text


async def test_a_pause_ends_with_its_event_or_its_time() -> None:
    event = asyncio.Event()
    await wait_for_event(event, 0.001)
    assert not event.is_set()
    event.set()
    await wait_for_event(event, None)
