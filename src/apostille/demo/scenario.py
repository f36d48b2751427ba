"""The worked example, running: a gateway, an internal service, a private bucket, and the signer between them.

Everything is real and on this machine: httpbin, the Node.js signer, OpenStack Swift as the bucket that checks
signatures. Recorders stand before the bucket and the signer, so that it can be told what reached them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from apostille.base.clock import Clock
from apostille.base.errors import ChildError
from apostille.control.children import ChildEvent
from apostille.control.gateway import GatewayOptions, LocalGateway
from apostille.control.state_folder import hold_state_folder
from apostille.demo.bucket import Bucket, start_bucket
from apostille.demo.certificates import make_authority
from apostille.demo.internal import start_internal
from apostille.demo.manifests import LocalPlaces, find_example, write_signed_example, write_signer_example
from apostille.demo.recorder import Recorder, start_recorder
from apostille.demo.signer import Credentials, Signer, node_command, start_signer

BUCKET = "example-bucket"
KEY = "cake.json"
OBJECT = b'{"cake": "chocolate", "slices": 8}\n'
API_KEY = "demo-key-0001"
CONSUMER_MAIL = "demo-user@example.com"

_LISTENER = "gateway/ingress/8080"


class SignerHouse:
    """The signer, which can be stopped and started again with other wishes, always on the same port."""

    def __init__(self, program: Path, folder: Path, credentials: Credentials) -> None:
        self._program = program
        self._folder = folder
        self._credentials = credentials
        self._signer: Signer | None = None
        self.port = 0

    async def start(self, *, allowed_paths: str | None = None) -> None:
        """`allowed_paths`: sign only these, separated by commas."""
        await self.stop()
        self._signer = await start_signer(
            node_command(self._program),
            folder=self._folder,
            credentials=self._credentials,
            port=self.port,
            env={"ALLOWED_PATHS": allowed_paths} if allowed_paths is not None else None,
        )
        self.port = self._signer.port

    async def stop(self) -> None:
        if self._signer is not None:
            await self._signer.stop()
            self._signer = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """`url` is the gateway's; `manifests` the folder it follows. `log` holds what the processes had to say."""

    url: str
    admin: str
    manifests: Path
    log: Path
    bucket: Bucket
    signer: SignerHouse
    at_bucket: Recorder
    at_signer: Recorder
    gateway: LocalGateway

    @property
    def host(self) -> str:
        """The name by which the bucket is addressed."""
        return self.bucket.host(BUCKET)


@asynccontextmanager
async def run_scenario(
    folder: Path,
    *,
    port: int,
    clock: Clock,
    environment: Mapping[str, str],
    access_log: int | None = None,
    report: Callable[[ChildEvent], None] = lambda _: None,
) -> AsyncIterator[Scenario]:
    """All of it, in `folder`; gone again afterwards. `port` of 0 lets the system choose. Raises StartError."""
    async with AsyncExitStack() as stack:
        bucket, signer, at_bucket, at_signer, places = await _start_stand_ins(stack, folder)
        manifests = folder / "manifests"
        manifests.mkdir()
        write_signer_example(manifests, places)
        write_signed_example(manifests, bucket.access_key, bucket.secret_key)

        log = folder / "gateway.log"
        lines = stack.enter_context(log.open("wb"))
        requests = stack.enter_context((folder / "requests.log").open("wb"))
        options = GatewayOptions(
            directory=manifests,
            ports={"8080": port},
            environment=environment,
            access_log=requests.fileno() if access_log is None else access_log,
            log=lines.fileno(),
        )
        state = stack.enter_context(hold_state_folder(folder / "state"))
        gateway = LocalGateway(options, state, clock=clock, report=report)
        stack.push_async_callback(gateway.stop)
        opened = await gateway.start()
        if opened is None:
            raise ChildError("the gateway was stopped before it was ready")
        yield Scenario(
            url=f"http://127.0.0.1:{opened.listeners[_LISTENER]}",
            admin=opened.admin,
            manifests=manifests,
            log=log,
            bucket=bucket,
            signer=signer,
            at_bucket=at_bucket,
            at_signer=at_signer,
            gateway=gateway,
        )


async def _start_stand_ins(
    stack: AsyncExitStack, folder: Path
) -> tuple[Bucket, SignerHouse, Recorder, Recorder, LocalPlaces]:
    bucket = await start_bucket(folder / "bucket")
    stack.push_async_callback(bucket.stop)
    await bucket.create_bucket(BUCKET)
    await bucket.put_object(BUCKET, KEY, OBJECT)

    internal = await start_internal(folder)
    stack.push_async_callback(internal.stop)

    signer = SignerHouse(
        find_example("s3-signer-node") / "signer.mjs",
        folder,
        Credentials(access_key=bucket.access_key, secret_key=bucket.secret_key),
    )
    await signer.start()
    stack.push_async_callback(signer.stop)

    authority = make_authority(folder)
    certificate = authority.issue(bucket.host(BUCKET))
    at_bucket = await stack.enter_async_context(start_recorder("127.0.0.1", bucket.port, certificate))
    at_signer = await stack.enter_async_context(start_recorder("127.0.0.1", signer.port))
    places = LocalPlaces(
        internal=internal.port, signer=at_signer.port, bucket=at_bucket.port, authority=authority.roots
    )
    return bucket, signer, at_bucket, at_signer, places
