"""A real Valkey for tests, started as the embedded store is, and what the tests put into it."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from apostille.base.clock import SystemClock
from apostille.base.secrets import SecretText
from apostille.keys.connection import StoreConnection
from apostille.keys.embedded import EmbeddedStore, compile_embedded, find_valkey, prepare_folder
from apostille.keys.format import KeyParts, new_key
from apostille.keys.record import KeyRecord, Pepper, Verdict, judge, to_second
from apostille.keys.store import KeyStore
from tests.unit.credentials.stand_ins import START

PEPPER = Pepper(b"a pepper for tests, of 32 bytes and more")


class ServerEnded(Exception):
    """The server ended before it was ready; the text is what it said."""


@dataclass(kw_only=True)
class Server:
    """`start` waits until it is ready. `log` is all that it has said since."""

    embedded: EmbeddedStore
    argv: tuple[str, ...] = ()
    ready: str = "Ready to accept connections"
    log: list[str] = field(default_factory=list)
    _process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        prepare_folder(self.embedded.folder)
        self.start_unmended()

    def start_unmended(self) -> None:
        assert self._process is None
        argv = self.argv or self.embedded.argv
        self.log.clear()
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={},
        )
        self.wait_until_it_says(self.ready)

    def wait_until_it_says(self, text: str) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.log.append(line.rstrip())
            if text in line:
                return
        self.kill()
        raise ServerEnded("\n".join(self.log))

    def kill(self) -> None:
        """As the kernel does when memory is short."""
        self._end(lambda process: process.kill())

    def stop(self) -> None:
        self._end(lambda process: process.terminate())

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def _end(self, how: Callable[[subprocess.Popen[str]], None]) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            how(process)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()

    def store(self, **settings: float) -> KeyStore:
        return KeyStore.at(self.embedded.address, SystemClock(), **settings)  # type: ignore[arg-type]

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[KeyStore]:
        store = self.store()
        try:
            yield store
        finally:
            await store.close()

    @asynccontextmanager
    async def raw(self) -> AsyncIterator[StoreConnection]:
        """For what no code of ours does."""
        connection = StoreConnection(self.embedded.address)
        try:
            yield connection
        finally:
            await connection.close()

    def last_file(self) -> Path:
        """The part of the append-only file that is written to."""
        return max((self.embedded.folder / "appendonlydir").glob("*.incr.aof"), key=os.path.getmtime)


def server_in(folder: Path) -> Server:
    return Server(embedded=compile_embedded(folder, server=find_valkey()))


def make_key(env: str = "test") -> KeyParts:
    return new_key(env, secrets.token_bytes)


def make_record(parts: KeyParts | None = None, **fields: object) -> KeyRecord:
    parts = parts or make_key()
    every: dict[str, object] = {
        "id": parts.id,
        "env": parts.env,
        "consumer": "alice",
        "digest": PEPPER.digest(parts.key),
        "created": to_second(START),
        **fields,
    }
    return KeyRecord(**every)  # type: ignore[arg-type]


def verify(record: KeyRecord, key: SecretText, pepper: Pepper, now: datetime) -> Verdict:
    """Whether `key` is the key of `record` and may be used at `now`."""
    return judge(record, pepper.digest(key), now)
