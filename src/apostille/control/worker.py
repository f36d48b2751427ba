"""One auth worker, put together: programs come in over ADS, questions over its socket."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

from prometheus_client import CollectorRegistry

from apostille.auth.client import open_session
from apostille.auth.contract import StepTools
from apostille.auth.decisions import DecisionLog, DecisionMetrics, json_logger
from apostille.auth.feed import Feed
from apostille.auth.keyrings import KeyRingStore
from apostille.auth.programs import Programs, Signing
from apostille.auth.server import AuthService, serve_auth
from apostille.auth.upstreams import UpstreamStore
from apostille.base.clock import SystemClock
from apostille.credentials.keeper import KeeperReport
from apostille.credentials.keepers import Keepers
from apostille.integrations import INTEGRATIONS
from apostille.keys.opening import StoreDoor
from apostille.keys.settings import parse_key_settings
from apostille.steps import STEPS

# Characters of what is known of a caller, on the status page.
_SHOWN = 64


async def run_worker(
    *, name: str, socket: Path, xds_socket: Path, environment: Mapping[str, str], stop: asyncio.Event
) -> None:
    """Serve until `stop` is set. `name` is what the control plane calls this worker. `environment` is where outbound
    credentials may stand, and where the key store is. Raises StartError when it says nonsense of the latter.

    The socket opens once the first programs are there: a worker that knows nothing would deny everything.
    """
    clock = SystemClock()
    registry = CollectorRegistry()
    keyrings = KeyRingStore()
    settings = parse_key_settings(environment)
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(open_session())
        stored = None if settings is None else await stack.enter_async_context(aclosing(StoreDoor(settings, clock)))
        tools = StepTools(clock=clock, keyrings=keyrings, http=http, stored=stored)
        keepers = Keepers(clock=clock, environ=environment, registry=registry)
        signing = Signing(
            kinds={kind.name: kind for kind in INTEGRATIONS},
            clock=clock,
            credentials=keepers,
            upstreams=UpstreamStore(),
        )
        programs = Programs({kind.name: kind for kind in STEPS}, tools, keyrings, signing)
        service = AuthService(
            programs=programs,
            log=DecisionLog(json_logger(sys.stderr), clock),
            metrics=DecisionMetrics(registry),
            registry=registry,
            clock=clock,
            credentials=lambda: [describe_credentials(report) for report in keepers.reports()],
        )
        feed = Feed(xds_socket, programs, node=name)
        feeding = asyncio.create_task(feed.run(), name="feed")
        try:
            await feed.first_sync.wait()
            # A predecessor that was killed left it behind, and the web server would not open a second one there.
            socket.unlink(missing_ok=True)
            await serve_auth(socket, service, stop)
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
            await keepers.close()


def describe_credentials(report: KeeperReport) -> Mapping[str, object]:
    """One source of credentials as JSON, for the status page. Long names of callers are cut short."""
    caller = report.caller
    return {
        "source": report.source,
        "consumer": None if caller.consumer is None else _cut(caller.consumer),
        "key": None if caller.key is None else _cut(caller.key),
        "metadata": {_cut(name): _cut(value) for name, value in sorted(caller.metadata.items())},
        "state": report.state.value,
        "reason": None if report.reason is None else report.reason.value,
        "expires": None if report.expires is None else report.expires.isoformat(timespec="seconds"),
        "refreshed": None if report.refreshed is None else report.refreshed.isoformat(timespec="seconds"),
        "failures": report.failures,
        "last_error": report.last_error,
    }


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
