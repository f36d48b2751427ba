"""``python -m bench.large_objects [GIB]``: an object of any size up and down through a signing gateway, and its memory.

The upstream throws uploads away and makes downloads up. What is found stays in build/bench for the page.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from apostille.demo.signer import python_command
from bench.accounting import read_peak_bytes, read_rss_bytes
from bench.design import API_KEY, KEY_HEADER
from bench.designs.apostille_gateway import Gateway, run_gateway
from bench.manifests import manifests
from bench.processes import run_listening

GIB = 1024**3
_UPSTREAM = Path(__file__).parent / "peers" / "bottomless.py"
_OUTPUT = Path(__file__).resolve().parents[1] / "build" / "bench" / "large_objects.json"
_PIECE = bytes(256 * 1024)
_SAMPLE_SECONDS = 0.1


async def measure(size: int) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(prefix="ab-"))
    try:
        async with AsyncExitStack() as stack:
            argv = (*python_command(_UPSTREAM), str(size))
            _, upstream = await stack.enter_async_context(run_listening("bottomless", argv, folder))
            files = manifests(upstream, streaming=True)
            return await _both_ways(await stack.enter_async_context(run_gateway(files, folder)), size)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _both_ways(gateway: Gateway, size: int) -> dict[str, Any]:
    processes = {"apostille run": gateway.pid, **gateway.children()}
    before = {name: read_rss_bytes(pid) for name, pid in processes.items()}
    upload, upload_seconds = await _sampled(_upload(gateway.port, size), processes)
    download, download_seconds = await _sampled(_download(gateway.port, size), processes)
    return {
        "gib": size / GIB,
        "before": before,
        "upload": upload,
        "download": download,
        "peak": {name: read_peak_bytes(pid) for name, pid in processes.items()},
        "upload_mib_s": size / 1024**2 / upload_seconds,
        "download_mib_s": size / 1024**2 / download_seconds,
    }


async def _sampled(deed: Awaitable[None], processes: Mapping[str, int]) -> tuple[dict[str, int], float]:
    """The most memory of each process while it lasts, and how long that is in seconds."""
    most = dict.fromkeys(processes, 0)
    task = asyncio.ensure_future(deed)
    began = time.monotonic()
    while not task.done():
        await asyncio.wait((task,), timeout=_SAMPLE_SECONDS)
        most = {name: max(most[name], read_rss_bytes(pid)) for name, pid in processes.items()}
    task.result()
    return most, time.monotonic() - began


async def _upload(port: int, size: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(_request("PUT", f"content-length: {size}\r\n"))
    left = size
    while left:
        piece = _PIECE[: min(left, len(_PIECE))]
        writer.write(piece)
        await writer.drain()
        left -= len(piece)
    answer = await reader.readuntil(b"\r\n\r\n")
    if not answer.startswith(b"HTTP/1.1 200 ") or str(size).encode() not in answer:
        raise RuntimeError(f"the upload was answered by {answer!r}")
    writer.close()


async def _download(port: int, size: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024 * 1024)
    writer.write(_request("GET", ""))
    answer = await reader.readuntil(b"\r\n\r\n")
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError(f"the download was answered by {answer!r}")
    left = size
    while left:
        piece = await reader.read(1024 * 1024)
        if not piece:
            raise RuntimeError(f"the download ended {left} bytes early")
        left -= len(piece)
    writer.close()


def _request(method: str, more: str) -> bytes:
    return f"{method} /large.bin HTTP/1.1\r\nhost: bench\r\n{KEY_HEADER}: {API_KEY}\r\n{more}\r\n".encode()


def main() -> None:
    found = asyncio.run(measure(int(float(sys.argv[1] if len(sys.argv) > 1 else 5) * GIB)))
    _OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    _OUTPUT.write_text(json.dumps(found, indent=1))
    sys.stdout.write(_OUTPUT.read_text() + "\n")


if __name__ == "__main__":
    main()
