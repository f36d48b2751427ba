"""A private bucket whose owner checks signatures: OpenStack Swift's S3 API, an implementation that is not ours.

It must not know how Apostille or a signer signs: objects get in through Swift's own API, which has no signatures.
"""

from __future__ import annotations

import base64
import os
import re
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from urllib.parse import quote

import aiohttp
from yarl import URL

from apostille.base.errors import StartError
from apostille.base.secrets import SecretText
from apostille.demo.child import Child, run_listening_child

_EXAMPLE_ACCESS_KEY = "AKIAIOSFODNN7EXAMPLE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A running S3 service on the loopback, over plain HTTP.

    A request is for the bucket its Host names, ``BUCKET.s3.REGION.amazonaws.com``, or, for any other Host, for the
    first segment of its path. `access_key` and `secret_key` are the only credentials that it knows.
    """

    port: int
    region: str
    access_key: str
    secret_key: SecretText
    child: Child

    def host(self, bucket: str) -> str:
        """The name under which the bucket is addressed, and which is signed."""
        return f"{bucket}.{_storage_domain(self.region)}"

    async def create_bucket(self, bucket: str) -> None:
        await self._put(quote(bucket, safe=""), b"")

    async def put_object(self, bucket: str, key: str, body: bytes) -> None:
        """Store `body` under `key`, which is text as S3 shows it, not percent-encoded."""
        await self._put(f"{quote(bucket, safe='')}/{quote(key, safe='/')}", body)

    async def stop(self) -> None:
        await self.child.stop()

    async def _put(self, path: str, body: bytes) -> None:
        login = {"X-Auth-User": "demo:owner", "X-Auth-Key": self.secret_key.reveal()}
        async with aiohttp.ClientSession(raise_for_status=True) as http:
            async with http.get(f"http://127.0.0.1:{self.port}/auth/v1.0", headers=login) as answer:
                token = answer.headers["X-Auth-Token"]
            url = URL(f"http://127.0.0.1:{self.port}/v1/AUTH_demo/{path}", encoded=True)
            async with http.put(url, data=body, headers={"X-Auth-Token": token}):
                pass


async def start_bucket(
    folder: Path,
    *,
    region: str = "eu-west-1",
    access_key: str = _EXAMPLE_ACCESS_KEY,
    secret_key: SecretText | None = None,
) -> Bucket:
    """Start Swift in `folder`, which is made private and must keep extended attributes (ext4, xfs and btrfs do).

    Without `secret_key` a new one is made. What was stored in `folder` before is there again.
    Raises StartError with a text for people.
    """
    if secret_key is None:
        secret_key = SecretText(secrets.token_urlsafe(30))
    if re.fullmatch(r"[A-Za-z0-9/+=_-]+", secret_key.reveal()) is None:
        raise ValueError("a secret key is made of letters, digits and / + = _ -")
    _prepare(folder, region=region, secret_key=secret_key)
    program = Path(__file__).with_name("swift_process.py")
    child, port = await run_listening_child(
        "the stand-in bucket (Swift)",
        (sys.executable, "-I", "-W", "ignore", str(program), str(folder), access_key),
        log=folder / "swift.log",
    )
    return Bucket(port=port, region=region, access_key=access_key, secret_key=secret_key, child=child)


def _storage_domain(region: str) -> str:
    return f"s3.{region}.amazonaws.com"


def _prepare(folder: Path, *, region: str, secret_key: SecretText) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    _check_attributes(folder)
    (folder / "disks" / "disk").mkdir(parents=True, exist_ok=True)
    for name, text in _configuration(folder, region=region, secret_key=secret_key).items():
        _write_private(folder / name, text)


def _check_attributes(folder: Path) -> None:
    """Swift keeps what it knows of an object in the file's extended attributes."""
    try:
        os.setxattr(folder, "user.apostille", b"1")
        os.removexattr(folder, "user.apostille")
    except OSError as error:
        raise StartError(
            f"the file system of {folder} keeps no extended attributes ({error.strerror}), which the stand-in bucket "
            "needs; name a folder on another one, ext4, xfs or btrfs for example"
        ) from error


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


def _configuration(folder: Path, *, region: str, secret_key: SecretText) -> dict[str, str]:
    """The five files Swift reads.

    The proxy adds the filters it cannot do without by itself. Without memcached, tokens have to carry their content:
    hence the Fernet key.
    """
    return {
        "swift.conf": dedent("""\
            [swift-hash]
            swift_hash_path_suffix = apostille
            """),
        "proxy-server.conf": dedent(f"""\
            [DEFAULT]
            swift_dir = {folder}
            log_level = WARNING
            [pipeline:main]
            pipeline = s3api tempauth bulk slo proxy-server
            [app:proxy-server]
            use = egg:swift#proxy
            account_autocreate = true
            [filter:s3api]
            use = egg:swift#s3api
            location = {region}
            storage_domain = {_storage_domain(region)}
            [filter:bulk]
            use = egg:swift#bulk
            [filter:slo]
            use = egg:swift#slo
            [filter:tempauth]
            use = egg:swift#tempauth
            user_demo_owner = {secret_key.reveal()} .admin
            fernet_key_1 = {base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()}
            active_fernet_key_id = 1
            """),
    } | {f"{name}-server.conf": _storage_server(name, folder) for name in ("account", "container", "object")}


def _storage_server(name: str, folder: Path) -> str:
    return dedent(f"""\
        [DEFAULT]
        swift_dir = {folder}
        devices = {folder}/disks
        mount_check = false
        disable_fallocate = true
        log_level = WARNING
        [pipeline:main]
        pipeline = {name}-server
        [app:{name}-server]
        use = egg:swift#{name}
        """)
