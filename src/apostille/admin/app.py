"""The admin pages: health, readiness, metrics, status. Loopback only, read only; whoever may connect may read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

Json = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminViews:
    """What the pages show. `readiness` and `status` are JSON objects; ``ready`` in the former decides 200 or 503."""

    readiness: Callable[[], Awaitable[Json]]
    status: Callable[[], Awaitable[Json]]
    metrics: Callable[[], Awaitable[str]]


def build_admin(views: AdminViews) -> Starlette:
    async def healthz(_request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_request: Request) -> Response:
        readiness = await views.readiness()
        return JSONResponse(dict(readiness), status_code=200 if readiness.get("ready") else 503)

    async def status(_request: Request) -> Response:
        return JSONResponse(dict(await views.status()))

    async def metrics(_request: Request) -> Response:
        return Response(await views.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/status", status),
            Route("/metrics", metrics),
        ]
    )
