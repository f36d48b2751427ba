"""A stand-in as a child process: started, ready, stopped, and gone when its parent is.

It must not know what the child does. Linux only: the kernel is asked to end the child with its parent.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from apostille.base.errors import StartError

_LOG_TAIL = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A running process, in a session and process group of its own. `log` holds what it wrote to its standard error."""

    name: str
    process: Process
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    async def stop(self, patience: float = 5.0) -> None:
        """End it: SIGTERM, and after `patience` seconds SIGKILL for all of its group. Stopping twice does nothing."""
        # Not Process.terminate: it may reap the child itself, and asyncio then knows of no exit status.
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)
        try:
            await asyncio.wait_for(self.process.wait(), patience)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            await self.process.wait()

    def failure(self, what: str) -> StartError:
        """The error that says what went wrong, with the end of the child's own words."""
        words = self.log.read_text(errors="replace")[-_LOG_TAIL:].strip()
        return StartError(f"{self.name} {what}; the end of {self.log} says:\n{words or '(nothing)'}")


async def run_child(
    name: str, argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None, pass_fds: Sequence[int] = ()
) -> Child:
    """Start the program ``argv[0]``, a path. `log`'s folder is made.

    It sees the variables of `env` and PATH, nothing of our own environment. The kernel ends it when the *thread* that
    called this ends: call it from the thread that runs the event loop, and let that be one that stays.
    """
    launcher = (sys.executable, "-I", "-S", str(Path(__file__).with_name("launcher.py")), str(os.getpid()))
    with _open_log(log) as errors:
        process = await asyncio.create_subprocess_exec(
            *launcher,
            *argv,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=errors,
            env={"PATH": os.defpath, **(env or {})},
            pass_fds=tuple(pass_fds),
            start_new_session=True,
        )
    return Child(name=name, process=process, log=log)


async def run_listening_child(
    name: str, argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None, patience: float = 30.0
) -> tuple[Child, int]:
    """Start a process that chooses its own port and prints one line, ``{"listening": PORT}``, once it serves.

    Raises StartError when it ends first, says something else, or takes longer than `patience` seconds.
    """
    child = await run_child(name, argv, log=log, env=env)
    try:
        return child, await _listening_port(child, patience)
    except BaseException:
        await child.stop(patience=0)
        raise


async def _listening_port(child: Child, patience: float) -> int:
    output = child.process.stdout
    if output is None:
        raise child.failure("was started without an output")
    try:
        line = await asyncio.wait_for(output.readline(), patience)
    except TimeoutError:
        raise child.failure(f"was not ready after {patience:g} s") from None
    if not line:
        raise child.failure("ended before it was ready")
    try:
        return int(json.loads(line)["listening"])
    except (ValueError, KeyError, TypeError):
        raise child.failure(f"said {line!r} instead of the port it listens on") from None


def _open_log(log: Path) -> BinaryIO:
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return log.open("ab")
