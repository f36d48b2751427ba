"""What one writes in an afternoon: a proxy with aiohttp, signing with botocore, in one process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from apostille.demo.signer import python_command
from bench.design import (
    ACCESS_KEY,
    API_KEY,
    BUCKET_HOST,
    KEY_HEADER,
    OBJECT_PATH,
    REGION,
    SECRET_KEY,
    Group,
    Place,
    Running,
)
from bench.load import Target
from bench.processes import run_listening

_PROXY = Path(__file__).parents[1] / "peers" / "aiohttp_proxy.py"


@dataclass(frozen=True, kw_only=True)
class PythonProxy:
    name: str = "python-proxy"
    title: str = "hand-written proxy: aiohttp and botocore"
    group: Group = "main"
    scale: int = 1
    follows: str = ""
    checks_key: bool = True
    signs: bool = True

    @asynccontextmanager
    async def start(self, place: Place) -> AsyncIterator[Running]:
        told = (API_KEY, str(place.upstream), BUCKET_HOST, REGION, ACCESS_KEY, SECRET_KEY)
        async with run_listening("aiohttp-proxy", (*python_command(_PROXY), *told), place.folder) as (proxy, port):
            yield Running(
                roots=(proxy.pid,), target=Target(port=port, path=OBJECT_PATH, headers=((KEY_HEADER, API_KEY),))
            )

    async def check(self, _: Running) -> None:
        """Nothing to doubt."""
