"""Whether the time of a refusal tells which ids exist: a wrong secret for a known id against an unknown id."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from apostille.base.clock import SystemClock
from apostille.keys.opening import StoreDoor
from apostille.keys.outcome import Holder, Refusal, Why
from apostille.keys.settings import KeySettings
from apostille.model.scopes import NOTHING, Asked
from bench.design import WrongAnswer
from bench.keys.gateway import PATH
from bench.keys.records import draw, forge, make_unknown
from bench.keys.statistics import compare, quantile
from bench.keys.wire import Caller

WRONG, UNKNOWN = "wrong secret", "unknown id"
_POOL = 2_000
_ASKED = Asked(method="GET", host="gateway.example", path="/orders/1")

Ask = Callable[[str], Awaitable[None]]


async def at_the_door(
    settings: KeySettings, keys: Sequence[str], samples: int, chance: random.Random
) -> Mapping[str, Any]:
    """`KeyDoor.open` in this process, of known ids that are in memory; and of as many that are not yet."""
    warm, cold = keys[:_POOL], keys[_POOL : _POOL + samples // 10]
    async with aclosing(StoreDoor(settings, SystemClock())) as door:

        async def ask(key: str) -> None:
            answer = await door.open(key, _ASKED, NOTHING)
            if not isinstance(answer, Refusal) or answer.why is not Why.UNKNOWN:
                raise WrongAnswer(str(answer))

        for key in warm:
            if not isinstance(await door.open(key, _ASKED, NOTHING), Holder):
                raise WrongAnswer("a key is refused")
        found = await _compared(ask, _shown(warm, samples, chance), chance)
        # Each of them is in memory once it has been asked for, so each is asked for once.
        first = await _compared(ask, {WRONG: [forge(key) for key in cold], UNKNOWN: make_unknown(len(cold))}, chance)
    return {"in memory": found, "not in memory": first}


async def at_the_gateway(port: int, keys: Sequence[str], samples: int, chance: random.Random) -> Mapping[str, Any]:
    """The same through Envoy and the workers, one request after another."""
    warm = keys[:_POOL]
    async with Caller(port, PATH) as caller:

        async def ask(key: str, expected: int = 401) -> None:
            status = await caller.ask(key)
            if status != expected:
                raise WrongAnswer(f"{status} instead of {expected}")

        # Each worker gets to know them.
        for _ in range(4):
            for key in warm:
                await ask(key, 200)
        return {"in memory": await _compared(ask, _shown(warm, samples, chance), chance)}


def _shown(warm: Sequence[str], samples: int, chance: random.Random) -> dict[str, list[str]]:
    wrong, unknown = [forge(key) for key in warm], make_unknown(len(warm))
    return {WRONG: draw(wrong, samples, chance), UNKNOWN: draw(unknown, samples, chance)}


async def _compared(ask: Ask, shown: Mapping[str, Sequence[str]], chance: random.Random) -> Mapping[str, Any]:
    """Every one of `shown` once, in random order, one after another."""
    order = [(what, key) for what, keys in shown.items() for key in keys]
    chance.shuffle(order)
    times: dict[str, list[float]] = {what: [] for what in shown}
    for what, key in order:
        began = time.perf_counter_ns()
        await ask(key)
        times[what].append((time.perf_counter_ns() - began) / 1000)
        # The tasks of the door get their turn outside of what is measured.
        await asyncio.sleep(0)
    difference = compare(times[WRONG], times[UNKNOWN], chance)
    return {
        "samples": len(times[WRONG]),
        "median_us": dict(zip((WRONG, UNKNOWN), difference.medians, strict=True)),
        "p99_us": {what: quantile(sorted(values), 0.99) for what, values in times.items()},
        "difference_us": difference.of_medians,
        "between_us": [difference.low, difference.high],
        "z": difference.z,
        "chance": difference.is_chance,
        "good": difference.is_chance or abs(difference.of_medians) < 5,
    }
