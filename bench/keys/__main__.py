"""``python -m bench.keys``: what a million API keys cost, and whether refusals tell anything; some minutes."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from bench.accounting import family, read_busy_ns, read_threads, spent
from bench.keys import checking, loading, remembering, timing
from bench.keys.gateway import Site, run_site
from bench.keys.records import Made, make_keys
from bench.keys.table import emit_table
from bench.machine import describe

PARTS = ("load", "restart", "check", "timing")
OUTPUT = Path(__file__).resolve().parents[2] / "build" / "bench" / "keys.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """`samples` of each kind at the door; a tenth of them through the gateway."""

    keys: int = 1_000_000
    rounds: int = 8
    round_seconds: float = 4.0
    samples: int = 100_000


QUICK = Effort(keys=50_000, rounds=2, round_seconds=2.0, samples=5_000)


Figures = dict[str, Any]


async def measure(effort: Effort, parts: frozenset[str], say: Callable[[str], None]) -> Figures:
    chance = random.Random()  # noqa: S311 - an order, no secret
    found: Figures = {"machine": asdict(describe()), "effort": asdict(effort)}
    keep = partial(_keep, found, say)
    with tempfile.TemporaryDirectory(prefix="ab-") as name:
        folder = Path(name)
        async with run_site() as many, run_site() as few:
            made, some = await _make(effort, many, few, folder, say)
            await keep("load", loading.load(many, made))
            await loading.load(few, some)
            if "restart" in parts:
                await keep("restart", loading.restart(many, made, chance))
            if "check" in parts:
                await keep("worker", remembering.remember(many, made.keys))
                both = (few, some.keys), (many, made.keys)
                await keep("check", checking.check(*both, folder, rounds=effort.rounds, seconds=effort.round_seconds))
            if "timing" in parts:
                await keep("door", timing.at_the_door(many.settings, made.keys, effort.samples, chance))
                await keep("gateway", timing.at_the_gateway(many.port, made.keys, effort.samples // 10, chance))
            if "load" in parts:
                await keep("records", loading.load_records(few, made))
    return found


async def _make(effort: Effort, many: Site, few: Site, folder: Path, say: Callable[[str], None]) -> tuple[Made, Made]:
    began = time.perf_counter()
    made = await asyncio.to_thread(make_keys, effort.keys, many.pepper, folder / "many")
    some = await asyncio.to_thread(make_keys, checking.FEW, few.pepper, folder / "few")
    say(f"{effort.keys} keys made in {time.perf_counter() - began:.0f} s")
    return made, some


async def _keep(found: Figures, say: Callable[[str], None], name: str, deed: Awaitable[Mapping[str, Any]]) -> None:
    """Beside the figures: how long the part took, and how many processors others kept busy meanwhile."""
    own = frozenset({os.getpid()})
    busy, threads, children, began = read_busy_ns(), read_threads(family(own)), _children_seconds(), time.perf_counter()
    figures = await deed
    seconds = time.perf_counter() - began
    ours = spent(threads, read_threads(family(own))) / 1e9 + _children_seconds() - children
    others = (read_busy_ns() - busy) / 1e9 - ours
    found[name] = {**figures, "took": seconds, "others": max(0.0, others / seconds)}
    say(f"{name}: {json.dumps(found[name])}")


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.keys", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(PARTS)}; all without")
    parser.add_argument("--quick", action="store_true", help="fewer keys and samples: whether it works")
    parser.add_argument("--keys", type=int, help="how many keys instead of a million")
    arguments = parser.parse_args()
    parts = frozenset(arguments.parts or PARTS)
    if not parts <= set(PARTS):
        parser.error(f"write some of {', '.join(PARTS)}")
    effort = QUICK if arguments.quick else Effort()
    if arguments.keys:
        effort = replace(effort, keys=max(arguments.keys, 2 * checking.FEW))
    found = asyncio.run(measure(effort, parts, lambda text: print(text, file=sys.stderr, flush=True)))
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    print(emit_table(found), file=sys.stderr)


if __name__ == "__main__":
    main()
