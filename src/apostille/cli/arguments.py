"""Arguments that several commands take."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from apostille.model.lane import Lanes

Ports = Annotated[
    list[str] | None,
    typer.Option(
        "--port",
        metavar="NAME=NUMBER",
        help="Open the listener port that resources call NAME (or give by number) at NUMBER; 0 lets the system choose.",
    ),
]
Bind = Annotated[str, typer.Option("--bind", metavar="ADDRESS", help="IP address that listeners open on.")]
AdminBind = Annotated[
    str,
    typer.Option(
        "--admin-bind",
        metavar="ADDRESS",
        help="IP address of the admin API; another than a loopback address needs APOSTILLE_ADMIN_TOKEN.",
    ),
]
Lane = Annotated[
    Lanes,
    typer.Option(
        "--lane", help="service: nothing is checked or signed inside Envoy; the auth service is asked about everything."
    ),
]
AccessLog = Annotated[
    bool,
    typer.Option("--access-log/--no-access-log", help="A line of JSON on standard output for each request, or none."),
]
EnvoyPath = Annotated[
    Path | None,
    typer.Option("--envoy", metavar="FILE", help="Envoy binary instead of the one that was installed along."),
]


def parse_ports(written: Iterable[str] | None) -> dict[str, int]:
    """``["http=8080"]`` as ``{"http": 8080}``. Raises a usage error for anything else."""
    ports: dict[str, int] = {}
    for item in written or ():
        name, equals, number = item.partition("=")
        if not name or not equals or not number.isascii() or not number.isdigit() or int(number) > 65535:
            raise typer.BadParameter(f"{item!r} is not NAME=NUMBER; write for example --port http=8080")
        ports[name] = int(number)
    return ports
