from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from bench.accounting import (
    family,
    read_busy_ns,
    read_peak_bytes,
    read_pss_bytes,
    read_rss_bytes,
    read_threads,
    set_cores,
    spent,
)


def make_process(proc: Path, pid: int, parent: int, *, name: str = "x", threads: dict[int, int] | None = None) -> None:
    folder = proc / str(pid)
    for thread, time in (threads or {pid: 0}).items():
        (folder / "task" / str(thread)).mkdir(parents=True)
        (folder / "task" / str(thread) / "schedstat").write_text(f"{time} 5 7\n")
    (folder / "stat").write_text(f"{pid} ({name}) S {parent} 1 1 0\n")


def test_a_family_is_the_roots_and_all_below_them(tmp_path: Path) -> None:
    for pid, parent in ((10, 1), (11, 10), (12, 11), (20, 1), (21, 20)):
        make_process(tmp_path, pid, parent)
    assert family((10,), tmp_path) == {10, 11, 12}


def test_a_process_whose_name_looks_like_its_own_record_is_read_rightly(tmp_path: Path) -> None:
    make_process(tmp_path, 10, 1)
    make_process(tmp_path, 11, 10, name="odd) S 99 (name")
    assert family((10,), tmp_path) == {10, 11}


def test_a_root_that_has_ended_is_no_family(tmp_path: Path) -> None:
    make_process(tmp_path, 10, 1)
    assert family((77,), tmp_path) == frozenset()


def test_every_thread_counts(tmp_path: Path) -> None:
    make_process(tmp_path, 10, 1, threads={10: 100, 15: 40})
    assert read_threads((10, 77), tmp_path) == {(10, 10): 100, (10, 15): 40}


def test_what_was_spent_is_the_difference_and_new_threads_count_from_zero() -> None:
    before = {(1, 1): 100, (1, 2): 50}
    after = {(1, 1): 130, (1, 3): 7}
    assert spent(before, after) == 37


def test_memory_is_added_up_over_processes(tmp_path: Path) -> None:
    for pid, kib in ((10, 1000), (11, 24)):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "smaps_rollup").write_text(f"x\nRss:  9999 kB\nPss:  {kib} kB\nPss_Dirty: 5 kB\n")
    assert read_pss_bytes((10, 11, 77), tmp_path) == 1024 * 1024


def test_the_peak_is_not_what_is_resident_now(tmp_path: Path) -> None:
    (tmp_path / "10").mkdir()
    (tmp_path / "10" / "status").write_text("Name: x\nVmHWM:\t 2048 kB\nVmRSS:\t 1024 kB\n")
    assert (read_peak_bytes(10, tmp_path), read_rss_bytes(10, tmp_path)) == (2048 * 1024, 1024 * 1024)


def test_idle_and_waiting_are_not_busy_and_stolen_time_is(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("cpu  1 2 3 1000 2000 4 5 6 0 0\ncpu0 9 9 9 9\n")
    assert read_busy_ns(tmp_path) == (1 + 2 + 3 + 4 + 5 + 6) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def test_a_real_child_that_works_is_seen_working() -> None:
    with subprocess.Popen(
        (sys.executable, "-c", "input()\nfor _ in range(10**6): pass\nprint(flush=True)\ninput()"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        before = read_threads((child.pid,))
        child.stdin.write(b"\n")
        child.stdin.flush()
        child.stdout.readline()
        assert child.pid in family((os.getpid(),))
        assert spent(before, read_threads((child.pid,))) > 0
        assert read_pss_bytes((child.pid,)) > 0
        child.communicate(b"\n")


def test_threads_that_run_already_are_moved() -> None:
    own = os.sched_getaffinity(0)
    one = frozenset({min(own)})
    with subprocess.Popen((sys.executable, "-c", "input()"), stdin=subprocess.PIPE) as child:
        set_cores((child.pid, 2**22 - 1), one)
        assert os.sched_getaffinity(child.pid) == one
        child.communicate(b"\n")
