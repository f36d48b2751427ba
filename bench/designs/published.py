"""The design as it was published: Envoy asks an auth service, which checks the key and has a Node.js signer sign.

A stand-in: the published auth service is compiled and speaks gRPC. The signer is the one of the examples.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from apostille.base.secrets import SecretText
from apostille.demo.manifests import find_example
from apostille.demo.signer import Credentials, node_command, python_command, start_signer
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
from bench.envoy_config import asking_config
from bench.load import Target
from bench.processes import run_envoy, run_listening

_KEY_CHECK = Path(__file__).parents[1] / "peers" / "key_check.py"


@dataclass(frozen=True, kw_only=True)
class Published:
    name: str = "published"
    title: str = "published design: Python auth service, Node.js signer"
    group: Group = "main"
    scale: int = 1
    follows: str = ""
    checks_key: bool = True
    signs: bool = True

    @asynccontextmanager
    async def start(self, place: Place) -> AsyncIterator[Running]:
        keys = Credentials(access_key=ACCESS_KEY, secret_key=SecretText(SECRET_KEY))
        program = find_example("s3-signer-node") / "signer.mjs"
        signer = await start_signer(node_command(program), folder=place.folder, credentials=keys)
        try:
            check = (*python_command(_KEY_CHECK), API_KEY, str(signer.port), OBJECT_PATH, BUCKET_HOST, REGION)
            async with run_listening("key-check", check, place.folder) as (auth, auth_port):
                config = asking_config(place.upstream, auth_port, BUCKET_HOST)
                async with run_envoy(config, place.folder / "asking", workers=place.cores) as (envoy, port):
                    yield Running(
                        roots=(envoy.pid, auth.pid, signer.child.pid),
                        target=Target(port=port, path=OBJECT_PATH, headers=((KEY_HEADER, API_KEY),)),
                    )
        finally:
            await signer.stop()

    async def check(self, _: Running) -> None:
        """Nothing to doubt."""
