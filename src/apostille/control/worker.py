"""One auth worker, put together: programs come in over ADS, questions over its socket."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from prometheus_client import CollectorRegistry

from apostille.auth.contract import StepTools
from apostille.auth.decisions import DecisionLog, DecisionMetrics, json_logger
from apostille.auth.feed import Feed
from apostille.auth.keyrings import KeyRingStore
from apostille.auth.outbound import open_session
from apostille.auth.programs import Programs
from apostille.auth.server import AuthService, serve_auth
from apostille.base.clock import SystemClock
from apostille.steps import STEPS


async def run_worker(*, name: str, socket: Path, xds_socket: Path, stop: asyncio.Event) -> None:
    """Serve until `stop` is set. `name` is what the control plane calls this worker.

    The socket opens once the first programs are there: a worker that knows nothing would deny everything.
    """
    clock = SystemClock()
    registry = CollectorRegistry()
    keyrings = KeyRingStore()
    async with open_session() as http:
        tools = StepTools(clock=clock, keyrings=keyrings, http=http)
        programs = Programs({kind.name: kind for kind in STEPS}, tools, keyrings)
        service = AuthService(
            programs=programs,
            log=DecisionLog(json_logger(sys.stderr), clock),
            metrics=DecisionMetrics(registry),
            registry=registry,
            clock=clock,
        )
        feed = Feed(xds_socket, programs, node=name)
        feeding = asyncio.create_task(feed.run(), name="feed")
        try:
            await feed.first_sync.wait()
            await serve_auth(socket, service, stop)
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
