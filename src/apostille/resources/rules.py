"""Rules between the fields of one spec: one of several, at least one of several, and problems in words of our own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Self

from pydantic import ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from apostille.resources.resource import Spec
from apostille.status.reasons import Reason

WRONG = "wrong"


def wrong(text: str, reason: Reason = Reason.INVALID_VALUE) -> PydanticCustomError:
    """To be raised in a validator; `text` is for people, whole sentences, and never repeats a secret."""
    return PydanticCustomError(WRONG, "{text}", {"text": text, "reason": reason})


def wrong_at(title: str, *errors: tuple[tuple[str | int, ...], PydanticCustomError]) -> ValidationError:
    """Several problems, each at its own path below the spec that is being validated."""
    details = [InitErrorDetails(type=error, loc=loc, input=None) for loc, error in errors]
    return ValidationError.from_exception_data(title, details, hide_input=True)


def listed(fields: tuple[str, ...], word: str) -> str:
    quoted = [f"`{field}`" for field in fields]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} {word} {quoted[-1]}"


@dataclass(frozen=True, slots=True)
class Choice:
    """At most one of `fields` (in the spelling of manifests) may be set; `required`: exactly one."""

    fields: tuple[str, ...]
    required: bool = False

    def problem(self, given: tuple[str, ...]) -> PydanticCustomError | None:
        if len(given) > 1:
            return wrong(f"{listed(given, 'and')} exclude each other; keep one of them.", Reason.CONFLICT)
        if self.required and not given:
            return wrong(f"One of {listed(self.fields, 'or')} is missing; write exactly one.", Reason.MISSING_FIELD)
        return None


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one of `fields` must be set."""

    fields: tuple[str, ...]

    def problem(self, given: tuple[str, ...]) -> PydanticCustomError | None:
        if given:
            return None
        return wrong(f"{listed(self.fields, 'and')} are both missing; write at least one.", Reason.MISSING_FIELD)


class Ruled(Spec):
    """A spec with `choices`. They are checked on what was written, so they are reported together with bad fields."""

    choices: ClassVar[tuple[Choice | AnyOf, ...]] = ()

    @model_validator(mode="wrap")
    @classmethod
    def _check_choices(cls, data: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        mine = cls._choice_problems(data) if isinstance(data, Mapping) else []
        try:
            spec = handler(data)
        except ValidationError as error:
            if not mine:
                raise
            details = error.errors(include_url=False, include_input=False)
            theirs = [
                InitErrorDetails(
                    type=PydanticCustomError(
                        detail["type"], "{text}", {"text": detail["msg"], **detail.get("ctx", {})}
                    ),
                    loc=detail["loc"],
                    input=None,
                )
                for detail in details
            ]
            raise ValidationError.from_exception_data(cls.__name__, [*theirs, *mine], hide_input=True) from None
        if mine:
            raise ValidationError.from_exception_data(cls.__name__, mine, hide_input=True)
        return spec

    @classmethod
    def _choice_problems(cls, data: Mapping[object, object]) -> list[InitErrorDetails]:
        problems = []
        written = {field for field, value in data.items() if value is not None}
        for choice, spellings in _spelled_choices(cls):
            given = tuple(field for field, names in spellings if not names.isdisjoint(written))
            problem = choice.problem(given)
            if problem is not None:
                problems.append(InitErrorDetails(type=problem, loc=(), input=None))
        return problems


@cache
def _spelled_choices(
    model: type[Ruled],
) -> tuple[tuple[Choice | AnyOf, tuple[tuple[str, frozenset[object]], ...]], ...]:
    """The choices of a spec; for each of their fields the names that a manifest may call it by."""
    names = {field.alias: name for name, field in model.model_fields.items() if field.alias is not None}
    return tuple(
        (choice, tuple((field, frozenset((field, names.get(field, field)))) for field in choice.fields))
        for choice in model.choices
    )
