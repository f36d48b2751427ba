"""Canaries, secrets with a value of their own, and the places of a running gateway where one could be seen."""

from __future__ import annotations

import base64
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from tests.e2e.gateway import Run

# Where secrets are meant to be kept; for its owner alone.
KEPT = "last-good.json"
ADMIN_PAGES = ("/metrics", "/status", "/readyz", "/healthz")
ENVOY_PAGES = (
    "/config_dump?include_eds",
    "/stats",
    "/clusters?format=json",
    "/clusters",
    "/listeners",
    "/server_info",
    "/runtime",
)


class Canaries:
    """Made when asked for; each can be told from all the others."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}

    def __getitem__(self, name: str) -> str:
        return self._values.setdefault(name, f"canary{secrets.token_hex(12)}")

    def __len__(self) -> int:
        return len(self._values)

    def add(self, name: str, value: str) -> None:
        """One whose value is made elsewhere."""
        self._values[name] = value

    def found_in(self, content: bytes) -> list[str]:
        """The names of those that are in there: plain, in base64, in hexadecimal digits, or percent-encoded."""
        return [name for name, value in self._values.items() if any(form in content for form in _forms(value))]


def _forms(value: str) -> Iterator[bytes]:
    yield value.encode()
    yield base64.b64encode(value.encode())[:-4]
    yield value.encode().hex().encode()
    yield quote(value, safe="").encode()


async def pages(run: Run) -> dict[str, bytes]:
    """What the admin port and Envoy's own admin interface show."""
    pages = {path: (await run.page(path))[1].encode() for path in ADMIN_PAGES}
    return pages | {f"Envoy's {path}": (await run.envoy_page(path)).encode() for path in ENVOY_PAGES}


def processes(run: Run, *, workers: int) -> dict[str, bytes]:
    """What anybody on the machine (command lines), or our user (environments), can see of the processes."""
    found = {"command line of run": Path(f"/proc/{run.process.pid}/cmdline").read_bytes()}
    for name in ("control-plane", *(f"auth-{index}" for index in range(workers)), "envoy"):
        folder = Path("/proc") / str(run.pid(name))
        found[f"command line of {name}"] = (folder / "cmdline").read_bytes()
        found[f"environment of {name}"] = (folder / "environ").read_bytes()
        assert found[f"environment of {name}"]
    return found


def files(state: Path) -> dict[str, bytes]:
    """The files of the state folder; nobody but the owner may have a right to anything in it."""
    found = {}
    for path in (state, *state.rglob("*")):
        mode = path.lstat().st_mode
        assert stat.S_IMODE(mode) & 0o077 == 0, (path, oct(mode))
        assert path.lstat().st_uid == os.getuid()
        if stat.S_ISREG(mode):
            found[path.name] = path.read_bytes()
    return found
