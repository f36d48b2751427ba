"""The key store under the supervisor, with servers that do what no Valkey can be told to do."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from apostille.base.clock import SystemClock
from apostille.control.children import (
    ChildAbandoned,
    ChildEnded,
    ChildMended,
    ChildReady,
    ChildStarted,
    ChildWarned,
    RestartPolicy,
)
from apostille.control.key_child import KeyChild
from apostille.control.key_folder import Standing, read_report, store_folder
from apostille.control.state_folder import StateFolder, hold_state_folder
from apostille.control.supervisor import Supervisor
from apostille.keys.embedded import find_valkey
from tests.unit.control.test_supervisor import LIMIT, Events

QUICK = RestartPolicy(first_delay=0.001, max_delay=0.001, max_exits=3)

Start = Callable[[Path | None], AbstractAsyncContextManager[KeyChild]]


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def folder(socket_dir: Path) -> StateFolder:
    with hold_state_folder(socket_dir / "state") as folder:
        return folder


@pytest.fixture
def start(folder: StateFolder, events: Events) -> Start:
    @asynccontextmanager
    async def start(server: Path | None) -> AsyncIterator[KeyChild]:
        keys: list[KeyChild] = []

        def report(event: object) -> None:
            events(event)  # type: ignore[arg-type]
            keys[0].see(event)  # type: ignore[arg-type]

        supervisor = Supervisor([], clock=SystemClock(), chance=lambda: 0.0, report=report)
        keys.append(KeyChild(folder, supervisor, env={}, report=events, server=server, restart=QUICK, retry=0.01))
        running = asyncio.create_task(keys[0].run())
        try:
            yield keys[0]
        finally:
            await supervisor.stop()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    return start


def program(path: Path, text: str) -> Path:
    """A server of the test's own."""
    path.write_text(f"#!{sys.executable} -SE\n{text}\n")
    path.chmod(0o700)
    return path


def standing(folder: StateFolder) -> tuple[Standing, str | None]:
    report = read_report(folder.path)
    assert report is not None
    return report.standing, report.why


async def test_without_a_folder_nothing_is_started_and_nobody_waits(
    start: Start, folder: StateFolder, events: Events
) -> None:
    async with start(Path("/gone")) as keys:
        await asyncio.wait_for(keys.settled.wait(), LIMIT)
        assert standing(folder) == (Standing.NOT_STARTED, None)
    assert not events.all
    assert read_report(folder.path) is None


async def test_a_real_server_is_started_when_there_is_a_folder(
    start: Start, folder: StateFolder, events: Events
) -> None:
    async with start(find_valkey()) as keys:
        store_folder(folder.path).mkdir()
        await events.next(ChildReady, "keys")
        await asyncio.wait_for(keys.settled.wait(), LIMIT)
        assert standing(folder) == (Standing.READY, None)
    assert events.of(ChildStarted) == ["keys"]
    assert events.of(ChildEnded) == ["keys"]
    assert not folder.socket("keys.sock").exists()


async def test_a_missing_server_is_told_and_looked_for_again(
    start: Start, folder: StateFolder, events: Events, tmp_path: Path
) -> None:
    store_folder(folder.path).mkdir()
    async with start(tmp_path / "server") as keys:
        gone = await events.next(ChildAbandoned, "keys")
        assert "no program that can be run" in gone.why
        assert gone.retry_in == 0.01
        assert standing(folder) == (Standing.UNAVAILABLE, gone.why)
        assert keys.settled.is_set()
        (tmp_path / "server").symlink_to(find_valkey())
        await events.next(ChildReady, "keys")


async def test_a_crash_loop_is_given_up_for_a_while_and_no_more(
    start: Start, folder: StateFolder, events: Events, tmp_path: Path
) -> None:
    store_folder(folder.path).mkdir()
    server = program(tmp_path / "server", "import sys; sys.exit(3)")
    async with start(server):
        given_up = await events.next(ChildAbandoned, "keys")
        assert "exit code 3" in given_up.why
        assert len(events.of(ChildEnded)) == 4
        (tmp_path / "link").symlink_to(find_valkey())
        (tmp_path / "link").replace(server)
        await events.next(ChildReady, "keys")
        assert standing(folder) == (Standing.READY, None)


async def test_a_folder_that_cannot_be_used_is_told(start: Start, folder: StateFolder, events: Events) -> None:
    store_folder(folder.path).touch()
    async with start(None):
        told = await events.next(ChildAbandoned, "keys")
        assert "cannot be used" in told.why
        assert standing(folder)[0] is Standing.UNAVAILABLE
        store_folder(folder.path).unlink()
        store_folder(folder.path).mkdir()
        await events.next(ChildReady, "keys")


DAMAGED = """
import sys
print("1234:M 01 Jan 2026 00:00:00.000 * notice")
print("1234:M 01 Jan 2026 00:00:00.000 # Bad file format reading the append only file appendonly.aof.1.incr.aof: "
      "make a backup of your AOF file, then use 'CANARY'", flush=True)
print("x" * 200_000)
print("1234:M 01 Jan 2026 00:00:00.000 # {CANARY", end="")
sys.exit(1)
"""


async def test_a_damaged_store_is_not_started_again_until_its_folder_is_another_one(
    start: Start, folder: StateFolder, events: Events, tmp_path: Path
) -> None:
    keys = store_folder(folder.path)
    keys.mkdir()
    async with start(program(tmp_path / "server", DAMAGED)):
        told = await events.next(ChildAbandoned, "keys")
        assert told.retry_in is None
        assert f"{keys}/appendonlydir/appendonly.aof.1.incr.aof is damaged" in told.why
        assert standing(folder) == (Standing.DAMAGED, told.why)
        assert events.of(ChildStarted) == ["keys"]
        warned = [event.words for event in events.all if isinstance(event, ChildWarned)]
        assert len(warned) == 2
        assert "CANARY" not in "".join(warned)
        keys.rename(tmp_path / "aside")
        keys.mkdir()
        await events.next(ChildAbandoned, "keys")
        assert events.of(ChildStarted) == ["keys"] * 2


async def test_a_torn_end_is_mended_before_each_start(
    start: Start, folder: StateFolder, events: Events, tmp_path: Path
) -> None:
    log = store_folder(folder.path) / "appendonlydir"
    log.mkdir(parents=True)
    (log / "appendonly.aof.manifest").write_text("file appendonly.aof.1.incr.aof seq 1 type i\n")
    whole, torn = b"*1\r\n$4\r\nPING\r\n", b"*2\r\n$4\r\nECHO\r\n$5\r\nhe"
    (log / "appendonly.aof.1.incr.aof").write_bytes(whole + torn)
    tearing = f"open({str(log / 'appendonly.aof.1.incr.aof')!r}, 'ab').write({torn!r})"
    async with start(program(tmp_path / "server", tearing)):
        for number in (1, 2):
            mended = await events.next(ChildMended, "keys")
            kept = store_folder(folder.path) / f"torn-{number}.aof"
            assert f"last {len(torn)} bytes" in mended.words
            assert str(kept) in mended.words
            assert kept.read_bytes() == torn


async def test_a_stop_during_the_preparation_ends_it(start: Start, folder: StateFolder, events: Events) -> None:
    store_folder(folder.path).mkdir()
    async with start(None):
        await asyncio.sleep(0)
    assert len(events.of(ChildStarted)) == len(events.of(ChildEnded))
    assert read_report(folder.path) is None
