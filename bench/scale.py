"""``python -m bench.scale``: 10,000 routes translated, and one of them changed while requests go through."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp

from apostille.base.errors import ChildError, StartError
from apostille.control.app import compile_judging
from apostille.control.candidate import prove_with_envoy
from apostille.control.reading import Reader
from apostille.sources.files import FilesSource
from apostille.translate.pipeline import translate
from apostille.xds.configuration import emit_snapshot
from apostille.xds.routes import RouteCache
from bench.accounting import read_peak_bytes, read_pss_bytes, read_rss_bytes
from bench.design import API_KEY, KEY_HEADER
from bench.designs.apostille_gateway import Gateway, run_gateway
from bench.envoy_config import route_prefix, upstream_config
from bench.load import Outcome, Target, run_rate
from bench.manifests import ROUTES_A_TABLE, manifests, object_path, route_table, table_file
from bench.processes import run_envoy
from bench.runner import find_cores

ROUTES = 10_000
# In the middle, so that neither end of a list is what is measured.
_CHANGED = 5_042
_RATE = 200.0
_WITHIN_SECONDS = 30.0
# Envoy gives memory back that nothing has needed for a minute; see `bytes_to_release` in its bootstrap.
_REST_SECONDS = 90.0

Figures = dict[str, Any]


async def measure(*, quick: bool, say: Callable[[str], None], routes: int = ROUTES) -> Figures:
    translation = await _translation(routes, repeats=1 if quick else 3)
    say(f"translation of {routes} routes: {translation}")
    try:
        change = await _change(routes, changes=2 if quick else 5, rest=0.0 if quick else _REST_SECONDS)
    except (StartError, ChildError, TimeoutError) as error:
        change = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
    say(f"one change among {routes} routes: {change}")
    return {"routes": routes, "translation": translation, "change": change}


async def _translation(routes: int, *, repeats: int) -> Figures:
    """Seconds of each part of the way from texts to what Envoy is sent, nothing cached; medians."""
    judging = compile_judging(address="127.0.0.1", ports={"8080": 0}, envoy=None)
    times: dict[str, list[float]] = {"read": [], "translate": [], "emit": [], "prove": []}
    with tempfile.TemporaryDirectory(prefix="ab-") as name:
        folder = Path(name)
        for file, text in manifests(9, routes=routes).items():
            (folder / file).write_text(text)
        for _ in range(repeats):
            clock = [time.perf_counter()]
            reading = Reader().read(FilesSource(folder).read())
            clock.append(time.perf_counter())
            gateway = translate(reading.snapshot, judging.steps, judging.integrations, judging.ports).gateway
            clock.append(time.perf_counter())
            emit_snapshot(gateway, judging.site, RouteCache())
            clock.append(time.perf_counter())
            await prove_with_envoy(gateway, judging)
            clock.append(time.perf_counter())
            for part, began, ended in zip(times, clock[:-1], clock[1:], strict=True):
                times[part].append(ended - began)
    return {part: median(values) for part, values in times.items()}


async def _change(routes: int, *, changes: int, rest: float) -> Figures:
    """Seconds from writing a file until the change is served, with requests going through all the while. `rest`:
    seconds from the last change until memory is read once more."""
    number = min(_CHANGED, routes - 1)
    first = number - number % ROUTES_A_TABLE
    numbers = range(first, min(first + ROUTES_A_TABLE, routes))
    async with _gateway(routes, says={number: "word-0"}, numbers=numbers) as (gateway, began):
        seconds: list[float] = []
        target = Target(port=gateway.port, path=object_path(routes), headers=((KEY_HEADER, API_KEY),))
        stop = asyncio.Event()
        load = asyncio.create_task(_load_until(stop, target))
        for turn in range(1, changes + 1):
            word = f"word-{turn}"
            _replace(gateway.manifests / table_file(first), route_table(numbers, says={number: word}))
            seconds.append(await _until_said(gateway.port, f"{route_prefix(number)}x", word))
        stop.set()
        outcomes = await load
        envoy = gateway.children()["envoy"]
        rss_after_changes = read_rss_bytes(envoy)
        await asyncio.sleep(rest)
        return {
            "start_seconds": began,
            "seconds": median(seconds),
            "longest": max(seconds),
            "changes": changes,
            "requests": sum(each.requests for each in outcomes),
            "failed": sum(each.failed for each in outcomes),
            "p99": max(each.p99 for each in outcomes),
            "envoy_rss_bytes": read_rss_bytes(envoy),
            "envoy_rss_after_changes_bytes": rss_after_changes,
            "envoy_peak_bytes": read_peak_bytes(envoy),
            "pss_bytes": {name: read_pss_bytes((pid,)) for name, pid in gateway.children().items()},
        }


@asynccontextmanager
async def _gateway(routes: int, *, says: dict[int, str], numbers: range) -> AsyncIterator[tuple[Gateway, float]]:
    """A gateway with so many routes, one table of which says something; and the seconds that its start took."""
    folder = Path(tempfile.mkdtemp(prefix="ab-"))
    try:
        async with run_envoy(upstream_config(), folder / "upstream", workers=1) as (_, upstream):
            files = {
                **manifests(upstream, routes=routes),
                table_file(numbers[0]): route_table(numbers, says=says),
            }
            began = time.perf_counter()
            async with run_gateway(files, folder) as gateway:
                yield gateway, time.perf_counter() - began
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _load_until(stop: asyncio.Event, target: Target) -> list[Outcome]:
    outcomes = []
    while not stop.is_set():
        outcomes.append(await run_rate(target, 1.0, find_cores().all, _RATE))
    return outcomes


async def _until_said(port: int, path: str, word: str) -> float:
    began = time.perf_counter()
    async with asyncio.timeout(_WITHIN_SECONDS), aiohttp.ClientSession() as http:
        while True:
            async with http.get(f"http://127.0.0.1:{port}{path}") as answer:
                if await answer.text() == word:
                    return time.perf_counter() - began
            await asyncio.sleep(0.005)


def _replace(file: Path, text: str) -> None:
    """As an editor does it: the file is whole at any time."""
    written = file.parent.parent / file.name
    written.write_text(text)
    written.rename(file)


def main() -> None:
    def say(text: str) -> None:
        sys.stderr.write(f"{text}\n")

    found = asyncio.run(measure(quick=False, say=say, routes=int(sys.argv[1]) if len(sys.argv) > 1 else ROUTES))
    sys.stdout.write(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
