"""The judge, a bucket that checks signatures and is not ours, and the example signers to be judged."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType

import aiohttp
import pytest
import pytest_asyncio
from yarl import URL

from apostille.demo.bucket import Bucket, start_bucket

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
BUCKET = "example-bucket"
CAKE = b'{"cake": "\xf0\x9f\x8d\xb0", "bytes": "\\u0000"}\n\x00\xff'


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A request to the judge, as it goes on the wire."""

    method: str = "GET"
    host: str = f"{BUCKET}.s3.eu-west-1.amazonaws.com"
    target: str = "/cake.json"
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def with_header(self, name: str, value: str) -> Sent:
        return replace(self, headers={**self.headers, name: value})


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    status: int
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    bucket: Bucket

    async def ask(self, sent: Sent) -> Judgement:
        url = URL(f"http://127.0.0.1:{self.bucket.port}{sent.target}", encoded=True)
        async with (
            aiohttp.ClientSession(auto_decompress=False) as http,
            http.request(
                sent.method, url, headers={"Host": sent.host, **sent.headers}, data=sent.body or None
            ) as answer,
        ):
            return Judgement(status=answer.status, body=await answer.read())


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def judge(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Judge]:
    bucket = await start_bucket(tmp_path_factory.mktemp("judge"))
    try:
        await bucket.create_bucket(BUCKET)
        await bucket.put_object(BUCKET, "cake.json", CAKE)
        yield Judge(bucket=bucket)
    finally:
        await bucket.stop()


@pytest.fixture(scope="session")
def python_signer() -> Iterator[ModuleType]:
    """The Python signer as a module, for its pure functions."""
    spec = importlib.util.spec_from_file_location("s3_signer_python", EXAMPLES / "s3-signer-python" / "signer.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their own module up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]
