"""Envoy as a process: how it is called, when it is ready, how it stops without cutting a request off."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from apostille.base.clock import Clock
from apostille.base.errors import StartError
from apostille.proxy.admin import EnvoyAdmin
from apostille.proxy.spawn import kill_session, signal_process, spawn

_POLL_SECONDS = 0.02
_VALIDATE_SECONDS = 60.0
_WORDS_LIMIT = 4000
_DUMP = "goo.gle/debug"
_CONSTRAINT = "Proto constraint validation failed"
_UNPARSABLE = re.compile(r"(Unable to parse JSON as proto \(.*?\)): .*", re.DOTALL)
_LOG_PREFIX = re.compile(r"^\[\d{4}-\d\d-\d\d [^]]*\](\[[^]]*\])* (\[[^]]*\] )?")


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyCommand:
    """How Envoy is called. `drain_seconds`: how long listeners that go away still take connections."""

    binary: Path
    config: Path
    admin_socket: Path
    concurrency: int = 2
    drain_seconds: int = 5
    log_level: str = "warning"

    def argv(self) -> tuple[str, ...]:
        return (
            str(self.binary),
            "--config-path",
            str(self.config),
            "--concurrency",
            str(self.concurrency),
            "--drain-time-s",
            str(self.drain_seconds),
            "--log-level",
            self.log_level,
            # For each API key Envoy would warn that its key filter is young: 107 MB for 100,000 of them. What else is
            # said of a configuration there is said when it is judged.
            "--component-log-level",
            "misc:error",
            # Of what comes over xDS all has been judged, unknown fields too; to look for them again takes Envoy a third
            # of the time that a change among 10,000 routes needs.
            "--ignore-unknown-dynamic-fields",
            # Otherwise a line of the access log may be ten seconds old before anybody can read it.
            "--file-flush-interval-msec",
            "500",
            # Hot restart keeps a piece of shared memory for each process, which stays for ever after a kill -9.
            "--disable-hot-restart",
        )


class EnvoyProcess:
    """One running Envoy, without restarts: for proofs and tests. `apostille run` supervises the same command."""

    def __init__(self, process: Process, *, admin: EnvoyAdmin, clock: Clock) -> None:
        self._process = process
        self._clock = clock
        self.admin = admin

    @classmethod
    async def start(
        cls,
        command: EnvoyCommand,
        *,
        clock: Clock,
        env: Mapping[str, str] | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
    ) -> EnvoyProcess:
        """Start it; `stdout` (the access log) and `stderr` are ours unless given. Raises StartError."""
        process = await spawn(command.argv(), env=env or {}, stdout=stdout, stderr=stderr)
        return cls(process, admin=EnvoyAdmin(command.admin_socket, clock=clock), clock=clock)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def wait(self) -> int:
        """Until it has ended; the exit code, or the negative number of the signal that ended it."""
        return await self._process.wait()

    async def wait_ready(self, limit: float = 15.0) -> None:
        """Until it serves. Raises StartError when it ends first or is not ready after `limit` seconds."""
        deadline = self._clock.monotonic() + limit
        while not await self.admin.ready():
            if self._process.returncode is not None:
                raise StartError(
                    f"Envoy ended with {self._process.returncode} before it was ready; its own words are above"
                )
            if self._clock.monotonic() >= deadline:
                raise StartError(f"Envoy was not ready after {limit:g} s")
            await asyncio.sleep(_POLL_SECONDS)

    async def listener_ports(self) -> Mapping[str, int]:
        return await self.admin.listener_ports()

    async def stats(self, pattern: str = "") -> Mapping[str, int]:
        return await self.admin.stats(pattern)

    async def drain_and_stop(self, limit: float = 30.0, *, patience: float = 5.0) -> bool:
        """Drain for at most `limit` seconds, then end it. True when no request was cut off."""
        # SIGTERM alone starts no drain: it cuts every request in flight.
        clean = await self.admin.drain(limit)
        signal_process(self._process, signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), patience)
        except TimeoutError:
            await self.kill()
        return clean

    async def kill(self) -> None:
        """End it now."""
        if self._process.returncode is None:
            kill_session(self._process)
        await self._process.wait()


async def validate(config: str | bytes, binary: Path, *, limit: float = _VALIDATE_SECONDS) -> str | None:
    """What Envoy says against this bootstrap, or None when it would take it. `config`: JSON text, or the serialized
    message, which is three times as fast to write and to read.

    Envoy loads everything but opens no port and resolves no name. No answer within `limit` seconds counts as a refusal.
    Raises StartError when Envoy cannot be run.
    """
    # Not as an argument: process lists are public, and a configuration may hold secrets. mkstemp makes it 0600.
    handle, name = tempfile.mkstemp(prefix="apostille-", suffix=".json" if isinstance(config, str) else ".pb")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(config.encode() if isinstance(config, str) else config)
        return await _validate_file(name, binary, limit)
    finally:
        Path(name).unlink()


async def _validate_file(name: str, binary: Path, limit: float) -> str | None:
    argv = (str(binary), "--mode", "validate", "--config-path", name, "--concurrency", "1", "--log-level", "critical")
    process = await spawn((*argv, "--disable-hot-restart"), env={}, stdout=DEVNULL, stderr=PIPE)
    try:
        _, log = await asyncio.wait_for(process.communicate(), limit)
    except TimeoutError:
        return f"Envoy did not judge the configuration within {limit:g} s"
    finally:
        if process.returncode is None:
            kill_session(process)
            await process.wait()
    if process.returncode == 0:
        return None
    return _words(log.decode(errors="replace"), name) or f"Envoy ended with {process.returncode} and gave no reason"


def _words(log: str, file: str) -> str:
    """Envoy's reason without the time, the thread and the name of our temporary file.

    Envoy repeats the message it refuses, secrets and all: that part is left out.
    """
    text = _LOG_PREFIX.sub("", log.strip())
    text = text.replace(f"error initializing configuration '{file}': ", "").replace(file, "the configuration")
    if _DUMP in text:
        reason = text.rfind(_CONSTRAINT)
        text = text[max(reason, 0) :].partition(_DUMP)[0]
    text = _UNPARSABLE.sub(r"\1", text)
    return " ".join(text.split())[:_WORDS_LIMIT]
