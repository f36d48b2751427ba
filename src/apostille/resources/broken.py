"""How one bad element of a list, or one bad part, leaves its neighbours alone.

A field is declared as ``Annotated[X | BrokenItem[H], Tolerates(X, keeps=H)]``. Where the value is no valid X, the
validation puts a `BrokenItem` in its place: all that is wrong with it, and an H read from what could be read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import GetCoreSchemaHandler, ValidationError, ValidatorFunctionWrapHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from apostille.resources.resource import Spec
from apostille.status.problem import Problem
from apostille.status.reasons import Effect

H = TypeVar("H", bound=Spec, covariant=True)

BROKEN = "broken_item"


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenItem(Generic[H]):
    """Stands where a valid item should. Its problems are reported already.

    `kept` is what could be read of it, and never narrower than what its author can have meant; None: nothing could be
    read. `lost` names the fields (or entries, as ``headers[0]``) that are missing in `kept`.
    """

    problems: tuple[Problem, ...]
    kept: H | None = None
    lost: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """What a `BrokenItem` in this place keeps, and what its problems do on the wire."""

    keeps: type[Spec] | None
    effect: Effect


class Tolerates:
    """Marks a field, or the elements of a list, whose badness stays with them."""

    def __init__(self, item: type[Spec], *, keeps: type[Spec] | None = None, effect: Effect = Effect.REPLACED) -> None:
        self._item = item
        self.tolerance = Tolerance(keeps=keeps, effect=effect)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # Any: pydantic's
        def validate(value: object, inner: ValidatorFunctionWrapHandler) -> object:
            if isinstance(value, BrokenItem):
                return value
            try:
                return inner(value)
            except ValidationError as error:
                raise contained(error, self.tolerance) from None

        return core_schema.no_info_wrap_validator_function(validate, handler.generate_schema(self._item))


class TolerantList:
    """Marks a list of tolerated elements; what is no list at all becomes one `BrokenItem` that kept nothing."""

    def __init__(self, *, effect: Effect = Effect.REPLACED) -> None:
        self._tolerance = Tolerance(keeps=None, effect=effect)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # Any: pydantic's
        def validate(value: object, inner: ValidatorFunctionWrapHandler) -> object:
            if isinstance(value, BrokenItem):
                return (value,)
            try:
                return inner(value)
            except ValidationError as error:
                if all(detail["loc"] for detail in error.errors(include_input=False, include_url=False)):
                    raise
                raise contained(error, self._tolerance) from None

        return core_schema.no_info_wrap_validator_function(validate, handler(source))


def contained(error: ValidationError, tolerance: Tolerance) -> PydanticCustomError:
    """One error in place of many, so that whoever reads them sees where the badness ends."""
    details = error.errors(include_url=False, include_input=False)
    return PydanticCustomError(BROKEN, "broken", {"errors": details, "tolerance": tolerance})
