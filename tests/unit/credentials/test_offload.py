from __future__ import annotations

import asyncio
import threading

import pytest

from apostille.credentials.offload import run_in_thread


async def test_work_runs_in_a_thread_that_does_not_keep_the_process() -> None:
    thread = await run_in_thread(threading.current_thread, name="credentials")
    assert thread is not threading.current_thread()
    assert thread.name == "credentials"
    assert thread.daemon


async def test_what_the_work_raises_is_raised() -> None:
    def fail() -> None:
        raise KeyError("gone")

    with pytest.raises(KeyError, match="gone"):
        await run_in_thread(fail, name="credentials")


async def test_who_is_cancelled_does_not_wait_for_the_thread() -> None:
    begun, end = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []

    def hang() -> None:
        threads.append(threading.current_thread())
        begun.set()
        end.wait(30)

    waiting = asyncio.create_task(run_in_thread(hang, name="credentials"))
    await asyncio.to_thread(begun.wait, 30)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert threads[0].is_alive()
    end.set()
    await asyncio.to_thread(threads[0].join, 30)


def test_a_thread_that_ends_after_the_loop_harms_nobody() -> None:
    begun, end = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []

    def hang() -> None:
        threads.append(threading.current_thread())
        begun.set()
        end.wait(30)

    async def leave() -> None:
        waiting = asyncio.create_task(run_in_thread(hang, name="credentials"))
        await asyncio.to_thread(begun.wait, 30)
        waiting.cancel()

    asyncio.run(leave())
    end.set()
    threads[0].join(30)
    assert not threads[0].is_alive()
