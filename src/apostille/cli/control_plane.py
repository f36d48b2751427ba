"""``apostille control-plane``: reads resources, serves xDS and the admin API. `apostille run` starts it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apostille.cli.arguments import AccessLog, AdminBind, Bind, EnvoyPath, Lane, Ports, parse_ports
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
    admin_bind: AdminBind = "127.0.0.1",
    admin_port: Annotated[int, typer.Option(help="Port of the admin API; 0 lets the system choose.")] = 0,
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
    asyncio.run(_run(options, sockets, admin_bind, admin_port))


async def _run(options: PlaneOptions, sockets: Path, admin_bind: str, admin_port: int) -> None:
    import structlog
    from prometheus_client import CollectorRegistry

    from apostille.admin.access import Access, Doorkeeper
    from apostille.admin.app import AdminViews, build_admin
    from apostille.admin.keys import key_operations
    from apostille.admin.server import (
        describe_address,
        open_admin_port,
        open_admin_socket,
        parse_admin_address,
        serve_admin,
    )
    from apostille.admin.token import parse_admin_token
    from apostille.base.clock import SystemClock
    from apostille.base.collector import relax_collector
    from apostille.cli.signals import stop_on_signals
    from apostille.control.app import run_plane
    from apostille.control.desk import DeskOpener
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
    token = parse_admin_token(os.environ)
    bound = parse_admin_address(admin_bind, has_token=token is not None)
    admin = open_admin_port(admin_port, bound)
    address = f"http://{describe_address(bound, admin.getsockname()[1])}"
    clock, log = SystemClock(), structlog.get_logger()
    envoy = EnvoyAdmin(sockets / "envoy.sock", clock=clock)
    settings = parse_key_settings(os.environ)
    wanted = compile_wanted(os.environ, state=options.state, sockets=sockets)
    store = StoreStatus(settings, state=options.state, sockets=sockets, clock=clock)
    async with (
        aclosing(store),
        aclosing(DeskOpener(settings, wanted, clock=clock, log=log)) as desk,
        run_plane(options, clock=clock, log=log, registry=registry, want_keys=wanted) as plane,
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
        app = build_admin(views, key_operations(desk, clock, desk.report_damage), has_token=token is not None)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(plane.follow(stop))
            tasks.create_task(serve_admin(Doorkeeper(app, Access(address=bound, token=token)), [admin], stop))
            # Nobody but our own user comes to this one.
            tasks.create_task(serve_admin(app, [open_admin_socket(sockets / "control.sock")], stop))
