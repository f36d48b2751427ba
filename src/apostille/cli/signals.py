"""SIGTERM and Ctrl-C as an event of the running loop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable


def stop_on_signals(again: Callable[[], None] | None = None) -> asyncio.Event:
    """An event that the first SIGTERM or SIGINT sets; each later one calls `again`."""
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set() and again is not None:
            again()
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    return stop
