"""Keys of the store while they are in use: revoked, expired, rotated, limited, and with the store taken away."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from apostille.model.limits import Limits, Period, Quota
from tests.e2e.key_stage import DOWN, GOOD, LIMITED, REFUSED, accepted, in_seconds, key_stage, told
from tests.e2e.open_loop import OpenLoop
from tests.e2e.stage import tell
from tests.e2e.test_processes import _ended
from tests.e2e.wire import Message, ask, emit_request
from tests.unit.keys.valkey import make_key


@pytest.fixture
def state(socket_dir: Path) -> Path:
    return socket_dir / "state"


async def test_a_revoked_key_is_refused_by_every_worker_within_a_second(tmp_path: Path, state: Path) -> None:
    async with key_stage(tmp_path, state) as it:
        revoked, other = await it.make(), await it.make()
        async with it.asking(revoked.key, rate=700) as loop, it.asking(other.key, rate=300) as others:
            await loop.wait_steady(*GOOD, count=300)
            before = await it.decided()
            assert len(before) == 2
            await it.store.revoke(revoked.record.id)
            revocation = time.time()
            await loop.wait_for(lambda: loop.outcomes[-1].sent > revocation + 1.0)
            await loop.wait_steady(*REFUSED, count=300)
            await others.wait_steady(*GOOD)
            after = await it.decided()
        late = accepted([each for each in loop.outcomes if each.sent > revocation])
        last = max((each.sent - revocation for each in late), default=0.0)
        tell(f"accepted after the revocation: {len(late)}, the last one sent {last * 1000:.0f} ms after it")
        assert last <= 1.0
        assert told(loop.outcomes) == {GOOD, REFUSED}
        assert told(others.outcomes) == {GOOD}
        # Both workers were asked after it, and neither let anybody in.
        assert all(after[worker] > before[worker] for worker in before)


async def test_a_killed_store_costs_no_known_key_a_request_and_nobody_is_called_unknown(
    tmp_path: Path, state: Path
) -> None:
    async with key_stage(tmp_path, state) as it:
        known, revoked = await it.make(), await it.make()
        strangers = [await it.make() for _ in range(100)]
        await it.store.revoke(revoked.record.id)
        before = await it.everything()
        async with (
            it.asking(known.key, rate=300) as loop,
            it.asking(make_key("live").key.reveal(), rate=100) as unknown,
            it.asking(revoked.key, rate=100) as refused,
        ):
            await loop.wait_steady(*GOOD)
            await unknown.wait_steady(*REFUSED)
            await refused.wait_steady(*REFUSED)
            store, since = it.run.pid("keys"), len(it.run.err.all)
            os.kill(store, signal.SIGKILL)
            await _ended(store)
            # Keys that are in the store, and that no worker has seen.
            shown = [asyncio.create_task(ask(it.run.port, _request(each.key))) for each in strangers]
            answers = Counter(_told(answer) for answer in await asyncio.gather(*shown))
            back = await it.run.wait_back("keys", since=since)
            await unknown.wait_steady(*REFUSED)
            await refused.wait_steady(*REFUSED)
            await loop.wait_steady(*GOOD)
        tell(f"ready {back['seconds']:.2f} s after its restart; unknown: {Counter(o.told for o in unknown.outcomes)}")
        assert told(loop.outcomes) == {GOOD}
        assert told(unknown.outcomes) == {REFUSED, DOWN}
        # It may be known as revoked, or not be known: let in it is not.
        assert told(refused.outcomes) <= {REFUSED, DOWN}
        assert answers.keys() <= {GOOD, DOWN}
        assert answers[DOWN]
        for each in strangers:
            assert _told(await ask(it.run.port, _request(each.key))) == GOOD
        assert revoked.record.id in before
        assert await it.everything() == before
        started = [line["name"] for line in it.run.err.all[since:] if line.get("event") == "process.started"]
        assert started == ["keys"]


async def test_a_key_begins_and_ends_to_the_second_and_its_successor_goes_on(tmp_path: Path, state: Path) -> None:
    """Who was accepted was asked about before the end, who was refused was told so after it."""
    async with key_stage(tmp_path, state) as it:
        moment = in_seconds(2)
        ending, beginning = await it.make(expires=moment), await it.make(not_before=moment)
        retiring, successor = await it.make(), await it.prepare()
        async with (
            it.asking(ending.key, rate=100) as ends,
            it.asking(beginning.key, rate=100) as begins,
            it.asking(retiring.key, rate=100) as old,
        ):
            await old.wait_steady(*GOOD, count=20)
            await it.store.rotate(retiring.record, successor.record, moment)
            async with it.asking(successor.key, rate=100) as new:
                await ends.wait_steady(*REFUSED)
                await begins.wait_steady(*GOOD)
                await old.wait_steady(*REFUSED)
                await new.wait_steady(*GOOD)
        at = moment.timestamp()
        for loop in (ends, old):
            _assert_turns(loop, at, before=GOOD, after=REFUSED)
        _assert_turns(begins, at, before=REFUSED, after=GOOD)
        assert told(new.outcomes) == {GOOD}


async def test_a_quota_is_one_for_all_workers(tmp_path: Path, state: Path) -> None:
    async with key_stage(tmp_path, state) as it:
        made = await it.make(limits=Limits(quotas=(Quota(requests=200, period=Period.MONTH),)))
        before = await it.decided()
        async with it.asking(made.key, rate=500) as loop:
            await loop.wait_steady(*LIMITED, count=200)
        after = await it.decided()
        assert len(after) == 2
        assert all(after[worker] > before.get(worker, 0) for worker in after)
        assert Counter(each.told for each in loop.outcomes)[GOOD] == 200
        assert told(loop.outcomes) == {GOOD, LIMITED}
        refused = next(each.answer for each in loop.outcomes if each.told == LIMITED)
        assert refused is not None
        assert refused.values("retry-after")[0].isdigit()


def _assert_turns(loop: OpenLoop, at: float, *, before: tuple[int, str], after: tuple[int, str]) -> None:
    assert told(loop.outcomes) == {before, after}
    assert all(each.sent < at for each in loop.outcomes if each.told == before)
    assert all(each.ended >= at for each in loop.outcomes if each.told == after)


def _request(key: str) -> bytes:
    return emit_request("GET", "/orders/x", [("api-key", key)])


def _told(answer: Message) -> tuple[int, str]:
    return answer.status, ",".join(answer.values("x-apostille-reason"))
