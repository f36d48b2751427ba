"""A resource as it was read: identity, place, labels, and its validated spec."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from apostille.base.refs import Origin, Ref
from apostille.status.problem import FieldPath


class Spec(BaseModel):
    """Base of everything people write. Names in manifests are camelCase; the proto spelling is accepted too.

    Unknown fields are reported by the parser as warnings and pruned, as a Kubernetes API server does.
    """

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


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

    `broken`: the spec has errors and `spec` is None; the envelope (ref, labels, `targets` of a policy) is still good,
    so that a broken guard can shut its doors.
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
