"""A bucket that checks signatures behind a gateway that makes them, and the ways around the gateway to compare with."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from apostille.demo.bucket import Bucket, start_bucket
from apostille.demo.certificates import make_authority
from apostille.demo.recorder import Recorded, Recorder, start_recorder
from tests.e2e.gateway import Run, gateway
from tests.e2e.signing_meddler import Meddler
from tests.e2e.signing_service import Issuer, Keys
from tests.e2e.stand_ins import BUCKET, BUCKET_HOST, CAKE
from tests.e2e.wire import Message, ask, emit_request

RESOURCES = Path(__file__).with_name("signing.yaml")
# No route leads there.
REFERENCE = "reference-bucket"
REGION = "eu-west-1"
API_KEY = ("api-key", "demo-key-0001")
ONE = "plain/one.txt"
# The judge takes any, but it has to be signed.
SESSION_TOKEN = "session/token+of==a-container"

Headers = Sequence[tuple[str, str]]


def aws_secret(name: str, access_key: str, secret_key: str, spelling: tuple[str, str]) -> str:
    return f"""\
apiVersion: v1
kind: Secret
metadata: {{name: {name}, namespace: gateway}}
stringData: {{{spelling[0]}: "{access_key}", {spelling[1]}: "{secret_key}"}}
"""


AWS_SPELLING = ("aws_access_key_id", "aws_secret_access_key")
OTHER_SPELLING = ("accessKeyId", "secretAccessKey")


@dataclass(frozen=True, kw_only=True)
class Scene:
    """`recorder` saw everything that reached the bucket from the gateway, and nothing else."""

    run: Run
    manifests: Path
    bucket: Bucket
    recorder: Recorder
    token: str

    async def ask(self, method: str, path: str, headers: Headers = (), body: bytes = b"") -> Message:
        """Through the gateway, with the API key; the path goes out byte for byte."""
        return await ask(self.run.port, emit_request(method, path, [API_KEY, *headers], body))

    async def directly(self, method: str, bucket: str, target: str, body: bytes = b"") -> Message:
        """Signed by botocore and sent to the bucket itself; `target` is in the SDKs' spelling, without first slash."""
        host = self.bucket.host(bucket)
        request = AWSRequest(method, f"https://{host}/{target}", data=body)
        keys = Credentials(self.bucket.access_key, self.bucket.secret_key.reveal())
        S3SigV4Auth(keys, "s3", REGION).add_auth(request)
        headers = [(str(name), str(value)) for name, value in request.headers.items()]
        return await ask(self.bucket.port, emit_request(method, f"/{target}", headers, body, host=host))

    async def natively(self, method: str, key: str) -> Message:
        """By Swift's own API, which has no signatures."""
        path = f"/v1/AUTH_demo/{BUCKET}/{quote(key, safe='/~')}"
        return await ask(self.bucket.port, emit_request(method, path, [("X-Auth-Token", self.token)]))

    async def keys_by_gateway(self) -> set[str]:
        return await _all_keys(lambda target: self.ask("GET", f"/files/{target}"))

    async def keys_by_bucket(self, bucket: str) -> set[str]:
        return await _all_keys(lambda target: self.directly("GET", bucket, target))

    @contextmanager
    def bucket_not_called(self) -> Iterator[None]:
        before = len(self.recorder.requests)
        yield
        assert [each.head for each in self.recorder.requests[before:]] == []

    def rotate(self, text: str) -> None:
        """As a volume of Kubernetes does it: the file is whole at any time."""
        new = self.manifests.parent / "rotated.new"
        new.write_text(text)
        new.rename(self.manifests / "rotated.yaml")


@asynccontextmanager
async def signing_scene(folder: Path, *, meddler: Meddler | None = None) -> AsyncIterator[Scene]:
    """`meddler` stands between the recorder and the bucket: what is on record is what the gateway sent."""
    async with AsyncExitStack() as stack:
        bucket = await start_bucket(folder / "bucket")
        stack.push_async_callback(bucket.stop)
        for name in (BUCKET, REFERENCE):
            await bucket.create_bucket(name)
        await bucket.put_object(BUCKET, "cake.json", CAKE)
        await bucket.put_object(BUCKET, ONE, b"one")
        await bucket.put_object(REFERENCE, "private.txt", b"private")
        authority = make_authority(folder / "ca")
        certificate = authority.issue(BUCKET_HOST, f"s3.{REGION}.amazonaws.com")
        port = bucket.port
        if meddler is not None:
            port = await stack.enter_async_context(meddler.before(bucket.port))
        recorder = await stack.enter_async_context(start_recorder("127.0.0.1", port, certificate))

        manifests = folder / "manifests"
        manifests.mkdir()
        (manifests / "signing.yaml").write_text(RESOURCES.read_text().replace("${bucket.port}", str(recorder.port)))
        right = (bucket.access_key, bucket.secret_key.reveal())
        secrets = {"aws": right, "rotated": right, "wrong": (bucket.access_key, "of-somebody-else")}
        for name, keys in secrets.items():
            (manifests / f"{name}.yaml").write_text(aws_secret(name, *keys, AWS_SPELLING))
        container = Keys(access_key=right[0], secret_key=right[1], token=SESSION_TOKEN)
        issuer = await stack.enter_async_context(Issuer(make=lambda _ends: container))
        issuer.life = 3600.0
        run = await stack.enter_async_context(gateway(manifests, ca=authority.roots, env=issuer.environment))
        yield Scene(run=run, manifests=manifests, bucket=bucket, recorder=recorder, token=await _token(bucket))


async def _token(bucket: Bucket) -> str:
    login = [("X-Auth-User", "demo:owner"), ("X-Auth-Key", bucket.secret_key.reveal())]
    return (await ask(bucket.port, emit_request("GET", "/auth/v1.0", login))).values("x-auth-token")[0]


def unsigned(requests: Sequence[Recorded]) -> list[bytes]:
    """The heads of those without exactly one signature."""
    return [
        each.head
        for each in requests
        if len(each.values("authorization")) != 1 or not each.values("authorization")[0].startswith("AWS4-HMAC-SHA256 ")
    ]


async def _all_keys(list_page: Callable[[str], Any]) -> set[str]:
    """Every key of a bucket, page by page."""
    keys: set[str] = set()
    after = ""
    while True:
        # Names are asked for in percent-encoding: some of them XML cannot say.
        page = await list_page(f"?encoding-type=url&list-type=2&max-keys=100{after}")
        assert page.status == 200, page
        keys |= {unquote(found.decode()) for found in re.findall(rb"<Key>(.*?)</Key>", page.body)}
        more = re.search(rb"<NextContinuationToken>(.*?)</", page.body)
        if more is None:
            return keys
        token = more[1].decode()
        after = f"&continuation-token={quote(token, safe='')}"
