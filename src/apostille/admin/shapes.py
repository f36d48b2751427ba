"""What the admin API takes and gives, as JSON. Names are camelCase, as in resources; values are not converted.

What a schema can say is said here, so that the OpenAPI document says it too. What it cannot say is found by the desk.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

from apostille.keys.format import PREFIX
from apostille.model.limits import Period, Share

_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)", re.ASCII)
# No control character but the tab: consumers, labels and metadata become headers.
_TEXT = r"^[^\x00-\x08\x0A-\x1F\x7F]*$"
ENV = r"^[a-z0-9]{1,16}$"
KEY_ID = rf"^({PREFIX}_[a-z0-9]{{1,16}}_)?[0-9A-Za-z]{{12}}$"
GRACE = r"^([0-9]{1,6}[hms]){1,3}$"

_LONGEST = 1024
_MOST = 100
_MOST_REQUESTS = 1_000_000_000


def _read_moment(text: object) -> object:
    if not isinstance(text, str) or _MOMENT.fullmatch(text) is None:
        raise ValueError("this is no time; write for example 2027-01-31T00:00:00Z")
    try:
        # A year that no calendar has, or that has gone over its edge on the way to UTC.
        return datetime.fromisoformat(text).astimezone(UTC).replace(microsecond=0)
    except (ValueError, OverflowError):
        raise ValueError("there is no such time; write for example 2027-01-31T00:00:00Z") from None


def _write_moment(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _no_newline_at_end(text: str) -> str:
    # "$" of a regular expression fits before one too.
    if text.endswith("\n"):
        raise ValueError("this ends with a line feed; leave it out")
    return text


Text = Annotated[str, Field(max_length=_LONGEST, pattern=_TEXT), AfterValidator(_no_newline_at_end)]
Name = Annotated[Text, Field(min_length=1)]
Entries = Annotated[dict[Name, Text], Field(max_length=_MOST)]
Moment = Annotated[
    datetime,
    BeforeValidator(_read_moment),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2027-01-31T00:00:00Z"]}),
]
