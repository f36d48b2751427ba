from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from apostille.base.errors import StartError
from apostille.demo.child import run_child, run_listening_child

LISTENING = "import signal; print('{\"listening\": 7}', flush=True); signal.pause()"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + LISTENING


def python(program: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-c", program)


async def test_a_child_says_where_it_listens_and_ends_when_stopped(tmp_path: Path) -> None:
    child, port = await run_listening_child("it", python(LISTENING), log=tmp_path / "it.log")
    assert port == 7
    await child.stop()
    assert child.process.returncode == -signal.SIGTERM
    await child.stop()


async def test_a_child_that_does_not_listen_to_sigterm_is_killed(tmp_path: Path) -> None:
    child, _ = await run_listening_child("it", python(DEAF), log=tmp_path / "it.log")
    await child.stop(patience=0.05)
    assert child.process.returncode == -signal.SIGKILL


async def test_a_child_that_ends_too_early_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"^it ended before it was ready; .*\nno such luck$"):
        await run_listening_child("it", python("import sys; sys.exit('no such luck')"), log=tmp_path / "it.log")


async def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"/no/such/program: No such file or directory"):
        await run_listening_child("it", ("/no/such/program",), log=tmp_path / "it.log")


@pytest.mark.parametrize("words", ["ready", '{"port": 1}', "[]"])
async def test_a_child_that_says_something_else_is_quoted_and_stopped(tmp_path: Path, words: str) -> None:
    program = f"import signal; print({words!r}, flush=True); signal.pause()"
    with pytest.raises(StartError, match="instead of the port it listens on"):
        await run_listening_child("it", python(program), log=tmp_path / "it.log")


async def test_a_child_that_says_nothing_is_not_waited_for_without_end(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"was not ready after 0\.05 s"):
        await run_listening_child("it", python("import signal; signal.pause()"), log=tmp_path / "it.log", patience=0.05)


async def test_a_child_sees_nothing_of_our_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "ours")
    program = "import os, json; print(json.dumps(dict(os.environ)))"
    child = await run_child("it", python(program), log=tmp_path / "it.log", env={"GIVEN": "1"})
    output, _ = await child.process.communicate()
    # Python itself may add the locale's.
    assert json.loads(output).keys() - {"LC_CTYPE"} == {"GIVEN", "PATH"}


def test_a_child_ends_with_its_parent(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys; from pathlib import Path; from apostille.demo.child import run_listening_child\n"
        "async def main():\n"
        f"    child, _ = await run_listening_child('it', {python(DEAF)!r}, log=Path({str(tmp_path / 'it.log')!r}))\n"
        "    print(child.pid, flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        handle = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
    try:
        assert select.select([handle], [], [], 10)[0] == [handle]
    finally:
        os.close(handle)


async def test_a_cancelled_start_leaves_no_child(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    os.mkfifo(pid_file)
    program = (
        f"import os, signal; file = open({str(pid_file)!r}, 'w'); "
        "file.write(str(os.getpid())); file.close(); signal.pause()"
    )
    start = asyncio.create_task(run_listening_child("it", python(program), log=tmp_path / "it.log"))
    pid = int(await asyncio.to_thread(pid_file.read_text))
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
