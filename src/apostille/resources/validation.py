"""Raw data to a spec: all problems at once, unknown fields pruned, bad elements kept apart. Knows no kind by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Generic, TypeVar, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from apostille.resources.broken import BROKEN, BrokenItem, Tolerance
from apostille.resources.messages import explain, unknown_field
from apostille.resources.resource import Spec
from apostille.status.problem import FieldPath, Problem
from apostille.status.reasons import Effect, Reason

S = TypeVar("S", bound=Spec)

_UNKNOWN = "extra_forbidden"
_ROUNDS = 50  # of pruning and replacing; every one takes away at least one error, real data needs two or three


@dataclass(frozen=True, slots=True, kw_only=True)
class Validated(Generic[S]):
    """`spec` is None exactly when there are `fatal` problems.

    `contained`: what is wrong with parts that are a `BrokenItem` in the spec, and the effect of each.
    `unknown`: fields that were pruned. Paths are absolute, in the spelling of the manifest.
    """

    spec: S | None
    fatal: tuple[Problem, ...] = ()
    contained: tuple[tuple[Problem, Effect], ...] = ()
    unknown: tuple[Problem, ...] = ()


@dataclass(slots=True)
class _Boundary:
    """A place whose badness stays there, with the errors found below it in one round."""

    tolerance: Tolerance
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Error:
    kind: str
    path: FieldPath
    context: Mapping[str, object]
    boundary: FieldPath | None


def validate_spec(model: type[S], raw: object, at: FieldPath = ()) -> Validated[S]:
    """Validate plain data (dicts, tuples or lists, scalars) that stands at `at` in its resource."""
    tree = raw
    contained: list[tuple[Problem, Effect]] = []
    unknown: list[Problem] = []
    for _ in range(_ROUNDS):
        try:
            spec = model.model_validate(tree)
        except ValidationError as failed:
            boundaries: dict[FieldPath, _Boundary] = {}
            edits: dict[FieldPath, object] = {}
            fatal: list[Problem] = []
            for error in _errors(failed.errors(include_url=False, include_input=False), (), None, boundaries):
                problem = _problem(model, tree, error, at)
                if error.kind == _UNKNOWN and not _widens(model, error.path[:-1]):
                    unknown.append(problem)
                    edits[error.path] = _GONE
                elif error.boundary is None:
                    fatal.append(problem)
                else:
                    boundary = boundaries[error.boundary]
                    boundary.problems.append(problem)
                    contained.append((problem, boundary.tolerance.effect))
            if fatal:
                return Validated(spec=None, fatal=tuple(fatal), contained=tuple(contained), unknown=tuple(unknown))
            for path, boundary in boundaries.items():
                if boundary.problems:
                    edits[path] = _broken(boundary, _value_at(tree, path), (*at, *path))
            tree = _edited(tree, edits)
        else:
            return Validated(spec=spec, contained=tuple(contained), unknown=tuple(unknown))
    raise RuntimeError(f"{model.__name__} does not settle")


def _errors(
    details: Sequence[ErrorDetails],
    base: FieldPath,
    boundary: FieldPath | None,
    boundaries: dict[FieldPath, _Boundary],
) -> Iterator[_Error]:
    for detail in details:
        path = (*base, *detail["loc"])
        context: dict[str, Any] = detail.get("ctx", {})  # Any: pydantic's own type
        if detail["type"] == BROKEN:
            boundaries.setdefault(path, _Boundary(context["tolerance"]))
            yield from _errors(context["errors"], path, path, boundaries)
        else:
            if path and path[-1] == "[key]":
                path = path[:-1]
            yield _Error(detail["type"], path, context, boundary)


def _problem(model: type[Spec], tree: object, error: _Error, at: FieldPath) -> Problem:
    path = (*at, *error.path)
    name = next((part for part in reversed(path) if isinstance(part, str)), "the document")
    if error.kind == _UNKNOWN:
        above = error.path[:-1]
        message = unknown_field(name, _fields_at(model, above), ignored=not _widens(model, above))
        return Problem(at=path, reason=Reason.UNKNOWN_FIELD, message=message)
    if path and isinstance(path[-1], int):
        name = f"{name}[{path[-1]}]"
    reason, message = explain(error.kind, error.context, name, _value_at(tree, error.path))
    return Problem(at=path, reason=reason, message=message)


def _broken(boundary: _Boundary, raw: object, at: FieldPath) -> BrokenItem[Spec]:
    kept: Spec | None = None
    lost: list[str] = []
    if boundary.tolerance.keeps is not None and isinstance(raw, Mapping):
        kept, lost = _salvage(boundary.tolerance.keeps, raw, at)
    return BrokenItem(problems=tuple(boundary.problems), kept=kept, lost=tuple(lost))


def _salvage(model: type[Spec], raw: Mapping[str, object], at: FieldPath) -> tuple[Spec | None, list[str]]:
    """Read what can be read. A bad field is left out whole, and so is a bad entry of a list.

    Half of either could mean less than its author wrote, and who answers 500 on it must cover all of that.
    """
    known = _names(model)
    tree: object = {name: value for name, value in raw.items() if name in known}
    lost: list[str] = []
    for _ in range(_ROUNDS):
        try:
            return model.model_validate(tree), lost
        except ValidationError as failed:
            boundaries: dict[FieldPath, _Boundary] = {}
            edits: dict[FieldPath, object] = {}
            for error in _errors(failed.errors(include_url=False, include_input=False), (), None, boundaries):
                if error.kind == _UNKNOWN:
                    edits[error.path] = _GONE
                elif error.boundary is not None:
                    boundaries[error.boundary].problems.append(_problem(model, tree, error, at))
                elif not error.path or (error.kind == "missing" and len(error.path) == 1):
                    return None, lost
                else:
                    part = error.path[:2] if len(error.path) > 1 and isinstance(error.path[1], int) else error.path[:1]
                    edits[part] = _GONE
                    text = str(part[0]) + "".join(f"[{index}]" for index in part[1:])
                    if text not in lost:
                        lost.append(text)
            for path, boundary in boundaries.items():
                if boundary.problems:
                    edits[path] = _broken(boundary, _value_at(tree, path), (*at, *path))
            tree = _edited(tree, edits)
    return None, lost


class _Gone:
    """Marks a value to be left out."""


_GONE = _Gone()
_HERE = object()


def _edited(tree: object, edits: Mapping[FieldPath, object]) -> object:
    """A copy of the tree with values replaced or left out, the rest shared. An edit wins over those below it."""
    plan: dict[object, Any] = {}  # Any: a tree of dicts, its leaves under _HERE
    for path, value in edits.items():
        node = plan
        for part in path:
            node = node.setdefault(part, {})
        node[_HERE] = value
    return _apply(tree, plan)


def _apply(value: object, plan: dict[object, Any]) -> object:
    if _HERE in plan:
        return plan[_HERE]
    if isinstance(value, Mapping):
        changed: dict[object, object] = dict(value)
        for name, part in plan.items():
            new = _apply(changed.get(name), part)
            if isinstance(new, _Gone):
                changed.pop(name, None)
            else:
                changed[name] = new
        return changed
    if isinstance(value, tuple | list):
        items = list(value)
        for index, part in plan.items():
            if isinstance(index, int) and index < len(items):
                items[index] = _apply(items[index], part)
        return tuple(item for item in items if not isinstance(item, _Gone))
    return value


def _value_at(tree: object, path: FieldPath) -> object:
    value = tree
    for part in path:
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, tuple | list) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            return None
    return value


@cache
def _names(model: type[Spec]) -> frozenset[str]:
    aliases = {info.alias for info in model.model_fields.values() if info.alias is not None}
    return frozenset(aliases | set(model.model_fields))


def _fields_at(model: type[Spec], path: FieldPath) -> tuple[str, ...]:
    """The fields, in the spelling of manifests, of the spec that stands at `path` below `model`."""
    found = _spec_at(model, path)
    return () if found is None else tuple(info.alias or name for name, info in found.model_fields.items())


def _widens(model: type[Spec], path: FieldPath) -> bool:
    found = _spec_at(model, path)
    return found is not None and found.misspelling_widens


def _spec_at(model: type[Spec], path: FieldPath) -> type[Spec] | None:
    found: type[Spec] | None = model
    for part in path:
        if isinstance(part, int) or found is None:
            continue
        found = _spec_of_field(found, part)
    return found


@cache
def _spec_of_field(model: type[Spec], part: str) -> type[Spec] | None:
    for name, info in model.model_fields.items():
        if part in (name, info.alias):
            return next(_specs_in(info.annotation), None)
    return None


def _specs_in(annotation: object) -> Iterator[type[Spec]]:
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        yield annotation
        return
    for part in get_args(annotation):
        if part is not BrokenItem:
            yield from _specs_in(part)
