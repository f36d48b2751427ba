"""A whole gateway on one machine: the control plane, the auth workers, Envoy and the embedded key store as child
processes, supervised."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from apostille.base.clock import Clock
from apostille.base.errors import StartError
from apostille.control.children import ChildEvent, ChildSpec, Watch
from apostille.control.key_child import KeyChild
from apostille.control.key_folder import pass_on_settings
from apostille.control.probe import answers
from apostille.control.state_folder import StateFolder
from apostille.control.supervisor import Supervisor
from apostille.keys.settings import URL
from apostille.model.lane import Lanes
from apostille.proxy.admin import EnvoyAdmin
from apostille.proxy.binary import find_envoy
from apostille.proxy.bootstrap import compile_bootstrap, write_bootstrap
from apostille.proxy.process import EnvoyCommand

# What a child may know of our environment. Credentials in there are not theirs to see.
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "TMPDIR")
# What the control plane may know beside that: whom it lets in at the admin API.
_ADMIN = ("APOSTILLE_ADMIN_TOKEN", "APOSTILLE_ADMIN_TOKEN_FILE")

_READY_SECONDS = 30.0
_POLL_SECONDS = 0.02
_STORE_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayOptions:
    """As `PlaneOptions`, and: `admin_address`: the IP address of the admin API; `admin_port` of 0 lets the system
    choose; `drain_seconds`: the longest that a stop waits for requests under way. `environment`: ours, of which
    children get what they need.

    `access_log`, `log`: file descriptors for Envoy's standard output and everybody's standard error; None: our own.
    """

    directory: Path
    address: str = "127.0.0.1"
    ports: Mapping[str, int] = field(default_factory=dict)
    workers: int = 2
    admin_address: str = "127.0.0.1"
    admin_port: int = 0
    drain_seconds: float = 30.0
    envoy: Path | None = None
    lanes: Lanes = Lanes.AUTO
    log_requests: bool = True
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    access_log: int | None = None
    log: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """`listeners`: name of the listener → port. `admin`: its URL."""

    listeners: Mapping[str, int]
    admin: str


class LocalGateway:
    """Start, wait, stop; the processes restart each other only through the supervisor."""

    def __init__(
        self, options: GatewayOptions, folder: StateFolder, *, clock: Clock, report: Callable[[ChildEvent], None]
    ) -> None:
        """`folder` is held by the caller for as long as this gateway lives. Raises StartError without an Envoy, or with
        settings of a key store that cannot be used.
        """
        self._options = options
        self._folder = folder
        self._clock = clock
        self._control = folder.socket("control.sock")
        self._xds = folder.socket("xds.sock")
        self._workers = [folder.socket(f"auth-{index}.sock") for index in range(options.workers)]
        self._admin = EnvoyAdmin(folder.socket("envoy.sock"), clock=clock)
        self._store = pass_on_settings(options.environment, state=folder.path, sockets=folder.sockets)
        self._keys: KeyChild | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._report = report
        self._supervisor = Supervisor(
            # The auth workers wait for their programs, so they may start along with the control plane.
            [[self._control_plane(), *self._auth_workers()], [self._envoy()]],
            clock=clock,
            chance=random.random,
            report=self._see,
        )
        if not options.environment.get(URL):
            self._keys = KeyChild(folder, self._supervisor, env=self._env(), report=report)

    async def start(self) -> Opened | None:
        """Until it serves. None when it was told to stop meanwhile. Raises StartError or ChildError."""
        if self._keys is not None:
            self._keeping = asyncio.create_task(self._keys.run(), name="keys")
        if not await self._supervisor.start():
            return None
        readiness = await self._wait_ready()
        if self._keys is not None:
            # Whoever is told that we serve may have a key. A store that takes longer does not keep the others waiting.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._keys.settled.wait(), _STORE_SECONDS)
        return Opened(listeners=await self._admin.listener_ports(), admin=str(readiness["admin"]))

    async def wait(self) -> None:
        """Until `stop` is called. Raises ChildError when a child keeps dying."""
        await self._supervisor.wait()

    async def stop(self) -> None:
        await self._supervisor.stop()
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)

    def kill(self) -> None:
        self._supervisor.kill()

    def pid(self, name: str) -> int | None:
        """The process of the child ``control-plane``, ``auth-N``, ``envoy`` or ``keys``."""
        return next((child.pid for child in self._supervisor.children if child.spec.name == name), None)

    def _see(self, event: ChildEvent) -> None:
        if self._keys is not None:
            self._keys.see(event)
        self._report(event)

    async def _readiness(self) -> Mapping[str, object]:
        timeout = aiohttp.ClientTimeout(total=2)
        connector = aiohttp.UnixConnector(str(self._control))
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.get("http://control-plane/readyz") as answer,
        ):
            readiness: Mapping[str, object] = await answer.json()
            return readiness

    async def _wait_ready(self) -> Mapping[str, object]:
        """Until Envoy runs the first configuration. Raises StartError when it refuses a part, or takes too long."""
        deadline = self._clock.monotonic() + _READY_SECONDS
        while True:
            readiness = await self._readiness()
            refusals = readiness["refusals"]
            if isinstance(refusals, list) and refusals:
                raise StartError("\n".join(_describe_refusal(str(text)) for text in refusals))
            if readiness["ready"]:
                return readiness
            if self._clock.monotonic() >= deadline:
                raise StartError(f"the gateway was not ready after {_READY_SECONDS:g} s; its words are above")
            await asyncio.sleep(_POLL_SECONDS)

    def _command(self, *arguments: str) -> tuple[str, ...]:
        # -P: a folder named like one of our packages must not be taken for it.
        return (sys.executable, "-P", "-m", "apostille", *arguments)

    def _env(self, *, credentials: bool = False, keys: bool = False) -> dict[str, str]:
        """`credentials`: the child may read what AWS's own tools read. `keys`: it may use the key store."""
        own = self._options.environment
        passed = {
            name: value
            for name, value in own.items()
            if name in _PASSED_ON or (credentials and (name == "HOME" or name.startswith("AWS_")))
        }
        # The control plane starts Envoy to judge configurations, and gRPC would remark on each such fork.
        return {
            **passed,
            **(self._store if keys else {}),
            "GRPC_ENABLE_FORK_SUPPORT": "false",
            "GRPC_VERBOSITY": "ERROR",
        }

    def _admin_token(self) -> dict[str, str]:
        return {name: value for name, value in self._options.environment.items() if name in _ADMIN}

    def _control_plane(self) -> ChildSpec:
        options = self._options
        ports = [f"--port={written}={number}" for written, number in sorted(options.ports.items())]
        return ChildSpec(
            name="control-plane",
            argv=self._command(
                "control-plane",
                str(options.directory),
                f"--state={self._folder.path}",
                f"--sockets={self._folder.sockets}",
                f"--bind={options.address}",
                f"--workers={options.workers}",
                f"--admin-bind={options.admin_address}",
                f"--admin-port={options.admin_port}",
                f"--lane={options.lanes.value}",
                "--access-log" if options.log_requests else "--no-access-log",
                *([f"--envoy={options.envoy}"] if options.envoy else []),
                *ports,
            ),
            env=self._env(keys=True) | self._admin_token(),
            ready=lambda: answers(self._control, "/healthz"),
            watch=Watch(probe=lambda: answers(self._control, "/healthz"), limit=2.0),
            fatal_exits=frozenset({1, 2}),
            stderr=options.log,
        )

    def _auth_workers(self) -> list[ChildSpec]:
        def spec(index: int, socket: Path) -> ChildSpec:
            return ChildSpec(
                name=f"auth-{index}",
                argv=self._command("auth", f"--name=auth-{index}", f"--socket={socket}", f"--xds-socket={self._xds}"),
                env=self._env(credentials=True, keys=True),
                ready=lambda: answers(socket, "/healthz"),
                watch=Watch(probe=lambda: answers(socket, "/healthz")),
                fatal_exits=frozenset({2}),
                stderr=self._options.log,
            )

        return [spec(index, socket) for index, socket in enumerate(self._workers)]

    def _envoy(self) -> ChildSpec:
        options = self._options
        admin_socket = self._folder.socket("envoy.sock")
        bootstrap = self._folder.path / "envoy.json"
        write_bootstrap(
            bootstrap,
            compile_bootstrap(admin_socket=admin_socket, xds_socket=self._xds, auth_sockets=self._workers),
        )
        command = EnvoyCommand(
            binary=find_envoy(options.envoy).path,
            config=bootstrap,
            admin_socket=admin_socket,
            concurrency=os.cpu_count() or 1,
        )
        return ChildSpec(
            name="envoy",
            argv=command.argv(),
            env=self._env(),
            ready=self._admin.ready,
            drain=lambda: self._admin.drain(options.drain_seconds),
            stdout=options.access_log,
            stderr=options.log,
        )


# "NAME: cannot bind 'ADDRESS:PORT': Address already in use"; the name ends with the port as resources write it.
_UNBOUND = re.compile(r"(\S+/([^/\s]+)): cannot bind '([^']+)': ([A-Za-z ]+)")


def _describe_refusal(words: str) -> str:
    """Envoy's words for a person, with a way out where there is one."""
    unbound = _UNBOUND.findall(words)
    if not unbound:
        return f"Envoy refuses to open what was asked for: {words.strip()}"
    return "\n".join(
        f"{listener} cannot be opened on {address}: {why.strip()}; "
        f"end what listens there, or open another port with --port {port}=NUMBER"
        for listener, port, address, why in unbound
    )
