"""Blocking calls away from the event loop, in threads that nobody has to wait for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")


async def run_in_thread(work: Callable[[], T], *, name: str) -> T:
    """What `work` returns or raises. Cancelling lets go of the thread, which ends by itself.

    Not `asyncio.to_thread`: its threads are few, shared with name resolution, and joined when the process ends. A
    credential endpoint that hangs would block both.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - it is raised where it is awaited
            settle(outcome.set_exception, error)
        else:
            settle(outcome.set_result, result)

    def settle(put: Callable[[U], None], value: U) -> None:
        def put_if_awaited() -> None:
            if not outcome.cancelled():
                put(value)

        # The loop may be closed by now: then nobody waits.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(put_if_awaited)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await outcome
