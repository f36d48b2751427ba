"""Become another program, one that the kernel ends together with the process that started it.

A program, run by path: ``python -I -S launcher.py PARENT PROGRAM ARGUMENT...``. It outlives exec.
Python could also make it between fork and exec (preexec_fn), but not safely in a process that has threads.
"""

from __future__ import annotations

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1
_SIGKILL = 9


def main(parent: int, argv: list[str]) -> None:
    if ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, _SIGKILL) != 0:
        sys.exit("the kernel cannot end a process with its parent: Linux is needed")
    # The parent may have died before the kernel was asked.
    if os.getppid() != parent:
        sys.exit("the parent has ended already")
    try:
        os.execv(argv[0], argv)  # noqa: S606 - without a shell, as it should be
    except OSError as error:
        sys.exit(f"{argv[0]}: {error.strerror}")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
