"""Answers that say no: RFC 9457, each with a word for programs and, where it helps, what to write instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from http import HTTPStatus

from pydantic import ValidationError
from starlette.responses import Response

from apostille.admin.shapes import ProblemCause, ProblemDetails
from apostille.keys.errors import (
    BrokenExport,
    DamagedRecord,
    KeyChanged,
    KeyExists,
    KeyNotActive,
    KeyNotFound,
    KeysError,
    NoKeyStore,
    OtherPepper,
    PepperMissing,
)

MEDIA = "application/problem+json"


class Reason(StrEnum):
    MALFORMED = "malformed"
    TOKEN = "token_missing_or_wrong"  # noqa: S105 - a word
    FOREIGN_HOST = "foreign_host"
    FOREIGN_PAGE = "foreign_page"
    NO_SUCH_PAGE = "no_such_page"
    METHOD = "method_not_allowed"
    NO_SUCH_KEY = "no_such_key"
    KEY_EXISTS = "key_exists"
    KEY_CHANGED = "key_changed"
    KEY_NOT_ACTIVE = "key_not_active"
    TOO_LARGE = "too_large"
    MEDIA_TYPE = "media_type"
    NOT_POSSIBLE = "not_possible"
    BROKEN_EXPORT = "broken_export"
    DAMAGED_RECORD = "damaged_record"
    FAILURE = "failure"
    STORE_UNAVAILABLE = "store_unavailable"
    OTHER_PEPPER = "other_pepper"
    PEPPER_MISSING = "pepper_missing"
    NO_KEY_STORE = "no_key_store"


STATUSES: Mapping[Reason, int] = {
    Reason.MALFORMED: 400,
    Reason.TOKEN: 401,
    Reason.FOREIGN_HOST: 403,
    Reason.FOREIGN_PAGE: 403,
    Reason.NO_SUCH_PAGE: 404,
    Reason.NO_SUCH_KEY: 404,
    Reason.METHOD: 405,
    Reason.KEY_EXISTS: 409,
    Reason.KEY_CHANGED: 409,
    Reason.KEY_NOT_ACTIVE: 409,
    Reason.TOO_LARGE: 413,
    Reason.MEDIA_TYPE: 415,
    Reason.NOT_POSSIBLE: 422,
    Reason.BROKEN_EXPORT: 422,
    Reason.DAMAGED_RECORD: 500,
    Reason.FAILURE: 500,
    Reason.STORE_UNAVAILABLE: 503,
    Reason.OTHER_PEPPER: 503,
    Reason.PEPPER_MISSING: 503,
    Reason.NO_KEY_STORE: 503,
}

_OF_KEYS: Mapping[type[KeysError], Reason] = {
    KeyNotFound: Reason.NO_SUCH_KEY,
    KeyExists: Reason.KEY_EXISTS,
    KeyChanged: Reason.KEY_CHANGED,
    KeyNotActive: Reason.KEY_NOT_ACTIVE,
    DamagedRecord: Reason.DAMAGED_RECORD,
    BrokenExport: Reason.BROKEN_EXPORT,
    OtherPepper: Reason.OTHER_PEPPER,
    PepperMissing: Reason.PEPPER_MISSING,
    NoKeyStore: Reason.NO_KEY_STORE,
    # Whatever else is wrong with the store.
    KeysError: Reason.STORE_UNAVAILABLE,
}

_TEXTS: Mapping[str, str] = {
    "missing": "this is missing; write it",
    "extra_forbidden": "nobody knows a field of this name; leave it out",
    "string_type": "this must be text, in double quotes",
    "int_type": "this must be a whole number, without quotes",
    "int_from_float": "this must be a whole number",
    "float_type": "this must be a number, without quotes",
    "finite_number": "this must be a finite number",
    "tuple_type": "this must be a list, in square brackets",
    "dict_type": "this must be an object, in braces",
    "model_type": "this must be an object, in braces",
    "enum": "this must be one of {expected}",
    "greater_than": "this must be more than {gt}",
    "greater_than_equal": "this must be {ge} or more",
    "less_than_equal": "this must be {le} or less",
    "string_too_short": "this must not be empty",
    "string_too_long": "this is too long; at most {max_length} characters are allowed",
    "too_long": "these are too many; at most {max_length} are allowed",
    "string_pattern_mismatch": "this does not fit; it must match {pattern}",
    "json_invalid": "the body is no JSON: {error}",
}
"""By pydantic's error type; in braces its context. Nothing of what was sent is in there."""


class Refused(Exception):
    """A request that ends here; its text is for people."""

    def __init__(
        self,
        reason: Reason,
        detail: str,
        causes: Sequence[ProblemCause] = (),
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.reason, self.detail, self.causes = reason, detail, tuple(causes)
        self.status = status or STATUSES[reason]
        self.headers = headers or {}


def answer_refusal(refused: Refused) -> Response:
    shape = ProblemDetails(
        title=HTTPStatus(refused.status).phrase,
        status=refused.status,
        detail=refused.detail,
        reason=refused.reason.value,
        errors=refused.causes,
    )
    text = shape.model_dump_json(by_alias=True)
    headers = {"cache-control": "no-store", **refused.headers}
    return Response(text, status_code=refused.status, headers=headers, media_type=MEDIA)


def refuse_invalid(error: ValidationError, *, parameters: bool = False) -> Refused:
    """What does not fit the schema: every place at once."""
    causes = []
    for each in error.errors(include_url=False, include_input=False):
        template = _TEXTS.get(each["type"])
        detail = each["msg"].removeprefix("Value error, ")
        if template is not None:
            detail = template.format_map(each.get("ctx", {}))
        places = [place for place in each["loc"] if place != "[key]"]
        causes.append(
            ProblemCause(detail=detail, parameter=str(places[0]))
            if parameters and places
            else ProblemCause(detail=detail, pointer=pointer(*places))
        )
    return Refused(Reason.MALFORMED, "the request does not fit the schema; /openapi.json has it", causes)


def refuse_key_error(error: KeysError, *, is_conditional: bool) -> Refused:
    """`is_conditional`: the request named the revision that it wants to change."""
    reason = next(reason for kind, reason in _OF_KEYS.items() if isinstance(error, kind))
    status = 412 if reason is Reason.KEY_CHANGED and is_conditional else None
    return Refused(reason, str(error), status=status)


def refuse_impossible(error: ValueError, place: str | None = None) -> Refused:
    """What fits the schema and cannot be."""
    text = str(error)
    return Refused(Reason.NOT_POSSIBLE, text, [ProblemCause(detail=text, pointer=place)] if place is not None else ())


def pointer(*places: str | int) -> str:
    """A JSON Pointer as a fragment of a URI, as RFC 9457 shows it."""
    return "#" + "".join("/" + str(place).replace("~", "~0").replace("/", "~1") for place in places)
