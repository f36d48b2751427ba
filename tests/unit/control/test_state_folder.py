from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from apostille.base.errors import StartError
from apostille.control.state_folder import hold_state_folder


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


def test_the_folder_is_made_private(socket_dir: Path) -> None:
    with hold_state_folder(socket_dir / "a" / "state") as state:
        assert mode(state.path) == mode(state.sockets) == 0o700
        assert mode(state.path / "lock") == 0o600
        bind(state.socket("xds.sock"))


def test_an_empty_folder_and_one_we_had_before_are_closed_to_others(socket_dir: Path) -> None:
    socket_dir.chmod(0o755)
    for _ in range(2):
        with hold_state_folder(socket_dir):
            assert mode(socket_dir) == 0o700
        socket_dir.chmod(0o755)


def test_an_open_folder_with_other_things_in_it_is_left_alone(socket_dir: Path) -> None:
    (socket_dir / "thesis.txt").write_text("")
    socket_dir.chmod(0o755)
    with pytest.raises(StartError, match="open to others"), hold_state_folder(socket_dir):
        pass
    assert mode(socket_dir) == 0o755


def test_stale_sockets_are_removed_and_nothing_else(socket_dir: Path) -> None:
    with hold_state_folder(socket_dir / "s") as state:
        pass
    bind(state.sockets / "stale.sock")
    (state.sockets / "note").write_text("")
    with hold_state_folder(socket_dir / "s") as state:
        assert [entry.name for entry in state.sockets.iterdir()] == ["note"]


HOLD = """
import sys, pathlib
from apostille.control.state_folder import hold_state_folder
with hold_state_folder(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_and_told_who_holds_it_until_the_first_is_killed(socket_dir: Path) -> None:
    folder = socket_dir / "s"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"held\n"
        bind(folder / "sockets" / "in-use.sock")
        refused = rf"another apostille \(process {first.pid}\) runs with the state folder {folder}"
        with pytest.raises(StartError, match=refused) as error, hold_state_folder(folder):
            pass
        assert error.value.exit_code == 1
        assert (folder / "sockets" / "in-use.sock").exists()
        first.kill()
        first.wait()
        with hold_state_folder(folder) as state:
            assert list(state.sockets.iterdir()) == []


def test_where_the_path_is_too_long_sockets_stand_in_a_temporary_folder(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100)
    with hold_state_folder(folder) as state:
        assert folder not in state.sockets.parents
        assert mode(state.sockets) == 0o700
        bind(state.socket("a" * 24))
    assert not state.sockets.exists()


@pytest.mark.parametrize("name", ["a" * 25, "../x"])
def test_a_name_that_would_not_fit_is_refused(socket_dir: Path, name: str) -> None:
    with hold_state_folder(socket_dir / "s") as state, pytest.raises(ValueError, match="socket's name"):
        state.socket(name)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match="cannot be used"), hold_state_folder(tmp_path / "file" / "state"):
        pass


def test_the_lock_is_not_given_to_children(socket_dir: Path) -> None:
    with hold_state_folder(socket_dir / "s"):
        opened = [handle for handle in Path("/proc/self/fd").iterdir() if handle.resolve() == socket_dir / "s" / "lock"]
        assert [os.get_inheritable(int(handle.name)) for handle in opened] == [False]
