"""Load on one port, by wrk where it is installed and by `bench.generator` otherwise; fixed rates always by the latter.

It must not know what is measured.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
from asyncio.subprocess import PIPE
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from apostille.base.errors import StartError
from apostille.proxy.spawn import kill_session, spawn
from bench.generator import Wanted

_GENERATOR = Path(__file__).with_name("generator.py")
CONNECTIONS = 50
RATE = 500.0
_RATE_CONNECTIONS = 32
_GRACE_SECONDS = 30.0

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What every request of a load is: GET of `path` at 127.0.0.1:`port`.

    `varying`: name of a header whose value is another one in each request, and a file with the values, one a line.
    `status`: that of a good answer.
    """

    port: int
    path: str
    headers: Headers = ()
    varying: tuple[str, Path] | None = None
    status: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """`seconds` is how long requests were sent; the latencies are in seconds too."""

    requests: int
    failed: int
    seconds: float
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return (self.requests - self.failed) / self.seconds


def find_wrk() -> str | None:
    return shutil.which("wrk")


async def run_full(target: Target, seconds: int, cores: frozenset[int]) -> Outcome:
    """As fast as answers come, over 50 connections."""
    wrk = find_wrk()
    if wrk is None or target.varying is not None or target.status != 200:
        return await _generate(target, seconds, cores, connections=CONNECTIONS)
    named = [part for name, value in target.headers for part in ("-H", f"{name}: {value}")]
    argv = (wrk, "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", *named)
    return parse_wrk(await _run((*argv, f"http://127.0.0.1:{target.port}{target.path}"), seconds, cores))


async def run_rate(target: Target, seconds: float, cores: frozenset[int], rate: float = RATE) -> Outcome:
    """So many requests a second, whatever the answers do; latency counts from the time a request was due."""
    return await _generate(target, seconds, cores, connections=_RATE_CONNECTIONS, rate=rate)


async def _generate(
    target: Target, seconds: float, cores: frozenset[int], *, connections: int, rate: float | None = None
) -> Outcome:
    wanted = Wanted(
        port=target.port,
        path=target.path,
        headers=list(target.headers),
        connections=connections,
        seconds=seconds,
        rate=rate,
        varying=None if target.varying is None else (target.varying[0], str(target.varying[1])),
        status=target.status,
    )
    said = json.loads(await _run((sys.executable, "-I", str(_GENERATOR), json.dumps(asdict(wanted))), seconds, cores))
    return Outcome(
        requests=said["requests"],
        failed=said["failed"],
        seconds=said["seconds"],
        p50=said["p50"] or 0.0,
        p99=said["p99"] or 0.0,
    )


async def _run(argv: Sequence[str], seconds: float, cores: frozenset[int]) -> str:
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        process = await spawn(argv, env={"PATH": os.defpath}, stdout=PIPE, stderr=PIPE)
    finally:
        os.sched_setaffinity(0, own)
    try:
        out, err = await asyncio.wait_for(process.communicate(), seconds + _GRACE_SECONDS)
    finally:
        if process.returncode is None:
            kill_session(process)
            await process.wait()
    if process.returncode != 0:
        raise StartError(f"{argv[0]} ended with {process.returncode}: {err.decode(errors='replace').strip()}")
    return out.decode()


_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


def parse_wrk(text: str) -> Outcome:
    """What wrk prints with ``--latency``. Raises ValueError for anything else."""
    total = re.search(r"^\s*(\d+) requests in ([\d.]+)(us|ms|s|m)", text, re.MULTILINE)
    quantiles = {share: _seconds(*found) for share, *found in re.findall(r"(\d+)%\s+([\d.]+)(us|ms|s|m)\b", text)}
    if total is None or not {"50", "99"} <= quantiles.keys():
        raise ValueError(f"this is not what wrk prints: {text!r}")
    failed = sum(int(count) for count in re.findall(r"Non-2xx or 3xx responses: (\d+)", text))
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    failed += sum(int(count) for count in errors.groups()) if errors else 0
    return Outcome(
        requests=int(total[1]),
        failed=failed,
        seconds=_seconds(total[2], total[3]),
        p50=quantiles["50"],
        p99=quantiles["99"],
    )


def _seconds(number: str, unit: str) -> float:
    return float(number) * _UNITS[unit]
