"""The admin API as it is served, with a real store behind it and an audit that tests can read."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from starlette.types import ASGIApp

from apostille.admin.access import Access, Doorkeeper
from apostille.admin.app import AdminViews, build_admin
from apostille.admin.keys import key_operations
from apostille.admin.server import open_admin_port, serve_admin
from apostille.base.clock import Clock, SystemClock
from apostille.base.secrets import SecretText
from apostille.keys.audit import AuditLine
from apostille.keys.desk import KeyDesk
from apostille.keys.errors import DamagedRecord
from apostille.keys.settings import PepperSource
from apostille.keys.store import KeyStore
from tests.unit.keys.valkey import PEPPER

JSON = {"content-type": "application/json"}
TOKEN = "a-token-for-tests-of-32-characters-or-more"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str
    json: Any


@dataclass(kw_only=True)
class Serving:
    url: str
    http: aiohttp.ClientSession
    audit: list[AuditLine]
    damaged: list[DamagedRecord]

    async def ask(self, method: str, path: str, body: object = None, *, data: object = None, **headers: str) -> Answer:
        """`headers` are written with underscores for dashes."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.http.request(
            method,
            f"{self.url}{path}",
            json=body if data is None else None,
            data=data,
            headers=sent,
            allow_redirects=False,
        ) as answer:
            text = await answer.text()
            is_json = answer.content_type.endswith("json")
            return Answer(
                answer.status, answer.headers, text, await answer.json(content_type=None) if is_json else None
            )

    async def create(self, **order: object) -> Any:
        answer = await self.ask("POST", "/v1/keys", {"consumer": "alice", **order})
        assert answer.status == 201, answer.text
        return answer.json


async def _ready() -> Mapping[str, object]:
    return {"ready": True}


async def _metrics() -> str:
    return "apostille_up 1\n"


VIEWS = AdminViews(readiness=_ready, status=_ready, metrics=_metrics)


def build(
    open_desk: Callable[[], Awaitable[KeyDesk]],
    *,
    token: str | None = None,
    clock: Clock | None = None,
    damaged: Callable[[DamagedRecord], None] = lambda _: None,
) -> ASGIApp:
    operations = key_operations(open_desk, clock or SystemClock(), damaged)
    access = Access(address="127.0.0.1", token=None if token is None else SecretText(token))
    return Doorkeeper(build_admin(VIEWS, operations, has_token=token is not None), access)


def desk_of(store: KeyStore, audit: Callable[[AuditLine], None], clock: Clock | None = None) -> KeyDesk:
    return KeyDesk(store, PepperSource(PEPPER), clock or SystemClock(), secrets.token_bytes, audit)


@asynccontextmanager
async def serving_app(app: ASGIApp) -> AsyncIterator[str]:
    """The URL of an application on a port of its own."""
    stop = asyncio.Event()
    port = open_admin_port(0)
    url = f"http://127.0.0.1:{port.getsockname()[1]}"
    task = asyncio.create_task(serve_admin(app, [port], stop))
    try:
        yield url
    finally:
        stop.set()
        await task


@asynccontextmanager
async def serving(store: KeyStore, *, token: str | None = None, clock: Clock | None = None) -> AsyncIterator[Serving]:
    audit: list[AuditLine] = []
    damaged: list[DamagedRecord] = []
    desk = desk_of(store, audit.append, clock)

    async def open_desk() -> KeyDesk:
        return desk

    app = build(open_desk, token=token, clock=clock, damaged=damaged.append)
    async with serving_app(app) as url, aiohttp.ClientSession() as http:
        yield Serving(url=url, http=http, audit=audit, damaged=damaged)
