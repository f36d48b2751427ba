"""Envoy as a plain proxy with default settings: what everything else is compared with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from apostille.xds.access_log import emit_access_log
from apostille.xds.configuration import emit_json
from bench.design import BUCKET_HOST, Group, Place, Running
from bench.envoy_config import bare_config
from bench.load import Target
from bench.manifests import object_path
from bench.processes import run_envoy


@dataclass(frozen=True, kw_only=True)
class BareEnvoy:
    """`access_log`: with the very log that the gateway writes. `routes`: a list of prefixes; the last is asked."""

    routes: int = 1
    access_log: bool = False
    checks_key: bool = False
    signs: bool = False

    @property
    def name(self) -> str:
        return (
            "bare-envoy" + ("-log" if self.access_log else "") + (f"-routes-{self.routes}" if self.routes > 1 else "")
        )

    @property
    def title(self) -> str:
        return "bare Envoy" + (", with the gateway's access log" if self.access_log else "")

    @property
    def group(self) -> Group:
        return "main" if self.routes == 1 else "routes"

    @property
    def follows(self) -> str:
        return "" if self == BareEnvoy() else BareEnvoy().name

    @property
    def scale(self) -> int:
        return self.routes

    @asynccontextmanager
    async def start(self, place: Place) -> AsyncIterator[Running]:
        log = [emit_json(emit_access_log())] if self.access_log else []
        config = bare_config(place.upstream, routes=self.routes, access_log=log, host=BUCKET_HOST)
        async with run_envoy(config, place.folder / "bare", workers=place.cores) as (envoy, port):
            yield Running(roots=(envoy.pid,), target=Target(port=port, path=object_path(self.routes)))

    async def check(self, _: Running) -> None:
        """Nothing to doubt."""
