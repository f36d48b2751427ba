"""A service that knows which keys are valid at this moment, and the endpoint that gives such keys to a container.

The service is fast enough for hundreds of requests a second, which the judge is not, and computes each signature anew
with botocore; the judge is asked elsewhere.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.e2e.upstream import Upstream
from tests.e2e.wire import Message

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(\S+?)/\d{8}/eu-west-1/s3/aws4_request, SignedHeaders=(\S+), Signature=([0-9a-f]{64})"
)
UNSIGNED = "AccessDenied"


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """`ends` is in seconds since 1970."""

    access_key: str
    secret_key: str
    token: str | None = None
    ends: float | None = None


def make_keys(*, token: bool = False, ends: float | None = None) -> Keys:
    return Keys(
        access_key=f"{'ASIA' if token else 'AKIA'}{secrets.token_hex(8).upper()}",
        secret_key=secrets.token_urlsafe(30),
        token=secrets.token_urlsafe(60) if token else None,
        ends=ends,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One request that reached the service. `refusal` is an error code of S3, empty for what was served."""

    path: str
    access_key: str
    refusal: str


class SignedService(Upstream):
    """Answers GETs. `keys`: access key → what belongs to it, valid now."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: dict[str, Keys] = {}
        self.arrivals: list[Arrival] = []

    def admit(self, keys: Keys) -> None:
        self.keys[keys.access_key] = keys

    async def _answer(self, request: Message, writer: asyncio.StreamWriter) -> None:
        access_key, refusal = self._judge(request)
        path = request.first_line.split(" ")[1]
        self.arrivals.append(Arrival(path=path, access_key=access_key, refusal=refusal))
        # As S3 does, it quotes what was signed, session token included.
        quoted = f"<CanonicalRequest>{request.head.decode('latin-1')}</CanonicalRequest>"
        body = f"<Error><Code>{refusal}</Code>{quoted}</Error>" if refusal else f"content of {path}"
        status = "403 Forbidden" if refusal else "200 OK"
        head = f"HTTP/1.1 {status}\r\ncontent-type: application/xml\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write((head + body).encode())
        await writer.drain()

    def _judge(self, request: Message) -> tuple[str, str]:
        """Whose request it is, and why it is refused."""
        written = request.values("authorization")
        found = _AUTHORIZATION.fullmatch(written[0]) if len(written) == 1 else None
        if found is None:
            return "", UNSIGNED
        access_key, names, signature = found.groups()
        keys = self.keys.get(access_key)
        if keys is None:
            return access_key, "InvalidAccessKeyId"
        if keys.ends is not None and time.time() > keys.ends + 0.5:
            return access_key, "ExpiredToken"
        if request.values("x-amz-security-token") != (() if keys.token is None else (keys.token,)):
            return access_key, "InvalidToken"
        return access_key, "" if _signature(request, names.split(";"), keys) == signature else "SignatureDoesNotMatch"


def _signature(request: Message, names: list[str], keys: Keys) -> str:
    given = dict(request.headers)
    auth = S3SigV4Auth(Credentials(keys.access_key, keys.secret_key), "s3", "eu-west-1")
    rebuilt = AWSRequest("GET", f"http://{given['host']}{request.first_line.split(' ')[1]}")
    for name in names:
        if name != "host":
            rebuilt.headers[name] = given.get(name, "")
    rebuilt.context["timestamp"] = given.get("x-amz-date", "")
    signature: str = auth.signature(auth.string_to_sign(rebuilt, auth.canonical_request(rebuilt)), rebuilt)
    return signature


class Issuer(Upstream):
    """The credential endpoint of a container (EKS Pod Identity, ECS).

    `life`: seconds of what it gives; None: it fails. `admit` is told of everything it gives, before it gives it.
    """

    def __init__(
        self,
        admit: Callable[[Keys], None] = lambda _keys: None,
        *,
        make: Callable[[float], Keys] = lambda ends: make_keys(token=True, ends=ends),
    ) -> None:
        super().__init__()
        self.life: float | None = None
        self.issued: list[Keys] = []
        self.failures = 0
        self._admit, self._make = admit, make

    @property
    def environment(self) -> dict[str, str]:
        return {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{self.port}/credentials"}

    async def _answer(self, request: Message, writer: asyncio.StreamWriter) -> None:
        if self.life is None:
            self.failures += 1
            status, body = "500 Broken", b"no credentials today"
        else:
            status, body = "200 OK", json.dumps(self._issue(self.life)).encode()
        writer.write(f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()

    def _issue(self, life: float) -> dict[str, str]:
        # AWS tells whole seconds.
        end = (datetime.now(UTC) + timedelta(seconds=life)).replace(microsecond=0)
        keys = self._make(end.timestamp())
        self._admit(keys)
        self.issued.append(keys)
        return {
            "AccessKeyId": keys.access_key,
            "SecretAccessKey": keys.secret_key,
            "Token": keys.token or "",
            "Expiration": f"{end:%Y-%m-%dT%H:%M:%SZ}",
        }
