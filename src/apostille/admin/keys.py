"""The operations on API keys, as they are documented and routed."""

from __future__ import annotations

from collections.abc import Callable

from apostille.admin.key_handlers import PATH, KeyHandlers, OpenDesk
from apostille.admin.lines import MEDIA
from apostille.admin.operations import Content, Operation, Parameter
from apostille.admin.problems import Reason
from apostille.admin.shapes import (
    KEY_ID,
    REVISION,
    ImportReport,
    IssuedKey,
    KeyChange,
    KeyOrder,
    KeyPage,
    KeyView,
    Listing,
    Nothing,
    Rotation,
)
from apostille.base.clock import Clock
from apostille.keys.errors import DamagedRecord

_STORE = (Reason.STORE_UNAVAILABLE, Reason.NO_KEY_STORE)
_ONE = (*_STORE, Reason.NO_SUCH_KEY)
_MAKING = (Reason.NOT_POSSIBLE, Reason.OTHER_PEPPER, Reason.PEPPER_MISSING)
_ID = Parameter(
    name="id",
    place="path",
    pattern=KEY_ID,
    text="`apo_<env>_<id>`, the beginning of the key, or the id alone. Never the whole key.",
    example="apo_live_4fJx0aQw9ZtB",
)
_IF_MATCH = Parameter(
    name="if-match",
    place="header",
    pattern=REVISION,
    text="The `ETag` that the key must still have, in its double quotes.",
    example='"3"',
)
_TAGGED = {"etag": "The key's revision, in double quotes."}


def key_operations(open_desk: OpenDesk, clock: Clock, damaged: Callable[[DamagedRecord], None]) -> list[Operation]:
    """`damaged` is told of records that an export leaves out."""
    handlers = KeyHandlers(open_desk, clock, damaged)
    return [
        Operation(
            method="GET",
            path=PATH,
            name="listKeys",
            text="List keys, in no order, page by page.\nA page may be empty and not the last: go on until nextCursor "
            "is null.",
            handler=handlers.list,
            query=Listing,
            answers={200: Content(shape=KeyPage)},
            reasons=_STORE,
        ),
        Operation(
            method="POST",
            path=PATH,
            name="createKey",
            text="Create a key.\nThe answer holds the key in clear, this once; what is kept is a digest.",
            handler=handlers.create,
            body=Content(shape=KeyOrder),
            answers={201: Content(shape=IssuedKey, headers={**_TAGGED, "location": "Where the key is."})},
            reasons=(*_STORE, *_MAKING, Reason.KEY_EXISTS),
        ),
        Operation(
            method="POST",
            path=f"{PATH}/import",
            name="importKeys",
            text="Create the keys of an export.\nThose that are there already are left alone. Importing again goes on.",
            handler=handlers.load,
            body=Content(media=MEDIA),
            answers={200: Content(shape=ImportReport)},
            reasons=(*_STORE, Reason.BROKEN_EXPORT, Reason.OTHER_PEPPER, Reason.PEPPER_MISSING),
        ),
        Operation(
            method="GET",
            path=f"{PATH}/export",
            name="exportKeys",
            text="Export all keys, a line for each.\nIt holds digests and no key: guard it as the store is guarded. "
            "The last line tells a whole export from one that was cut off.",
            handler=handlers.export,
            answers={200: Content(media=MEDIA)},
            reasons=_STORE,
            streamed=True,
        ),
        Operation(
            method="GET",
            path=f"{PATH}/{{id}}",
            name="getKey",
            text="Show a key.",
            handler=handlers.show,
            parameters=(_ID,),
            answers={200: Content(shape=KeyView, headers=_TAGGED)},
            reasons=(*_ONE, Reason.DAMAGED_RECORD),
        ),
        Operation(
            method="PATCH",
            path=f"{PATH}/{{id}}",
            name="updateKey",
            text="Change what is said of a key.",
            handler=handlers.update,
            parameters=(_ID, _IF_MATCH),
            body=Content(shape=KeyChange),
            answers={200: Content(shape=KeyView, headers=_TAGGED)},
            reasons=(*_ONE, Reason.DAMAGED_RECORD, Reason.KEY_CHANGED, Reason.NOT_POSSIBLE),
        ),
        Operation(
            method="DELETE",
            path=f"{PATH}/{{id}}",
            name="deleteKey",
            text="Forget a key and all that is known of it.\nRevoke it instead to keep its record.",
            handler=handlers.delete,
            parameters=(_ID,),
            answers={204: None},
            reasons=_ONE,
        ),
        Operation(
            method="POST",
            path=f"{PATH}/{{id}}/rotate",
            name="rotateKey",
            text="Replace a key by a new one that may do the same.\nBoth are valid until the grace is over. The answer "
            "holds the new key in clear, this once.",
            handler=handlers.rotate,
            parameters=(_ID, _IF_MATCH),
            body=Content(shape=Rotation),
            answers={201: Content(shape=IssuedKey, headers={**_TAGGED, "location": "Where the new key is."})},
            reasons=(*_ONE, *_MAKING, Reason.DAMAGED_RECORD, Reason.KEY_CHANGED, Reason.KEY_NOT_ACTIVE),
        ),
        Operation(
            method="POST",
            path=f"{PATH}/{{id}}/revoke",
            name="revokeKey",
            text="End a key for good; its record stays.\nNo worker accepts it a second later.",
            handler=handlers.revoke,
            parameters=(_ID,),
            body=Content(shape=Nothing),
            answers={200: Content(shape=KeyView, headers=_TAGGED)},
            reasons=(*_ONE, Reason.DAMAGED_RECORD, Reason.KEY_CHANGED),
        ),
    ]
