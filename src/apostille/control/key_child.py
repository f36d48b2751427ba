"""The embedded key store as a supervised child: started when it is wanted, mended after a kill, left alone if damaged.

The gateway can do without it: known keys go on working, and everything that needs no key does anyway.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from apostille.base.errors import ApostilleError
from apostille.control.children import (
    ChildAbandoned,
    ChildEnded,
    ChildEvent,
    ChildReady,
    ChildSpec,
    ChildStarted,
    ChildWarned,
    RestartPolicy,
    Watch,
)
from apostille.control.key_folder import Report, Standing, store_folder, write_report
from apostille.control.state_folder import StateFolder
from apostille.control.supervisor import Supervisor
from apostille.keys.embedded import SOCKET, compile_embedded, find_valkey, is_ready, parse_failure, prepare_folder

NAME = "keys"

# Seconds between looks at whether the folder is there, and to a new attempt after the store could not be kept running.
POLL = 0.1
RETRY = 5.0
# A file of many gigabytes takes minutes to load.
_READY_SECONDS = 900.0
_STOP_SECONDS = 15.0
# In a row, a second apart: a slow disk is no reason to kill a store, which then has to load everything again.
_SILENCES = 30

_RESTART = RestartPolicy()

_LAST_WORDS = 50
# "1234:M 01 Jan 2026 00:00:00.000 # words": the sharp is for warnings.
_WARNING = re.compile(r"\d+:[A-Z] .{8,40}? # (.*)")
_FAREWELL = "is now ready to exit"
# It quotes from a damaged file, records included.
_QUOTED = re.compile(r"['\"{\[].*")


class KeyChild:
    """`run` is one task for the life of the gateway; `settled` is set when the store is ready, unwanted or given up."""

    def __init__(
        self,
        folder: StateFolder,
        supervisor: Supervisor,
        *,
        env: Mapping[str, str],
        report: Callable[[ChildEvent], None],
        server: Path | None = None,
        restart: RestartPolicy = _RESTART,
        retry: float = RETRY,
    ) -> None:
        """`env`: the whole environment of the store. `server`: None is the one of the wheel. `retry`: seconds."""
        self._state = folder.path
        self._folder = store_folder(folder.path)
        self._socket = folder.socket(SOCKET)
        self._supervisor = supervisor
        self._env = env
        self._report = report
        self._server = server
        self._restart = restart
        self._retry = retry
        self._words: deque[str] = deque(maxlen=_LAST_WORDS)
        self._damage: str | None = None
        self.settled = asyncio.Event()

    async def run(self) -> None:
        """Until the supervisor stops. A store that cannot be kept running is reported, and tried again later.

        One whose file is damaged is not, until its folder has been taken away.
        """
        self._say(Standing.NOT_STARTED)
        try:
            while True:
                if self._identity() is None:
                    self.settled.set()
                    await self._until_other(None)
                self._say(Standing.STARTING)
                self._damage = None
                try:
                    await self._supervisor.run_beside(self._spec())
                    return
                except ApostilleError as error:
                    await self._give_up(str(error))
        finally:
            self._say(None)

    def see(self, event: ChildEvent) -> None:
        """To be told of everything that the supervisor reports."""
        if event.name != NAME:
            return
        match event:
            case ChildStarted():
                self._say(Standing.STARTING)
            case ChildReady():
                self._say(Standing.READY)
                self.settled.set()
            case ChildEnded():
                self._say(Standing.UNAVAILABLE, "it has ended and is started again")
            case _:
                pass

    async def _give_up(self, why: str) -> None:
        """Until it makes sense to try again."""
        damaged = self._damage is not None
        self._say(Standing.DAMAGED if damaged else Standing.UNAVAILABLE, why)
        self._report(ChildAbandoned(name=NAME, why=why, retry_in=None if damaged else self._retry))
        self.settled.set()
        if damaged:
            await self._until_other(self._identity())
            self._say(Standing.NOT_STARTED)
        else:
            await asyncio.sleep(self._retry)

    def _identity(self) -> tuple[int, int] | None:
        """Which folder it is that is there; None for none."""
        try:
            status = self._folder.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    async def _until_other(self, before: tuple[int, int] | None) -> None:
        # Not a watch of the kernel's: a look costs some microseconds, and works on every file system.
        while True:
            if self._identity() != before:
                return
            await asyncio.sleep(POLL)

    def _spec(self) -> ChildSpec:
        """Raises StartError."""
        embedded = compile_embedded(self._folder, server=find_valkey(self._server), socket=self._socket)
        return ChildSpec(
            name=NAME,
            argv=embedded.argv,
            env=self._env,
            prepare=self._prepare,
            hear=self._hear,
            hopeless=self._hopeless,
            ready=lambda: is_ready(self._socket),
            ready_seconds=_READY_SECONDS,
            watch=Watch(probe=lambda: is_ready(self._socket), interval=1.0, limit=1.0, failures=_SILENCES),
            stop_seconds=_STOP_SECONDS,
            restart=self._restart,
        )

    async def _prepare(self) -> str | None:
        self._words.clear()
        torn = await asyncio.to_thread(prepare_folder, self._folder)
        if torn is None:
            return None
        return (
            f"{torn.file} ended in the middle of a change that nobody was told of: "
            f"its last {torn.removed} bytes were cut off and are kept in {torn.kept}"
        )

    def _hear(self, line: str) -> None:
        self._words.append(line)
        if (warning := _WARNING.fullmatch(line)) is not None and _FAREWELL not in line:
            self._report(ChildWarned(name=NAME, words=_QUOTED.sub("…", warning[1])))

    def _hopeless(self) -> str | None:
        self._damage = parse_failure(self._folder, "\n".join(self._words))
        return self._damage

    def _say(self, standing: Standing | None, why: str | None = None) -> None:
        try:
            write_report(self._state, None if standing is None else Report(standing=standing, why=why))
        except OSError as error:
            # A page of the control plane is out of date then; traffic is not concerned.
            self._report(ChildWarned(name=NAME, words=f"its state cannot be written down: {error.strerror}"))
