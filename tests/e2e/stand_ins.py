"""The services behind a gateway under test, started because a case names them: ``${echo.port}`` starts ``echo``."""

from __future__ import annotations

import re
import secrets
import socket
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from apostille.base.secrets import SecretText
from apostille.demo.bucket import start_bucket
from apostille.demo.certificates import make_authority
from apostille.demo.internal import start_internal
from apostille.demo.recorder import Recorder, start_recorder
from apostille.demo.signer import Credentials, node_command, python_command, start_signer
from tests.e2e.upstream import Upstream

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SIGNERS = {
    "node": lambda: node_command(EXAMPLES / "s3-signer-node" / "signer.mjs"),
    "python": lambda: python_command(EXAMPLES / "s3-signer-python" / "signer.py"),
}
BUCKET = "example-bucket"
BUCKET_HOST = "example-bucket.s3.eu-west-1.amazonaws.com"
# Bytes that a text in between would spoil.
CAKE = b'{"cake": "\xf0\x9f\x8d\xb0", "bytes": "\\u0000"}\n\x00\xff'
PLACEHOLDER = re.compile(r"\$\{([a-z0-9-]+)\.([a-z]+)\}")

# Answer as they are told to, and remember what they were asked.
_UPSTREAMS = ("echo", "other", "decider")


class Witness(Protocol):
    """One request that a stand-in was sent."""

    @property
    def head(self) -> bytes: ...
    @property
    def body(self) -> bytes: ...
    @property
    def headers(self) -> tuple[tuple[str, str], ...]: ...


@dataclass(kw_only=True)
class StandIns:
    """`values`: placeholder without its braces → what to write there. `ca`: the authorities that the gateway trusts."""

    values: dict[str, str] = field(default_factory=dict)
    upstreams: dict[str, Upstream] = field(default_factory=dict)
    recorders: dict[str, Recorder] = field(default_factory=dict)
    ca: Path | None = None
    secrets: list[str] = field(default_factory=list)

    def seen(self, name: str) -> Sequence[Witness]:
        """What the stand-in was sent so far."""
        return self.upstreams[name].requests if name in self.upstreams else self.recorders[name].requests

    @property
    def witnesses(self) -> Iterator[str]:
        yield from (*self.upstreams, *self.recorders)

    def fill(self, text: str, more: Mapping[str, str] | None = None) -> str:
        """The text with every placeholder replaced. Raises KeyError for one that nobody knows."""
        values = {**self.values, **(more or {})}
        return PLACEHOLDER.sub(lambda found: values[f"{found[1]}.{found[2]}"], text)


def named_in(text: str) -> frozenset[str]:
    """The stand-ins that a text has placeholders for."""
    return frozenset(found[1] for found in PLACEHOLDER.finditer(text))


@asynccontextmanager
async def stand_ins(names: frozenset[str], folder: Path, *, signer: str = "python") -> AsyncIterator[StandIns]:
    """Start those; `folder` gets their files. ``closed`` is a port where nobody listens."""
    cast = StandIns()
    async with AsyncExitStack() as stack:
        for name in _UPSTREAMS:
            if name in names:
                cast.upstreams[name] = await stack.enter_async_context(Upstream())
                cast.values[f"{name}.port"] = str(cast.upstreams[name].port)
        if "closed" in names:
            # Bound and not listening: whoever connects is refused, and nobody else can get the port.
            closed = stack.enter_context(socket.socket())
            closed.bind(("127.0.0.1", 0))
            cast.values["closed.port"] = str(closed.getsockname()[1])
        if "httpbin" in names:
            internal = await start_internal(folder / "httpbin")
            stack.push_async_callback(internal.stop)
            recorder = await stack.enter_async_context(start_recorder("127.0.0.1", internal.port))
            cast.recorders["httpbin"] = recorder
            cast.values["httpbin.port"] = str(recorder.port)
        if "bucket" in names:
            await _start_bucket(cast, stack, folder, signer)
        unknown = names - {value.partition(".")[0] for value in cast.values} - {"gateway"}
        assert not unknown, f"no such stand-in: {sorted(unknown)}"
        yield cast


async def _start_bucket(cast: StandIns, stack: AsyncExitStack, folder: Path, signer: str) -> None:
    """The bucket behind a recorder that speaks TLS for it; signers, behind recorders too, one of which may sign."""
    bucket = await start_bucket(folder / "bucket")
    stack.push_async_callback(bucket.stop)
    await bucket.create_bucket(BUCKET)
    await bucket.put_object(BUCKET, "cake.json", CAKE)
    await bucket.put_object(BUCKET, "plain/one.txt", b"one")

    authority = make_authority(folder / "ca")
    cast.ca = authority.roots
    tls = start_recorder("127.0.0.1", bucket.port, authority.issue(BUCKET_HOST))
    cast.recorders["bucket"] = await stack.enter_async_context(tls)
    cast.values["bucket.port"] = str(tls.port)

    credentials = Credentials(access_key=bucket.access_key, secret_key=bucket.secret_key)
    cast.secrets += [bucket.access_key, bucket.secret_key.reveal()]
    for name, known in (("signer", credentials), ("powerless", None), ("thief", _thief(bucket.access_key))):
        running = await start_signer(SIGNERS[signer](), folder=folder / name, credentials=known)
        stack.push_async_callback(running.stop)
        recorder = await stack.enter_async_context(start_recorder("127.0.0.1", running.port))
        cast.recorders[name] = recorder
        cast.values[f"{name}.port"] = str(recorder.port)


def _thief(access_key: str) -> Credentials:
    return Credentials(access_key=access_key, secret_key=SecretText(secrets.token_urlsafe(30)))
