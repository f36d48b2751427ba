"""The embedded store of a gateway as its processes see it: files in the state folder, and what the environment says.

::

    <state>/keys          the folder of the store; it is started once there is one
    <state>/keys.pepper   the pepper
    <state>/keys.state    what the supervisor says of the store, while there is a supervisor

The supervisor runs the store. The control plane asks for it, and says how it stands.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote

from apostille.keys.embedded import SOCKET
from apostille.keys.errors import KeysError
from apostille.keys.settings import PEPPER, PEPPER_FILE, URL, KeySettings, make_pepper_file, parse_key_settings

_STATE = "keys.state"


class StoreFolderUnusable(KeysError):
    """The folder of the embedded store cannot be made. The text says why."""


class Standing(StrEnum):
    """`NOT_STARTED`: nobody has wanted it. `READY`: it runs, and answers whoever asks it, unless it has just died."""

    NOT_STARTED = "not started"
    STARTING = "starting"
    READY = "ready"
    UNAVAILABLE = "unavailable"
    DAMAGED = "damaged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the supervisor says of the store. `why` is for people."""

    standing: Standing
    why: str | None = None


def store_folder(state: Path) -> Path:
    return state / "keys"


def pepper_file(state: Path) -> Path:
    return state / "keys.pepper"


def want_store(state: Path, *, own_pepper: bool = True) -> None:
    """See to it that the embedded store is started: within a moment, and with each start of the gateway from now on.

    `own_pepper`: its pepper stands in the state folder; one is made if there is none. Costs two looks at the disk when
    all is there. Raises PepperMissing or StoreFolderUnusable.
    """
    # First: a store without a pepper would be of no use, the other way round is harmless.
    if own_pepper:
        make_pepper_file(pepper_file(state))
    folder = store_folder(state)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise StoreFolderUnusable(f"the folder of the keys, {folder}, cannot be made: {error.strerror}") from None


def pass_on_settings(environ: Mapping[str, str], *, state: Path, sockets: Path) -> Mapping[str, str]:
    """What the processes of a gateway are told of the store: what our own environment says, else the embedded one.

    Raises StartError when our own environment cannot be used.
    """
    own = {name: environ[name] for name in (URL, PEPPER, PEPPER_FILE) if environ.get(name)}
    told = {URL: f"unix://{quote(str(sockets / SOCKET))}", **own}
    if PEPPER not in own and PEPPER_FILE not in own and URL not in own:
        told[PEPPER_FILE] = str(pepper_file(state))
    parse_key_settings(told)
    return told


def is_embedded(settings: KeySettings, sockets: Path) -> bool:
    """Whether these are settings that `pass_on_settings` made up for the embedded store."""
    return settings.address.socket == str(sockets / SOCKET)


def compile_wanted(environ: Mapping[str, str], *, state: Path, sockets: Path) -> Callable[[], None]:
    """For the control plane, whose environment this is: what to call when a policy or a new key needs the store.

    It does nothing for a store elsewhere, and raises what `want_store` does. Raises StartError.
    """
    settings = parse_key_settings(environ)
    if settings is None or not is_embedded(settings, sockets):
        return lambda: None
    own_pepper = environ.get(PEPPER_FILE) == str(pepper_file(state))
    return lambda: want_store(state, own_pepper=own_pepper)


def write_report(state: Path, report: Report | None) -> None:
    """Say how the store stands; None: there is no supervisor any more. Raises OSError."""
    file = state / _STATE
    if report is None:
        file.unlink(missing_ok=True)
        return
    aside = state / f".{_STATE}"
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as opened:
        json.dump({"standing": report.standing.value, "why": report.why}, opened)
    aside.replace(file)


def read_report(state: Path) -> Report | None:
    """What the supervisor said last. None when it has said nothing that can be read."""
    try:
        said = json.loads((state / _STATE).read_text())
        return Report(standing=Standing(said["standing"]), why=said["why"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
