"""``apostille run``: a whole gateway in the foreground."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apostille.cli.arguments import AccessLog, AdminBind, Bind, EnvoyPath, Lane, Ports, parse_ports
from apostille.cli.output import print_note
from apostille.model.lane import Lanes

if TYPE_CHECKING:
    from apostille.control.children import ChildEvent
    from apostille.control.gateway import GatewayOptions, LocalGateway


def run(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Manifests: a folder, or one file.")],
    bind: Bind = "127.0.0.1",
    port: Ports = None,
    state: Annotated[
        Path | None,
        typer.Option("--state", metavar="DIR", help="Private folder of this gateway; one is made by default."),
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, max=64, help="Auth worker processes.")] = 2,
    admin_bind: AdminBind = "127.0.0.1",
    admin_port: Annotated[
        int,
        typer.Option("--admin-port", min=0, max=65535, help="Port of /v1/keys, /metrics, /healthz, /readyz, /status."),
    ] = 9900,
    drain: Annotated[
        float,
        typer.Option("--drain", metavar="SECONDS", min=0, help="The longest a stop waits for requests under way."),
    ] = 30.0,
    lane: Lane = Lanes.AUTO,
    access_log: AccessLog = True,
    envoy: EnvoyPath = None,
) -> None:
    """Serve a folder of manifests, and follow its changes.

    The access log goes to standard output, everything else to standard error. Ctrl-C or SIGTERM finishes the requests
    under way and stops; a second one stops at once.
    """
    from apostille.admin.server import parse_admin_address
    from apostille.admin.token import parse_admin_token
    from apostille.control.gateway import GatewayOptions

    options = GatewayOptions(
        directory=directory.absolute(),
        address=bind,
        ports=parse_ports(port),
        workers=workers,
        admin_address=parse_admin_address(admin_bind, has_token=parse_admin_token(os.environ) is not None),
        admin_port=admin_port,
        drain_seconds=drain,
        envoy=envoy,
        lanes=lane,
        log_requests=access_log,
        environment=dict(os.environ),
    )
    asyncio.run(_run(options, state if state is not None else _default_state(directory)))


async def _run(options: GatewayOptions, state: Path) -> None:
    import structlog

    from apostille.base.clock import SystemClock
    from apostille.cli.signals import stop_on_signals
    from apostille.control.children import ChildAbandoned, ChildMended, ChildWarned
    from apostille.control.gateway import LocalGateway
    from apostille.control.state_folder import hold_state_folder
    from apostille.observe.logs import start_logs

    start_logs()
    log = structlog.get_logger()

    def report(event: ChildEvent) -> None:
        facts = {name: getattr(event, name) for name in event.__slots__}
        name = "process." + type(event).__name__.removeprefix("Child").lower()
        match event:
            case ChildAbandoned():
                log.error(name, **facts)
            case ChildMended() | ChildWarned():
                log.warning(name, **facts)
            case _:
                log.info(name, **facts)

    with hold_state_folder(state) as folder:
        gateway = LocalGateway(options, folder, clock=SystemClock(), report=report)
        stop = stop_on_signals(gateway.kill)
        stopping = asyncio.create_task(_stop_when(stop, gateway))
        try:
            opened = await gateway.start()
            if opened is not None:
                for name, number in opened.listeners.items():
                    print_note(f"apostille: {name} listens on http://{options.address}:{number}")
                print_note(f"apostille: admin API on {opened.admin}")
                log.info("gateway.ready", listeners=dict(opened.listeners), admin=opened.admin, pid=os.getpid())
                await gateway.wait()
        finally:
            await gateway.stop()
            stopping.cancel()
            await asyncio.gather(stopping, return_exceptions=True)


async def _stop_when(stop: asyncio.Event, gateway: LocalGateway) -> None:
    await stop.wait()
    print_note("apostille: stopping; requests under way are finished first, a second signal stops at once")
    await gateway.stop()


def _default_state(directory: Path) -> Path:
    """One folder for each folder of manifests, under XDG_STATE_HOME."""
    import hashlib

    home = os.environ.get("XDG_STATE_HOME")
    base = Path(home) if home else Path.home() / ".local" / "state"
    path = directory.absolute()
    return base / "apostille" / f"{path.name}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}"
