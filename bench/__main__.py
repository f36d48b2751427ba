"""``python -m bench``: measure everything, print the table, keep the figures and write the page."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from bench import scale, signing
from bench.designs import DESIGNS
from bench.load import RATE
from bench.machine import describe
from bench.page import emit_page
from bench.plot import emit_plot
from bench.report import Report, emit_report, emit_terminal, parse_report
from bench.runner import FULL, QUICK, Bench, compile_row

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "build" / "bench"
_QUICK_SCALE = 1_000
FIGURES = OUTPUT / "figures.json"
LARGE = OUTPUT / "large_objects.json"
PAGE = ROOT / "docs" / "reference" / "performance.md"


def main() -> None:
    arguments = _parse()
    if arguments.render:
        _write_page(parse_report(json.loads(FIGURES.read_text())), arguments.page or PAGE)
        return
    effort = QUICK if arguments.quick else FULL
    if arguments.starts:
        effort = replace(effort, starts=arguments.starts, scale_starts=arguments.starts)
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(10_000)
    chosen = [each for each in DESIGNS if arguments.only in each.name]
    if arguments.quick and not arguments.only:
        chosen = [each for each in chosen if each.group == "main" or each.scale == _QUICK_SCALE]
    began = time.monotonic()
    _say(f"seed {seed}; {effort.starts} fresh starts of each design ({effort.scale_starts} with many routes or keys)")
    bench = Bench(chosen, effort, seed=seed, say=_say)
    asyncio.run(bench.run())
    found = Report(
        machine=describe(),
        when=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        minutes=0.0,
        seed=seed,
        quick=arguments.quick,
        starts=effort.starts,
        scale_starts=effort.scale_starts,
        round_seconds=effort.round_seconds,
        rate=RATE,
        rows=tuple(compile_row(each) for each in bench.measured.values()),
    )
    if not arguments.only:
        found = replace(
            found,
            signing=signing.measure(quick=arguments.quick),
            scale=asyncio.run(
                scale.measure(quick=arguments.quick, say=_say, routes=_QUICK_SCALE if arguments.quick else scale.ROUTES)
            ),
        )
    found = replace(found, minutes=round((time.monotonic() - began) / 60, 1))
    OUTPUT.mkdir(parents=True, exist_ok=True)
    FIGURES.write_text(json.dumps(emit_report(found), indent=1))
    print(emit_terminal(found))
    _say(f"raw figures: {FIGURES}")
    # Half a measurement must not stand in the manual.
    whole = not arguments.quick and not arguments.only
    _write_page(found, arguments.page or (PAGE if whole else OUTPUT / PAGE.name))


def _write_page(found: Report, page: Path) -> None:
    found = replace(found, large=json.loads(LARGE.read_text()) if LARGE.is_file() else None)
    page.write_text(emit_page(found, plot=f"{page.stem}.svg"))
    page.with_suffix(".svg").write_text(emit_plot(found))
    _say(f"page: {page}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="some minutes: few starts, short rounds")
    parser.add_argument("--only", default="", metavar="TEXT", help="designs whose name holds this text")
    parser.add_argument("--starts", type=int, metavar="N", help="fresh starts of each design")
    parser.add_argument("--seed", type=int, help="repeat the order of an earlier run")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the page there")
    parser.add_argument("--render", action="store_true", help="measure nothing; write the page from the last figures")
    return parser.parse_args()


if __name__ == "__main__":
    main()
