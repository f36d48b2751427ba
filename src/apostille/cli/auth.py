"""``apostille auth``: one auth worker. `apostille run` starts as many as it was told."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer


def auth(
    name: Annotated[str, typer.Option(help="What the control plane calls this worker.")],
    socket: Annotated[Path, typer.Option(help="Unix socket to answer Envoy on.")],
    xds_socket: Annotated[Path, typer.Option(help="Unix socket of the control plane.")],
) -> None:
    """Answer Envoy's question who is calling, and whether they may."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(name, socket, xds_socket))


async def _run(name: str, socket: Path, xds_socket: Path) -> None:
    from apostille.cli.signals import stop_on_signals
    from apostille.control.worker import run_worker
    from apostille.observe.logs import start_logs

    start_logs()
    await run_worker(
        name=name, socket=socket, xds_socket=xds_socket, environment=dict(os.environ), stop=stop_on_signals()
    )
