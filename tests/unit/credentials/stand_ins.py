"""What stands in for AWS on loopback, and for time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl

from aiohttp import web

START = datetime(2026, 5, 1, 12, 0, 0, tzinfo=UTC)
# Whatever holds this word is secret: it must come up in no text.
CANARY = "CANARY-f81c2e"


class FakeClock:
    def __init__(self, moment: datetime = START) -> None:
        self.moment = moment
        self.seconds = 1000.0

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)
        self.seconds += seconds


class Naps:
    """Stands in for a keeper's pauses: tells how long each is to be, and ends it when the test says so."""

    def __init__(self) -> None:
        self._begun: asyncio.Queue[float | None] = asyncio.Queue()
        self._events: list[asyncio.Event] = []

    async def __call__(self, event: asyncio.Event, seconds: float | None) -> None:
        self._events = [event]
        self._begun.put_nowait(seconds)
        await event.wait()

    async def next(self) -> float | None:
        """Waits until an attempt is over; gives the seconds until the following one, None for until somebody asks."""
        return await self._begun.get()

    def elapse(self) -> None:
        self._events[0].set()


@dataclass
class Instance:
    """IMDSv2, and what it was asked."""

    url: str = ""
    expires: str = "2026-05-01T18:00:00Z"
    version_2: bool = True
    down: bool = False
    access_key: str = "ASIAINSTANCE"
    requests: list[str] = field(default_factory=list)

    @property
    def environ(self) -> dict[str, str]:
        return {"AWS_EC2_METADATA_SERVICE_ENDPOINT": self.url}

    async def answer(self, request: web.Request) -> web.Response:
        self.requests.append(f"{request.method} {request.path}")
        if self.down:
            return web.Response(status=500, text=f"broken {CANARY}")
        if request.method == "PUT" and request.path == "/latest/api/token":
            return web.Response(text="imds-token") if self.version_2 else web.Response(status=403)
        if self.version_2 and request.headers.get("x-aws-ec2-metadata-token") != "imds-token":
            return web.Response(status=401)
        if request.path == "/latest/meta-data/iam/security-credentials/":
            return web.Response(text="node-role")
        return web.json_response(
            {
                "Code": "Success",
                "AccessKeyId": self.access_key,
                "SecretAccessKey": f"instance-{CANARY}",
                "Token": f"instance-token-{CANARY}",
                "Expiration": self.expires,
            }
        )


@dataclass
class Container:
    """What EKS Pod Identity and ECS offer inside a container."""

    url: str = ""
    token: str = f"pod-token-{CANARY}"
    expires: str = "2026-05-01T18:00:00Z"
    requests: list[str] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        self.requests.append(request.path)
        if request.headers.get("Authorization") != self.token:
            return web.Response(status=403, text=f"not {request.headers.get('Authorization')}")
        return web.json_response(
            {
                "AccessKeyId": "ASIACONTAINER",
                "SecretAccessKey": f"container-{CANARY}",
                "Token": f"container-token-{CANARY}",
                "Expiration": self.expires,
            }
        )


@dataclass
class Sts:
    """An STS that keeps every request it was sent; `refusal` is the error code it answers with."""

    url: str = ""
    refusal: str | None = None
    expires: str = "2026-05-01T13:00:00Z"
    requests: list[dict[str, str]] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        form = dict(parse_qsl(await request.text()))
        self.requests.append(form)
        self.authorizations.append(request.headers.get("Authorization", ""))
        if self.refusal is not None:
            # STS quotes from the request, as it does with SignatureDoesNotMatch.
            said = f"{form.get('WebIdentityToken')} {request.headers.get('X-Amz-Security-Token')} {CANARY}"
            return web.Response(
                status=403,
                content_type="text/xml",
                text="<ErrorResponse><Error><Type>Sender</Type>"
                f"<Code>{self.refusal}</Code><Message>{said}</Message></Error></ErrorResponse>",
            )
        action = form["Action"]
        return web.Response(
            content_type="text/xml",
            text=f"<{action}Response><{action}Result><Credentials><AccessKeyId>ASIA{len(self.requests):08}</AccessKeyId>"
            f"<SecretAccessKey>sts-{CANARY}</SecretAccessKey><SessionToken>sts-token-{CANARY}</SessionToken>"
            f"<Expiration>{self.expires}</Expiration></Credentials></{action}Result></{action}Response>",
        )
