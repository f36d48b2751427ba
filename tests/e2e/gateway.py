"""``apostille run`` as a process of its own, as a user would start it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from apostille.proxy.spawn import kill_session, spawn

START_SECONDS = 30.0
STOP_SECONDS = 20.0

Line = Mapping[str, Any]


class Lines:
    """What a process writes, line by line; a line that is no JSON object becomes ``{"text": line}``."""

    def __init__(self) -> None:
        self.all: list[Line] = []
        self.raw = b""
        self._changed = asyncio.Condition()
        self._ended = False

    async def follow(self, stream: asyncio.StreamReader) -> None:
        async for line in stream:
            self.raw += line
            await self._tell(_parse(line.decode("utf-8", "replace").rstrip("\n")))
        self._ended = True
        await self._tell(None)

    async def _tell(self, line: Line | None) -> None:
        async with self._changed:
            if line is not None:
                self.all.append(line)
            self._changed.notify_all()

    async def wait_for(self, wanted: Callable[[Line], bool], *, since: int = 0, within: float = START_SECONDS) -> Line:
        """The first line like that from number `since` on. Raises AssertionError when none comes."""

        def found() -> Line | None:
            return next((line for line in self.all[since:] if wanted(line)), None)

        async with self._changed:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait_for(lambda: found() is not None or self._ended), within)
        line = found()
        assert line is not None, f"the line that was waited for did not come within {within:g} s"
        return line

    async def wait_for_event(
        self, event: str, *, since: int = 0, within: float = START_SECONDS, **fields: object
    ) -> Line:
        """The first log line of this event with these fields."""
        wanted = {"event": event, **fields}
        return await self.wait_for(
            lambda line: all(line.get(name) == value for name, value in wanted.items()), since=since, within=within
        )


def _parse(text: str) -> Line:
    try:
        value = json.loads(text)
    except ValueError:
        return {"text": text}
    return value if isinstance(value, dict) else {"text": text}


@dataclass(kw_only=True)
class Run:
    """One ``apostille run``. `out` is its access log, `err` everything else it says."""

    process: Process
    manifests: Path
    state: Path
    out: Lines = field(default_factory=Lines)
    err: Lines = field(default_factory=Lines)
    _readers: list[asyncio.Task[None]] = field(default_factory=list)
    _ready: Line = field(default_factory=dict)

    def follow(self) -> None:
        for lines, stream in ((self.out, self.process.stdout), (self.err, self.process.stderr)):
            assert stream is not None
            self._readers.append(asyncio.create_task(lines.follow(stream)))

    async def wait_ready(self) -> None:
        self._ready = await self.err.wait_for_event("gateway.ready")

    @property
    def port(self) -> int:
        """The port of the only listener, or of the first."""
        return int(next(iter(self._ready["listeners"].values())))

    @property
    def admin(self) -> str:
        return str(self._ready["admin"])

    def pid(self, child: str) -> int:
        """The process that ``control-plane``, ``auth-0``, ``envoy`` or ``keys`` runs as now."""
        started = [line for line in self.err.all if line.get("event") == "process.started" and line["name"] == child]
        return int(started[-1]["pid"])

    @property
    def children(self) -> tuple[int, ...]:
        """Every child that was ever started, dead ones too."""
        return tuple(int(line["pid"]) for line in self.err.all if line.get("event") == "process.started")

    async def wait_back(self, child: str, *, since: int, within: float = 10.0) -> Line:
        """Until a child that ended has been started again and is ready; `since`: a number of lines of `err`."""
        return await self.err.wait_for(
            lambda line: line.get("event") == "process.ready" and line["name"] == child, since=since, within=within
        )

    async def page(self, path: str) -> tuple[int, str]:
        """A page of the admin port: status and text."""
        async with aiohttp.ClientSession() as http, http.get(f"{self.admin}{path}") as answer:
            return answer.status, await answer.text()

    async def envoy_page(self, path: str) -> str:
        """A page of Envoy's own admin interface, which only its socket leads to."""
        connector = aiohttp.UnixConnector(str(self.state / "sockets" / "envoy.sock"))
        async with aiohttp.ClientSession(connector=connector) as http, http.get(f"http://envoy{path}") as answer:
            return await answer.text()

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    async def wait_end(self, within: float = STOP_SECONDS) -> int:
        """Until it has ended and said its last word; the exit code."""
        code = await asyncio.wait_for(self.process.wait(), within)
        await asyncio.wait_for(asyncio.gather(*self._readers), within)
        return code

    async def stop(self) -> int:
        """SIGTERM; the exit code."""
        if self.process.returncode is None:
            self.signal(signal.SIGTERM)
        return await self.wait_end()

    async def kill(self) -> None:
        if self.process.returncode is None:
            kill_session(self.process)
            await self.process.wait()
        # A child that outlived it would hold its output open.
        await asyncio.wait(self._readers, timeout=STOP_SECONDS)
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        # Closes the pipes now, not when the garbage is collected.
        self.process._transport.close()  # type: ignore[attr-defined]


async def start_run(
    manifests: Path,
    state: Path,
    *,
    workers: int = 1,
    ports: tuple[str, ...] = ("8080=0",),
    ca: Path | None = None,
    env: Mapping[str, str] | None = None,
    options: tuple[str, ...] = (),
) -> Run:
    """Start it and do not wait. `ca`: PEM file of the authorities to trust."""
    trust = {"SSL_CERT_FILE": str(ca)} if ca is not None else {}
    process = await spawn(
        (
            *(sys.executable, "-P", "-m", "apostille", "run", str(manifests), f"--state={state}"),
            *(f"--workers={workers}", "--admin-port=0", *(f"--port={port}" for port in ports), *options),
        ),
        env={"PATH": os.defpath, **trust, **(env or {})},
        stdout=PIPE,
        stderr=PIPE,
    )
    run = Run(process=process, manifests=manifests, state=state)
    run.follow()
    return run


@asynccontextmanager
async def gateway(
    manifests: Path,
    *,
    state: Path | None = None,
    workers: int = 1,
    ca: Path | None = None,
    env: Mapping[str, str] | None = None,
    options: tuple[str, ...] = (),
) -> AsyncIterator[Run]:
    """A gateway that serves. When the test fails, what the gateway said stands below the error."""
    with tempfile.TemporaryDirectory(prefix="ap-") as folder:
        run = await start_run(
            manifests, state or Path(folder) / "state", workers=workers, ca=ca, env=env, options=options
        )
        try:
            await run.wait_ready()
            yield run
        except BaseException as error:
            error.add_note(await _words(run))
            raise
        finally:
            if run.process.returncode is None:
                with contextlib.suppress(TimeoutError):
                    await run.stop()
            await run.kill()


async def _words(run: Run) -> str:
    status = "(it does not answer)"
    with contextlib.suppress(Exception):
        status = (await run.page("/status"))[1]
    ended = run.process.returncode
    return "\n".join(
        (
            f"the gateway {'runs' if ended is None else f'ended with {ended}'}; /status: {status}",
            f"access log:\n{run.out.raw.decode(errors='replace')[-6000:]}",
            f"standard error:\n{run.err.raw.decode(errors='replace')[-12000:]}",
        )
    )
