"""Operations of the admin API: a method of a path, as it is answered and as the OpenAPI document shows it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from apostille.admin.problems import Reason, Refused, answer_refusal, refuse_invalid, refuse_key_error
from apostille.keys.errors import KeysError

JSON = "application/json"
_LARGEST_BODY = 256 * 1024

Handler = Callable[[Request], Awaitable[Response]]
_B = TypeVar("_B", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """`shape` of None: text, or an object that is not described further. `headers`: name → meaning."""

    media: str = JSON
    shape: type[BaseModel] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """Text, of the path or of a header."""

    name: str
    place: str
    pattern: str
    text: str
    example: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """`reasons`: why it may say no, beside what is said for every operation. `streamed`: too long to be made for HEAD.

    `answers`: status → what is answered, None for no body. `query`: the shape of its query. `is_open`: asks for no
    token.
    """

    method: str
    path: str
    name: str
    text: str
    handler: Handler
    answers: Mapping[int, Content | None]
    reasons: tuple[Reason, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    query: type[BaseModel] | None = None
    body: Content | None = None
    streamed: bool = False
    is_open: bool = False


def compile_routes(operations: Iterable[Operation]) -> list[Route]:
    """One for each path; it answers every method, unknown ones with 405."""
    paths: dict[str, dict[str, Operation]] = {}
    for operation in operations:
        methods = paths.setdefault(operation.path, {})
        methods[operation.method] = operation
        if operation.method == "GET" and not operation.streamed:
            methods["HEAD"] = operation
    return [Route(path, _Dispatcher(methods)) for path, methods in paths.items()]


class _Dispatcher:
    """An ASGI application: a route of Starlette with a function would choose the methods itself."""

    def __init__(self, methods: Mapping[str, Operation]) -> None:
        self._methods = methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except Refused as refused:
            response = answer_refusal(refused)
        except KeysError as error:
            condition = request.headers.get("if-match", "*")
            response = answer_refusal(refuse_key_error(error, is_conditional=condition != "*"))
        except ClientDisconnect:
            # There is nobody left to be answered.
            return
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        operation = self._methods.get(request.method)
        if operation is None:
            allowed = ", ".join(sorted(self._methods))
            raise Refused(Reason.METHOD, f"this page takes {allowed}", headers={"allow": allowed})
        if operation.query is None and request.query_params:
            raise Refused(Reason.MALFORMED, "this operation takes no query; leave out what follows the question mark")
        if operation.body is not None:
            media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            if media != operation.body.media:
                raise Refused(Reason.MEDIA_TYPE, f"send the body with content-type: {operation.body.media}")
        return await operation.handler(request)


async def read_body(request: Request, shape: type[_B]) -> _B:
    """Raises Refused: too long, no JSON, or not of this shape."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST_BODY:
            raise Refused(Reason.TOO_LARGE, f"the body is longer than {_LARGEST_BODY} bytes")
    try:
        return shape.model_validate_json(bytes(body), by_alias=True, by_name=False)
    except ValidationError as error:
        raise refuse_invalid(error) from None


def read_query(request: Request, shape: type[_B]) -> _B:
    """Each parameter once, but those that are lists. Raises Refused."""
    given: dict[str, object] = {}
    for name, value in request.query_params.multi_items():
        known = shape.model_fields.get(name)
        if known is not None and known.default == ():
            given[name] = (*given.get(name, ()), value)  # type: ignore[misc]
        elif name in given:
            raise Refused(Reason.MALFORMED, "a parameter of the query is given twice; give it once")
        else:
            given[name] = value
    try:
        return shape.model_validate(given)
    except ValidationError as error:
        raise refuse_invalid(error, parameters=True) from None
