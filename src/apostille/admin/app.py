"""The admin API: health, readiness, metrics and status of the gateway, and its API keys."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from apostille import __version__
from apostille.admin.openapi import compile_document
from apostille.admin.operations import Content, Operation, compile_routes
from apostille.admin.problems import Reason, Refused, answer_refusal

_TEXT = "text/plain"

Json = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminViews:
    """What the pages show. `readiness` and `status` are JSON objects; ``ready`` in the former decides 200 or 503."""

    readiness: Callable[[], Awaitable[Json]]
    status: Callable[[], Awaitable[Json]]
    metrics: Callable[[], Awaitable[str]]


def build_admin(views: AdminViews, operations: Sequence[Operation] = (), *, has_token: bool = False) -> Starlette:
    """The pages and the `operations`. It lets in everybody: put a `Doorkeeper` in front of what others can reach.

    `has_token`: that one asks for a token, which the document says.
    """
    every = [*page_operations(views), *operations]
    document = compile_document(every, version=__version__, has_token=has_token)

    async def openapi(_request: Request) -> Response:
        return JSONResponse(document)

    routes = compile_routes(
        [
            *every,
            Operation(
                method="GET",
                path="/openapi.json",
                name="getDocument",
                text="This document.",
                handler=openapi,
                answers={200: Content()},
            ),
        ]
    )
    # Both kinds of exception come from outside of our operations, which answer for themselves.
    app = Starlette(routes=routes, exception_handlers={HTTPException: _answer_http, Exception: _answer_failure})
    # A redirection would repeat a Host header that anybody may write.
    app.router.redirect_slashes = False
    return app


def page_operations(views: AdminViews) -> list[Operation]:
    """The pages that can be read."""

    async def healthz(_request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_request: Request) -> Response:
        readiness = await views.readiness()
        return JSONResponse(dict(readiness), status_code=200 if readiness.get("ready") else 503)

    async def status(_request: Request) -> Response:
        return JSONResponse(dict(await views.status()))

    async def metrics(_request: Request) -> Response:
        return Response(await views.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return [
        Operation(
            method="GET",
            path="/healthz",
            name="getHealth",
            text="Say that the control plane is alive.",
            handler=healthz,
            answers={200: Content(media=_TEXT)},
            is_open=True,
        ),
        Operation(
            method="GET",
            path="/readyz",
            name="getReadiness",
            text="Say whether the gateway serves.\n503 is no.",
            handler=readyz,
            answers={200: Content(), 503: Content()},
            is_open=True,
        ),
        Operation(
            method="GET",
            path="/status",
            name="getStatus",
            text="Show every resource with what is wrong with it, and how outbound credentials stand.",
            handler=status,
            answers={200: Content()},
        ),
        Operation(
            method="GET",
            path="/metrics",
            name="getMetrics",
            text="Show the metrics of all processes of the gateway, in Prometheus' text format.",
            handler=metrics,
            answers={200: Content(media=_TEXT)},
        ),
    ]


async def _answer_http(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == HTTPStatus.NOT_FOUND:
        return answer_refusal(
            Refused(Reason.NO_SUCH_PAGE, "there is no such page; /openapi.json lists those there are")
        )
    return answer_refusal(Refused(Reason.MALFORMED, HTTPStatus(status).phrase, status=status))


async def _answer_failure(_request: Request, _error: Exception) -> Response:
    return answer_refusal(Refused(Reason.FAILURE, "this is a failure of Apostille's own; its log says more"))
