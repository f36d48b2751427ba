"""Starting a child process that cannot outlive us. It must not know what the child does.

Linux only: the kernel is asked to end the child with its parent.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import resource
import signal
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable, Mapping, Sequence

from apostille.base.errors import StartError

_PR_SET_PDEATHSIG = 1
_FOR_US_ALONE = 0o077


async def spawn(
    argv: Sequence[str], *, env: Mapping[str, str], stdout: int | None = None, stderr: int | None = None
) -> Process:
    """Start a process with exactly these environment variables, in a session of its own.

    A session of its own, so that Ctrl-C on the terminal reaches us alone and we decide in which order things stop, and
    so that what the child starts itself can be ended with it. `stdout` and `stderr`: None is our own.
    The kernel kills the child when the *thread* that called this ends: call it from the main thread's event loop.
    The soft limit of open files is raised to the hard one: a proxy needs two for each request. Files that the child
    makes are for us alone, unless it says otherwise.

    Raises StartError when the program cannot be started.
    """
    try:
        return await asyncio.create_subprocess_exec(
            *argv,
            stdin=DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env=dict(env),
            start_new_session=True,
            umask=_FOR_US_ALONE,
            preexec_fn=_in_child(),
        )
    except OSError as error:
        raise StartError(f"{argv[0]} cannot be started: {error.strerror}") from error


def signal_process(process: Process, number: signal.Signals) -> None:
    """Send a signal to the process itself; nothing happens when it has ended."""
    # Not Process.send_signal: it may reap the child behind asyncio's back, and the exit status is lost.
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


def kill_session(process: Process) -> None:
    """SIGKILL for the process and everything in its process group, also for what a dead leader has left behind."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _in_child() -> Callable[[], None]:
    # Everything that allocates or locks is done here: between fork and exec only the system calls are safe.
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)

    def ask_kernel() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # The parent may have died before the kernel was asked.
        if os.getppid() != parent:
            os._exit(1)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    return ask_kernel
