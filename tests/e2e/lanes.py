"""The comparison of lanes for as long as one likes: ``python -m tests.e2e.lanes --minutes 30``.

A world is one pair of gateways with random policies, and some thousand random requests to both. All of them follow from
a seed: ``--seed`` and ``--world`` bring a world back. Ends with 1 where the lanes differ.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.e2e.lane_pair import Difference, Pair, start_pair
from tests.e2e.lane_requests import Ask, make_ask
from tests.e2e.lane_worlds import World, make_world

_AT_ONCE = 8
# Differences in one world, after which the rest of it is left: they are mostly the same.
_ENOUGH = 5


@dataclass(slots=True, kw_only=True)
class Tally:
    """`inside`: requests that Envoy decided itself where the other side asked the auth service. `reached`: those that
    got as far as the upstream. `statuses`: of the answers."""

    requests: int = 0
    inside: int = 0
    reached: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        self.requests += other.requests
        self.inside += other.inside
        self.reached += other.reached
        self.statuses += other.statuses
        self.differences += other.differences

    def __str__(self) -> str:
        return (
            f"{self.requests} requests, {self.reached} reached the upstream, {self.inside} were decided inside Envoy, "
            f"{len(self.differences)} differences"
        )


def make_asks(seed: int, number: int, count: int) -> tuple[World, list[Ask]]:
    # A text, since a pair of numbers has no hash that is the same for every process.
    random = Random(f"{seed}/{number}")  # noqa: S311 - not for secrets
    world = make_world(random)
    return world, [make_ask(random, world) for _ in range(count)]


async def compare_world(seed: int, number: int, count: int) -> Tally:
    world, asks = make_asks(seed, number, count)
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="ap-") as folder:
        async with start_pair(world, Path(folder)) as pair:
            waiting = iter(asks)
            await asyncio.gather(*(_work(pair, waiting, tally) for _ in range(_AT_ONCE)))
            tally.inside = await pair.service.decisions() - await pair.envoy.decisions()
            tally.differences = [await pair.simplest(each) for each in tally.differences]
    return tally


async def _work(pair: Pair, asks: Iterator[Ask], tally: Tally) -> None:
    async with pair.connections() as connections:
        for ask in asks:
            if len(tally.differences) >= _ENOUGH:
                return
            outcome, difference = await pair.compare(connections, ask)
            tally.requests += 1
            tally.statuses[outcome.line.partition(" ")[2]] += 1
            tally.reached += bool(outcome.sent)
            if difference is not None:
                tally.differences.append(difference)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--world", type=int, default=None, help="only this one")
    parser.add_argument("--requests", type=int, default=3000, help="per world")
    arguments = parser.parse_args()
    end = time.monotonic() + arguments.minutes * 60
    whole = Tally()
    number = arguments.world or 0
    while True:
        tally = asyncio.run(compare_world(arguments.seed, number, arguments.requests))
        whole.add(tally)
        for difference in tally.differences:
            _tell(f"--seed {arguments.seed} --world {number}: {difference}")
        _tell(f"world {number} of seed {arguments.seed}: {whole}")
        number += 1
        if arguments.world is not None or time.monotonic() >= end:
            _tell(str(dict(whole.statuses.most_common())))
            return 1 if whole.differences else 0


def _tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
