"""A resource as it was read: identity, place, labels, and its validated spec."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema

from apostille.base.refs import Origin, Ref
from apostille.status.problem import FieldPath


def _forbid_conversions(schema: object) -> None:
    # pydantic's own strict mode also refuses a list for a tuple, which is how YAML and JSON write one.
    if isinstance(schema, dict):
        if schema.get("type") in ("int", "bool", "float"):
            schema.setdefault("strict", True)
        for name, part in schema.items():
            if name != "metadata":
                _forbid_conversions(part)
    elif isinstance(schema, list | tuple):
        for part in schema:
            _forbid_conversions(part)


class Spec(BaseModel):
    """Base of everything people write. Names in manifests are camelCase; the proto spelling is accepted too.

    Unknown fields are reported by the parser as warnings and pruned, as a Kubernetes API server does.
    Scalars are not converted (``"8080"`` is no number, ``1`` is no boolean), a list may be given for a tuple, and a
    field that is null counts as absent. Entries of plain mappings keep their null: dropping one would widen a selector.

    `misspelling_widens`: without a field of it more is let in than with it, so an unknown one is no warning: whoever
    wrote it may have meant to narrow.
    """

    misspelling_widens: ClassVar[bool] = False

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:  # Any: pydantic's own
        schema = handler(source)
        _forbid_conversions(schema)
        return schema

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: object) -> object:
        if isinstance(data, Mapping) and None in data.values():
            return {name: value for name, value in data.items() if value is not None}
        return data


S = TypeVar("S", bound=Spec, covariant=True)


@dataclass(frozen=True, slots=True)
class Positions:
    """Where each field of one document stands; the path of a field that is absent falls back to its parent."""

    file: str
    places: Mapping[FieldPath, tuple[int, int]]

    def origin(self, path: FieldPath) -> Origin:
        for end in range(len(path), -1, -1):
            place = self.places.get(path[:end])
            if place is not None:
                return Origin(self.file, *place)
        return Origin(self.file, 1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource(Generic[S]):
    """`order` is the place in the reading order (file name, then place in the file): "oldest" without a creation time.

    `spec` is None when it is broken as a whole; the envelope (ref, labels) is still good. A policy that guards access
    always has a spec, however broken, that tells what it covers: so it can shut those doors.
    """

    ref: Ref
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    created: datetime | None
    order: int
    positions: Positions
    spec: S | None
    raw: Mapping[str, object] = field(repr=False, hash=False, compare=False)

    @property
    def origin(self) -> Origin:
        return self.positions.origin(())

    @property
    def age(self) -> tuple[bool, datetime | None, int, str, str]:
        """Sorts the oldest first: by creation time where there is one, then by reading order, then by name."""
        return (self.created is None, self.created, self.order, self.ref.namespace, self.ref.name)
