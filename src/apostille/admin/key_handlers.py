"""What the operations on API keys do: between the desk and HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from typing import TYPE_CHECKING

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from apostille.admin import lines
from apostille.admin.operations import JSON, read_body, read_query
from apostille.admin.problems import Reason, Refused, pointer, refuse_impossible
from apostille.admin.shapes import KeyChange, KeyLimits, KeyOrder, KeyScopes, Listing, Nothing, Rotation
from apostille.admin.views import show_import, show_issued, show_key, show_page
from apostille.base.clock import Clock
from apostille.base.durations import parse_duration
from apostille.keys.errors import DamagedRecord, KeyNotFound
from apostille.keys.format import parse_shown
from apostille.keys.orders import SAME, Change, Order, Wanted
from apostille.keys.record import KeyRecord
from apostille.model.limits import Limits, Quota, Rate
from apostille.model.scopes import Scopes

if TYPE_CHECKING:
    from apostille.keys.desk import KeyDesk

PATH = "/v1/keys"

# Opens the desk when it is first needed. Raises KeysError where there is none.
OpenDesk = Callable[[], Awaitable["KeyDesk"]]


class KeyHandlers:
    """One method for each operation."""

    def __init__(self, open_desk: OpenDesk, clock: Clock, damaged: Callable[[DamagedRecord], None]) -> None:
        self._open_desk, self._clock, self._damaged = open_desk, clock, damaged

    async def list(self, request: Request) -> Response:
        query = read_query(request, Listing)
        wanted = Wanted(
            consumer=query.consumer,
            labels={name: value for name, _, value in (each.partition("=") for each in query.label)},
        )
        page = await (await self._open_desk()).page(wanted, query.cursor, limit=query.limit)
        return _answer(show_page(page, self._clock.now()))

    async def create(self, request: Request) -> Response:
        order = await read_body(request, KeyOrder)
        desk = await self._open_desk()
        with _impossible():
            issued = await desk.create(
                Order(
                    consumer=order.consumer,
                    env=order.env,
                    name=order.name,
                    labels=order.labels,
                    metadata=order.metadata,
                    scopes=_scopes(order.scopes),
                    limits=_limits(order.limits),
                    not_before=order.not_before,
                    expires=order.expires,
                ),
                actor=_actor(request),
            )
        return _answer(show_issued(issued, self._clock.now()), issued.record, status=201)

    async def show(self, request: Request) -> Response:
        env, key_id = _key(request)
        record = await (await self._open_desk()).get(key_id)
        if env not in (None, record.env):
            raise KeyNotFound(key_id)
        return self._show(record)

    async def update(self, request: Request) -> Response:
        change = await read_body(request, KeyChange)
        fields = {name: getattr(change, name) for name in change.model_fields_set}
        with _impossible():
            if "scopes" in fields:
                fields["scopes"] = _scopes(change.scopes)
            if "limits" in fields:
                fields["limits"] = _limits(change.limits)
            desk, key_id = await self._find(request)
            return self._show(
                await desk.update(key_id, Change(**fields), actor=_actor(request), revision=_revision(request))
            )

    async def delete(self, request: Request) -> Response:
        desk, key_id = await self._find(request)
        await desk.delete(key_id, actor=_actor(request))
        return Response(status_code=204)

    async def rotate(self, request: Request) -> Response:
        rotation = await read_body(request, Rotation)
        desk, key_id = await self._find(request)
        with _impossible():
            issued = await desk.rotate(
                key_id,
                parse_duration(rotation.grace),
                actor=_actor(request),
                revision=_revision(request),
                expires=rotation.expires if "expires" in rotation.model_fields_set else SAME,
            )
        return _answer(show_issued(issued, self._clock.now()), issued.record, status=201)

    async def revoke(self, request: Request) -> Response:
        await read_body(request, Nothing)
        desk, key_id = await self._find(request)
        return self._show(await desk.revoke(key_id, actor=_actor(request)))

    async def load(self, request: Request) -> Response:
        desk = await self._open_desk()
        async with aclosing(lines.split_lines(request.stream())) as every:
            return _answer(show_import(await desk.load(every, actor=_actor(request))))

    async def export(self, request: Request) -> Response:
        exported = (await self._open_desk()).export(self._damaged, actor=_actor(request))
        # The first line before the answer begins: a store that is down is a 503 then.
        first = await anext(exported)

        async def every() -> AsyncIterator[bytes]:
            async with aclosing(exported):
                yield first
                async for line in exported:
                    yield line

        headers = {"cache-control": "no-store", "content-disposition": 'attachment; filename="keys.export"'}
        return StreamingResponse(lines.join_lines(every()), headers=headers, media_type=lines.MEDIA)

    async def _find(self, request: Request) -> tuple[KeyDesk, str]:
        env, key_id = _key(request)
        desk = await self._open_desk()
        if env is not None:
            # What cannot be read may be of any environment, and has to be deleted by somebody.
            with suppress(DamagedRecord):
                if (await desk.get(key_id)).env != env:
                    raise KeyNotFound(key_id)
        return desk, key_id

    def _show(self, record: KeyRecord) -> Response:
        return _answer(show_key(record, self._clock.now()), record)


def _answer(shape: BaseModel, record: KeyRecord | None = None, *, status: int = 200) -> Response:
    headers = {"cache-control": "no-store"}
    if record is not None:
        headers["etag"] = f'"{record.revision}"'
    if record is not None and status == 201:
        headers["location"] = f"{PATH}/{record.shown}"
    return Response(shape.model_dump_json(by_alias=True), status_code=status, headers=headers, media_type=JSON)


def _actor(request: Request) -> str:
    return str(getattr(request.state, "actor", "this process"))


def _key(request: Request) -> tuple[str | None, str]:
    shown = parse_shown(request.path_params["id"])
    if shown is None:
        # It may be a whole key: not a word of it.
        raise Refused(
            Reason.NO_SUCH_KEY, "what the path names is no key; write apo_<env>_<id>, the first part of a key, or <id>"
        )
    return shown


def _revision(request: Request) -> int | None:
    written = request.headers.get("if-match", "*")
    if written == "*":
        return None
    if not (written.startswith('"') and written.endswith('"') and written[1:-1].isascii() and written[1:-1].isdigit()):
        raise Refused(Reason.MALFORMED, 'if-match must be one ETag in double quotes, such as "3"')
    return int(written[1:-1])


def _scopes(shape: KeyScopes) -> Scopes:
    try:
        return Scopes(
            methods=shape.methods,
            hosts=shape.hosts,
            paths=shape.path_prefixes,
            labels=shape.route_labels,
            destinations=shape.destinations,
        )
    except ValueError as error:
        raise refuse_impossible(error, pointer("scopes")) from None


def _limits(shape: KeyLimits) -> Limits:
    rate = shape.rate
    try:
        return Limits(
            rate=None if rate is None else Rate(per_second=rate.per_second, burst=rate.burst),
            quotas=tuple(Quota(requests=quota.requests, period=quota.period) for quota in shape.quotas),
            share=shape.share,
        )
    except ValueError as error:
        raise refuse_impossible(error, pointer("limits")) from None


@contextmanager
def _impossible() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise refuse_impossible(error) from None
