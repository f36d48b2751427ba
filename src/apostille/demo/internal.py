"""The internal service: httpbin, which answers with what it was sent."""

from __future__ import annotations

import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from apostille.demo.child import Child, run_child


@dataclass(frozen=True, slots=True, kw_only=True)
class Internal:
    """A running httpbin on the loopback, over plain HTTP."""

    port: int
    child: Child

    async def stop(self) -> None:
        await self.child.stop()


async def start_internal(folder: Path) -> Internal:
    """Start httpbin; `folder` gets its log.

    It accepts connections from the first moment: its socket listens already, and a request waits there while it starts.
    """
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        port = listener.getsockname()[1]
        child = await run_child(
            "the internal service (httpbin)",
            (
                *(sys.executable, "-I", "-m", "gunicorn", "httpbin:app"),
                *("--bind", f"fd://{listener.fileno()}"),
                # Threads, because a plain worker serves one connection at a time and keeps none open.
                *("--worker-class", "gthread", "--threads", "16", "--keep-alive", "75"),
                *("--worker-tmp-dir", str(folder), "--no-control-socket", "--graceful-timeout", "1"),
                *("--log-level", "warning"),
            ),
            log=folder / "httpbin.log",
            pass_fds=(listener.fileno(),),
        )
    return Internal(port=port, child=child)
