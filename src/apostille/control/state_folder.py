"""The folder where one running gateway keeps its own things: one process at a time, nobody else reads it."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from apostille.base.errors import StartError
from apostille.proxy.bootstrap import SOCKET_PATH_BYTES

_LONGEST_SOCKET_NAME = 24
_LOCK = "lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class StateFolder:
    """`path` is for files that outlive the process, `sockets` for Unix sockets that do not."""

    path: Path
    sockets: Path

    def socket(self, name: str) -> Path:
        """Where a socket of this name goes; at most 24 letters, so that the path stays within the kernel's limit."""
        if len(os.fsencode(name)) > _LONGEST_SOCKET_NAME or "/" in name:
            raise ValueError(f"{name!r} is too long for a socket's name")
        return self.sockets / name


@contextmanager
def hold_state_folder(path: Path) -> Iterator[StateFolder]:
    """Take the folder for this process, creating it if need be (mode 0700); stale sockets in it are removed.

    The lock goes with the process, however it ends. Sockets stand in a temporary folder where the path is too long
    for them. Raises StartError when another process holds the folder or it cannot be used.
    """
    path = path.absolute()
    try:
        _make_ours(path)
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartError(f"the state folder {path} cannot be used: {error.strerror}; choose another one") from error
    try:
        _lock(lock, path)
        sockets = path / "sockets"
        temporary = len(os.fsencode(sockets)) + 1 + _LONGEST_SOCKET_NAME > SOCKET_PATH_BYTES
        try:
            if temporary:
                sockets = Path(tempfile.mkdtemp(prefix="apostille-"))
            else:
                _make_private(sockets)
                _remove_sockets(sockets)
        except OSError as error:
            raise StartError(f"{sockets} cannot be used for sockets: {error.strerror}") from error
        try:
            yield StateFolder(path=path, sockets=sockets)
        finally:
            if temporary:
                shutil.rmtree(sockets, ignore_errors=True)
            else:
                _remove_sockets(sockets)
    finally:
        os.close(lock)


def _make_ours(path: Path) -> None:
    """Ours is what we make, what is empty, and what we had before; any other folder must be private already."""
    if path.is_dir() and not (path / _LOCK).exists() and any(path.iterdir()) and path.stat().st_mode & 0o077:
        raise StartError(
            f"{path} is open to others and has other things in it; "
            "choose a folder of its own for the state, or close this one with chmod 700"
        )
    _make_private(path)


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # An existing folder may be open to others, and the umask does not say what to do with ours.
    folder.chmod(0o700)


def _lock(lock: int, path: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.pread(lock, 32, 0).decode(errors="replace").strip()
        raise StartError(
            f"another apostille (process {holder or 'unknown'}) runs with the state folder {path}; "
            "stop it, or give this one a folder of its own"
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)


def _remove_sockets(folder: Path) -> None:
    for entry in folder.iterdir():
        if stat.S_ISSOCK(entry.lstat().st_mode):
            entry.unlink(missing_ok=True)
