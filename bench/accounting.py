"""What processes have used, as the kernel counts it: CPU by thread in nanoseconds, memory by page.

It must not know what the processes do. Linux only.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

_PROC = Path("/proc")

Threads = Mapping[tuple[int, int], int]
"""(process, thread) → nanoseconds on a processor."""


def family(roots: Iterable[int], proc: Path = _PROC) -> frozenset[int]:
    """The processes `roots` and all their descendants that live now."""
    children: dict[int, list[int]] = {}
    living: set[int] = set()
    for folder in proc.iterdir():
        if not folder.name.isdigit():
            continue
        stat = _read(folder / "stat")
        if stat:
            # The name in brackets may itself hold blanks and brackets.
            parent = int(stat.rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(folder.name))
            living.add(int(folder.name))
    found: set[int] = set()
    pending = [pid for pid in roots if pid in living]
    while pending:
        pid = pending.pop()
        if pid not in found:
            found.add(pid)
            pending += children.get(pid, ())
    return frozenset(found)


def read_threads(pids: Iterable[int], proc: Path = _PROC) -> Threads:
    """The time that the scheduler gave to every thread of these processes so far."""
    used: dict[tuple[int, int], int] = {}
    for pid in pids:
        for name in _names(proc / str(pid) / "task"):
            if text := _read(proc / str(pid) / "task" / name / "schedstat"):
                used[pid, int(name)] = int(text.split()[0])
    return used


def spent(before: Threads, after: Threads) -> int:
    """Nanoseconds between two readings. A thread that is new counts from zero, one that has ended does not count."""
    return sum(time - before.get(thread, 0) for thread, time in after.items())


def read_busy_ns(proc: Path = _PROC) -> int:
    """How long all processors together were not idle since the machine started, time stolen by its host included."""
    user, nice, system, _idle, _wait, irq, soft, steal = (
        int(each) for each in (_read(proc / "stat").split("\n", 1)[0]).split()[1:9]
    )
    return (user + nice + system + irq + soft + steal) * (1_000_000_000 // os.sysconf("SC_CLK_TCK"))


def read_pss_bytes(pids: Iterable[int], proc: Path = _PROC) -> int:
    """Memory of these processes together; a page that several processes share counts once, in parts."""
    return sum(_kib(_read(proc / str(pid) / "smaps_rollup"), "Pss") for pid in pids) * 1024


def read_rss_bytes(pid: int, proc: Path = _PROC) -> int:
    return _kib(_read(proc / str(pid) / "status"), "VmRSS") * 1024


def read_peak_bytes(pid: int, proc: Path = _PROC) -> int:
    """The most memory that this process has had resident since it was started."""
    return _kib(_read(proc / str(pid) / "status"), "VmHWM") * 1024


def set_cores(pids: Iterable[int], cores: frozenset[int]) -> None:
    """Let every thread of these processes run on these processors only; threads to come inherit it."""
    for pid in pids:
        for name in _names(_PROC / str(pid) / "task"):
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(int(name), cores)


def _kib(text: str, field: str) -> int:
    for line in text.splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    return 0


def _names(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in folder.iterdir()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _read(path: Path) -> str:
    # A process may end at any moment.
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
