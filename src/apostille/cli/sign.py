"""``apostille sign``: how a request would be signed, step by step. Nothing is sent."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer

from apostille.cli.output import print_result


def sign(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="GET, PUT, …")],
    url: Annotated[str, typer.Argument(metavar="URL", help="The foreign service's own, as the gateway would ask it.")],
    policy: Annotated[
        str, typer.Option("--policy", metavar="NAME", help="The OutboundAuthPolicy; NAMESPACE/NAME too.")
    ],
    directory: Annotated[Path, typer.Option("--dir", metavar="DIR", help="Manifests: a folder, or one file.")] = Path(),
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", metavar="NAME:VALUE", help="A header of the request.")
    ] = None,
) -> None:
    """Print the canonical request, the string to sign and the headers of a request; send nothing.

    The credentials are those of the policy. A session token is shown as [redacted].
    """
    from apostille.base.clock import SystemClock
    from apostille.control.app import compile_judging
    from apostille.control.explain import explain_signature

    headers = dict(_parse_header(written) for written in header or ())
    judging = compile_judging(address="127.0.0.1", ports={}, envoy=None)
    explained = asyncio.run(
        explain_signature(
            directory, policy, method, url, headers, judging=judging, clock=SystemClock(), environment=dict(os.environ)
        )
    )
    for title, text in explained:
        print_result(f"--- {title}\n{text}\n")


def _parse_header(written: str) -> tuple[str, str]:
    name, colon, value = written.partition(":")
    if not colon or not name.strip():
        raise typer.BadParameter(f"{written!r} is not NAME:VALUE; write for example -H 'x-amz-acl: private'")
    return name.strip(), value.strip()
