"""``apostille control-plane``: reads resources, serves xDS and the admin pages. `apostille run` starts it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apostille.cli.arguments import AccessLog, Bind, EnvoyPath, Lane, Ports, parse_ports
from apostille.model.lane import Lanes

if TYPE_CHECKING:
    from apostille.control.app import PlaneOptions


def control_plane(
    directory: Annotated[Path, typer.Argument(metavar="DIR")],
    state: Annotated[Path, typer.Option(help="Private folder for the last good configuration.")],
    sockets: Annotated[Path, typer.Option(help="Private folder for Unix sockets.")],
    bind: Bind = "127.0.0.1",
    port: Ports = None,
    workers: Annotated[int, typer.Option(help="Auth workers that belong to this gateway.")] = 1,
    admin_port: Annotated[int, typer.Option(help="Loopback port of the admin pages; 0 lets the system choose.")] = 0,
    lane: Lane = Lanes.AUTO,
    access_log: AccessLog = True,
    envoy: EnvoyPath = None,
) -> None:
    """Read resources and tell Envoy and the auth workers what to do."""
    from apostille.control.app import PlaneOptions

    options = PlaneOptions(
        directory=directory,
        state=state,
        xds_socket=sockets / "xds.sock",
        address=bind,
        ports=parse_ports(port),
        workers=workers,
        envoy=envoy,
        lanes=lane,
        log_requests=access_log,
    )
    asyncio.run(_run(options, sockets, admin_port))


async def _run(options: PlaneOptions, sockets: Path, admin_port: int) -> None:
    import structlog
    from prometheus_client import CollectorRegistry

    from apostille.admin.app import AdminViews, build_admin
    from apostille.admin.server import open_admin_port, open_admin_socket, serve_admin
    from apostille.base.clock import SystemClock
    from apostille.base.collector import relax_collector
    from apostille.cli.signals import stop_on_signals
    from apostille.control.app import run_plane
    from apostille.control.key_folder import compile_wanted
    from apostille.control.key_status import StoreStatus
    from apostille.keys.settings import parse_key_settings
    from apostille.observe.logs import start_logs
    from apostille.observe.scrape import fetch_credentials, scrape_gateway
    from apostille.proxy.admin import EnvoyAdmin

    relax_collector()
    start_logs()
    registry = CollectorRegistry()
    stop = stop_on_signals()
    admin = open_admin_port(admin_port)
    address = f"http://127.0.0.1:{admin.getsockname()[1]}"
    envoy = EnvoyAdmin(sockets / "envoy.sock", clock=SystemClock())
    store = StoreStatus(parse_key_settings(os.environ), state=options.state, sockets=sockets, clock=SystemClock())
    async with (
        aclosing(store),
        run_plane(
            options,
            clock=SystemClock(),
            log=structlog.get_logger(),
            registry=registry,
            want_keys=compile_wanted(os.environ, state=options.state, sockets=sockets),
        ) as plane,
    ):

        async def readiness() -> Mapping[str, object]:
            # Envoy itself says no first when the gateway is about to stop: it has been told to let its clients go.
            view = plane.readiness()
            return {**view, "ready": view["ready"] and await envoy.ready(), "admin": address}

        async def status() -> Mapping[str, object]:
            return {
                **plane.status(),
                "credentials": await fetch_credentials(sockets, options.workers),
                "keys": await store.describe(),
            }

        views = AdminViews(
            readiness=readiness,
            status=status,
            metrics=lambda: scrape_gateway(registry, sockets, options.workers),
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(plane.follow(stop))
            tasks.create_task(
                serve_admin(build_admin(views), [admin, open_admin_socket(sockets / "control.sock")], stop)
            )
