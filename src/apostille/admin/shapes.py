"""What the admin API takes and gives, as JSON. Names are camelCase, as in resources; values are not converted.

What a schema can say is said here, so that the OpenAPI document says it too; the desk finds the rest. The docstrings
of the classes are in the document.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema
from pydantic.alias_generators import to_camel

from apostille.keys.format import PREFIX
from apostille.keys.orders import ENV
from apostille.model.limits import Period, Share

KEY_ID = rf"^({PREFIX}_[a-z0-9]{{1,16}}_)?[0-9A-Za-z]{{12}}$"
REVISION = r'^(\*|"[1-9][0-9]{0,14}")$'

_ENV = r"^[a-z0-9]{1,16}$"
_GRACE = r"^([0-9]{1,6}[hms]){1,3}$"
_CURSOR = r"^[0-9]{1,19}$"
# No control character but the tab: consumers, labels and metadata become headers.
_TEXT = r"^[^\x00-\x08\x0A-\x1F\x7F]*$"
_LABEL = r"^[^=\x00-\x08\x0A-\x1F\x7F]+=[^\x00-\x08\x0A-\x1F\x7F]*$"
_METHOD = r"^[A-Z][A-Z0-9_-]{0,31}$"
_HOST = r"^(\*|(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*)$"
_PATH = r"^/[^?#\x00-\x08\x0A-\x1F\x7F]*$"
_DESTINATION = r"^[a-z0-9.-]+/[a-z0-9.-]+$"
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,4}", re.ASCII)

_LONGEST = 1024
_MOST = 100
_MOST_REQUESTS = 1_000_000_000
_LARGEST_PAGE = 1000


def _read_moment(value: object) -> object:
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str) or _MOMENT.fullmatch(value) is None:
        raise ValueError("this is no time; write for example 2027-01-31T00:00:00Z")
    try:
        return datetime.fromisoformat(value).astimezone(UTC).replace(microsecond=0)
    except (ValueError, OverflowError):
        # A thirteenth month, or a year that no calendar has.
        raise ValueError("there is no such time; write for example 2027-01-31T00:00:00Z") from None


def _read_number(value: object) -> object:
    return int(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else value


def _read_whole(value: object) -> object:
    # A whole number to JSON Schema, and to whoever writes JSON in a language without integers.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def write_moment(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


Text = Annotated[str, Field(max_length=_LONGEST, pattern=_TEXT)]
Name = Annotated[str, Field(min_length=1, max_length=_LONGEST, pattern=_TEXT)]
Entries = Annotated[
    dict[Name, Text],
    Field(max_length=_MOST),
    # pydantic's own allows names that fit no pattern.
    WithJsonSchema(
        {
            "type": "object",
            "maxProperties": _MOST,
            "propertyNames": {"minLength": 1, "maxLength": _LONGEST, "pattern": _TEXT},
            "additionalProperties": {"type": "string", "maxLength": _LONGEST, "pattern": _TEXT},
        }
    ),
]
Count = Annotated[int, Field(ge=1, le=_MOST_REQUESTS), BeforeValidator(_read_whole)]
KeyId = Annotated[str, Field(pattern=KEY_ID, examples=["apo_live_4fJx0aQw9ZtB"])]
Moment = Annotated[
    datetime,
    BeforeValidator(_read_moment),
    PlainSerializer(write_moment, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2027-01-31T00:00:00Z"]}),
]


class Shape(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )


def _without_defaults(schema: dict[str, Any]) -> None:
    """Where a field that is absent means something that no value says."""
    for field in schema["properties"].values():
        _without_default(field)


def _without_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


class KeyScopes(Shape):
    """What a key may be used for. What is empty allows everything; of the rest one entry each must fit."""

    methods: tuple[Annotated[str, Field(pattern=_METHOD)], ...] = Field((), max_length=_MOST)
    hosts: tuple[Annotated[str, Field(pattern=_HOST)], ...] = Field((), max_length=_MOST)
    """Exact, or with `*.` for the first labels, or `*`."""
    path_prefixes: tuple[Annotated[str, Field(max_length=_LONGEST, pattern=_PATH)], ...] = Field((), max_length=_MOST)
    """They end where a segment ends: `/a` is `/a` and `/a/b`, never `/ab`."""
    route_labels: Entries = Field(default_factory=dict)
    """The route must have all of them."""
    destinations: tuple[Annotated[str, Field(pattern=_DESTINATION)], ...] = Field((), max_length=_MOST)
    """`namespace/name` of services; every one that a route may choose must be among them."""


class ShownScopes(Shape):
    """What a key may be used for; see `KeyScopes`."""

    methods: tuple[str, ...]
    hosts: tuple[str, ...]
    path_prefixes: tuple[str, ...]
    route_labels: dict[str, str]
    destinations: tuple[str, ...]


class KeyRate(Shape):
    """A token bucket."""

    per_second: float = Field(gt=0, le=_MOST_REQUESTS)
    """Requests a second in the long run."""
    burst: Count
    """Requests at once."""


class KeyQuota(Shape):
    """At most so many requests in each period of the calendar, in UTC."""

    requests: Count
    period: Period = Field(strict=False)


class KeyLimits(Shape):
    """How much a key may be used. Nothing given is no limit."""

    rate: KeyRate | None = None
    quotas: tuple[KeyQuota, ...] = Field((), max_length=len(Period))
    """One for each period at most."""
    share: Share = Field(Share.KEY, strict=False)
    """Who counts together: each key for itself, or all keys of a consumer."""


class KeyOrder(Shape):
    """A key that is to be made."""

    consumer: Name
    """Whom the key stands for."""
    env: str = Field(ENV, pattern=_ENV)
    """Stands in the key itself: `apo_<env>_…`."""
    name: Text = ""
    """What people call the key."""
    labels: Entries = Field(default_factory=dict)
    """For selecting keys."""
    metadata: Entries = Field(default_factory=dict)
    """For headers and logs: nothing secret belongs there."""
    scopes: KeyScopes = KeyScopes()
    limits: KeyLimits = KeyLimits()
    not_before: Moment | None = None
    """The key is valid from then on."""
    expires: Moment | None = None
    """The key is valid until just before then. Null: for ever."""


class KeyChange(Shape):
    """What is to be another. A field that is given replaces the whole of what was there; others stay."""

    model_config = ConfigDict(json_schema_extra=_without_defaults)

    consumer: Name = ""
    name: Text = ""
    labels: Entries = Field(default_factory=dict)
    metadata: Entries = Field(default_factory=dict)
    scopes: KeyScopes = KeyScopes()
    limits: KeyLimits = KeyLimits()
    not_before: Moment | None = None
    expires: Moment | None = None


class Rotation(Shape):
    """How a key is replaced."""

    grace: str = Field("24h", pattern=_GRACE)
    """How long the old key goes on, as hours, minutes and seconds; `0s` ends it at once."""
    expires: Moment | None = Field(None, json_schema_extra=_without_default)
    """Of the successor; null is never. Not given: it lives as long as the old key was given to live, counted anew."""


class Nothing(Shape):
    """An empty object."""


class KeyState(StrEnum):
    ACTIVE = "active"
    NOT_YET_VALID = "notYetValid"
    EXPIRED = "expired"
    REVOKED = "revoked"


class KeyView(Shape):
    """What is known of a key. The key itself is known to nobody but its holder."""

    id: KeyId
    """Stands for the key wherever it is spoken of: `apo_<env>_<id>`, the beginning of the key."""
    env: str
    name: str
    consumer: str
    state: KeyState
    """At the time of the answer."""
    labels: dict[str, str]
    metadata: dict[str, str]
    scopes: ShownScopes
    limits: KeyLimits
    created: Moment
    not_before: Moment | None
    expires: Moment | None
    last_used: Moment | None
    successor: KeyId | None
    """The key that replaces this one."""
    revision: int = Field(ge=1)
    """Rises by one with every change; the answer's `ETag`."""


class IssuedKey(Shape):
    """A new key in clear. This is the only time that it is shown."""

    key: str
    record: KeyView
    retiring: KeyView | None = None
    """The key that it replaces."""


class DamagedKey(Shape):
    """A record that cannot be read. It is left as it is: import it from an export, or delete it."""

    id: str
    problem: str


class KeyPage(Shape):
    """Some of the keys, in no order. A page may be empty and not the last."""

    items: tuple[KeyView, ...]
    damaged: tuple[DamagedKey, ...]
    next_cursor: str | None
    """For the next page; null after the last one."""


class ImportReport(Shape):
    """What became of an import."""

    created: int
    same: int
    """There already, just so."""
    different: int
    """There already and otherwise: left alone."""
    named: tuple[str, ...]
    """The first hundred of the latter."""


class Listing(Shape):
    """The query of a list."""

    cursor: str | None = Field(None, pattern=_CURSOR)
    """Where the page before said that this one begins."""
    limit: Annotated[int, BeforeValidator(_read_number)] = Field(100, ge=1, le=_LARGEST_PAGE)
    """How many keys, about."""
    consumer: Name | None = None
    """Only keys of this consumer."""
    label: tuple[Annotated[str, Field(max_length=2 * _LONGEST, pattern=_LABEL)], ...] = Field((), max_length=_MOST)
    """Only keys with this label, as `name=value`. Given several times: with all of them."""


class ProblemCause(Shape):
    """One thing that is wrong. `pointer` is a JSON Pointer into the body; `parameter` names one of query or header."""

    detail: str
    pointer: str | None = None
    parameter: str | None = None


class ProblemDetails(Shape):
    """RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    reason: str
    """A word for programs."""
    errors: tuple[ProblemCause, ...] = ()
