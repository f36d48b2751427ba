"""Apostille itself, started as its users start it: every process of ``apostille run`` counts."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from apostille.base.errors import StartError
from apostille.base.secrets import SecretText
from apostille.demo.manifests import find_example
from apostille.demo.signer import Credentials, node_command, start_signer
from apostille.proxy.spawn import kill_session, spawn
from bench.design import ACCESS_KEY, KEY_HEADER, SECRET_KEY, Group, NotHere, Place, Running, WrongAnswer
from bench.load import Target
from bench.manifests import api_key, manifests, object_path
from bench.processes import START_SECONDS

_POLL_SECONDS = 0.02
_STOP_SECONDS = 15.0

Lane = Literal["envoy", "service"]


@dataclass(frozen=True, kw_only=True)
class ApostilleGateway:
    """API key, then Signature Version 4. `lane`: where both happen; `check` looks up whether it is so.

    `access_log`: as shipped, or off. `signer`: the worked example, in which a signer in Node.js is asked.
    """

    lane: Lane
    routes: int = 1
    keys: int = 1
    access_log: bool = True
    signer: bool = False
    checks_key: bool = True
    signs: bool = True

    @property
    def name(self) -> str:
        name = f"apostille-{self.lane}"
        name += "-signer" if self.signer else ""
        name += "" if self.access_log else "-no-log"
        name += f"-routes-{self.routes}" if self.routes > 1 else ""
        return name + (f"-keys-{self.keys}" if self.keys > 1 else "")

    @property
    def title(self) -> str:
        who = f"Apostille, {'Envoy' if self.lane == 'envoy' else 'service'} lane"
        who += ", asking a signer in Node.js" if self.signer else ""
        return who + ("" if self.access_log else ", access log off")

    @property
    def group(self) -> Group:
        return "routes" if self.routes > 1 else "keys" if self.keys > 1 else "main"

    @property
    def follows(self) -> str:
        plain = ApostilleGateway(lane=self.lane)
        return "" if self == plain else plain.name

    @property
    def scale(self) -> int:
        return max(self.routes, self.keys)

    @asynccontextmanager
    async def start(self, place: Place) -> AsyncIterator[Running]:
        async with AsyncExitStack() as stack:
            roots: list[int] = []
            signer_port = None
            if self.signer:
                keys = Credentials(access_key=ACCESS_KEY, secret_key=SecretText(SECRET_KEY))
                program = find_example("s3-signer-node") / "signer.mjs"
                signer = await start_signer(node_command(program), folder=place.folder, credentials=keys)
                stack.push_async_callback(signer.stop)
                signer_port = signer.port
                roots.append(signer.child.pid)
            files = manifests(place.upstream, routes=self.routes, keys=self.keys, signer=signer_port)
            gateway = await stack.enter_async_context(
                run_gateway(files, place.folder, lane=self.lane, access_log=self.access_log)
            )
            headers = ((KEY_HEADER, api_key(self.keys - 1)),)
            yield Running(
                roots=(*roots, gateway.pid),
                target=Target(port=gateway.port, path=object_path(self.routes), headers=headers),
                admin=gateway.admin,
            )

    async def check(self, running: Running) -> None:
        asked = await auth_decisions(running.admin)
        if self.lane == "envoy" and asked:
            raise NotHere("these manifests compile to the service lane: the auth service was asked")
        if self.lane == "service" and not asked:
            raise NotHere("these manifests compile to the Envoy lane: the auth service was not asked")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A running ``apostille run``. `log` is its standard error, one JSON object a line."""

    pid: int
    port: int
    admin: str
    folder: Path
    log: Path

    @property
    def manifests(self) -> Path:
        return self.folder / "manifests"

    def children(self) -> Mapping[str, int]:
        """Name of each supervised process → its number."""
        lines = [line for line in _lines(self.log) if line.get("event") == "process.started"]
        return {str(line["name"]): int(line["pid"]) for line in lines}


@asynccontextmanager
async def run_gateway(
    files: Mapping[str, str], folder: Path, *, lane: Lane = "envoy", access_log: bool = True
) -> AsyncIterator[Gateway]:
    """``apostille run`` with its defaults, but for the ports. `lane`: the default takes Envoy's where it can be taken.

    Raises StartError when it does not get ready.
    """
    written = folder / "manifests"
    written.mkdir(mode=0o700)
    for name, text in files.items():
        (written / name).write_text(text)
    log, out = folder / "apostille.log", folder / "access.log"
    with log.open("ab") as errors, out.open("ab") as requests:
        process = await spawn(
            (
                *(sys.executable, "-P", "-m", "apostille", "run", str(written), f"--state={folder / 'state'}"),
                *(
                    "--admin-port=0",
                    "--port=8080=0",
                    "--drain=0",
                    "--access-log" if access_log else "--no-access-log",
                    f"--lane={'service' if lane == 'service' else 'auto'}",
                ),
            ),
            env={"PATH": os.defpath},
            stdout=requests.fileno(),
            stderr=errors.fileno(),
        )
    try:
        ready = await _wait_ready(process, log)
        port = int(next(iter(ready["listeners"].values())))
        yield Gateway(pid=process.pid, port=port, admin=str(ready["admin"]), folder=folder, log=log)
    finally:
        await _stop(process)
    if not access_log and out.stat().st_size:
        raise WrongAnswer("an access log was written although it is switched off")


async def auth_decisions(admin: str) -> int:
    """How often the auth service of a running gateway has decided so far."""
    async with aiohttp.ClientSession() as http, http.get(f"{admin}/metrics") as answer:
        text = await answer.text()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return int(sum(each.value for each in samples if each.name == "apostille_auth_decisions_total"))


async def _wait_ready(process: Process, log: Path) -> Mapping[str, Any]:
    async with asyncio.timeout(START_SECONDS):
        while True:
            for line in _lines(log):
                if line.get("event") == "gateway.ready":
                    return line
            if process.returncode is not None:
                words = log.read_text().strip()
                raise StartError(f"apostille run ended with {process.returncode}: {words.splitlines()[-1]}\n{words}")
            await asyncio.sleep(_POLL_SECONDS)


async def _stop(process: Process) -> None:
    if process.returncode is None:
        os.kill(process.pid, signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), _STOP_SECONDS)
        except TimeoutError:
            kill_session(process)
            await process.wait()


def _lines(log: Path) -> list[Mapping[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{") and line.endswith("}")]
