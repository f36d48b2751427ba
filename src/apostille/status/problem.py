"""One thing that is wrong with one resource, or worth knowing of it."""

from __future__ import annotations

from dataclasses import dataclass

from apostille.base.refs import Origin, Ref
from apostille.status.reasons import Effect, Reason

FieldPath = tuple[str | int, ...]


def field_text(path: FieldPath) -> str:
    """``("spec", "http", 0, "name")`` as ``spec.http[0].name``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else part)
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What is wrong, where in the resource, and (in the message) what to write instead.

    `at` is a path from the top of the resource, in the spelling of the manifest. Whoever finds a problem
    need not know whose it is nor what follows from it: that is added in a `Finding`.
    """

    at: FieldPath
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A problem with its owner, its place in a file and its effect.

    `ref` is None for what is no resource, such as a file that cannot be parsed.
    """

    ref: Ref | None
    origin: Origin
    problem: Problem
    effect: Effect

    @property
    def is_warning(self) -> bool:
        return self.effect.is_warning

    def __str__(self) -> str:
        what = " ".join(part for part in (str(self.ref or ""), field_text(self.problem.at)) if part)
        message = f"{self.problem.message} [{self.problem.reason}, {self.effect}]"
        return ": ".join(part for part in (str(self.origin), what, message) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What a resource means, in lines for people. Nothing is wrong with it: no finding, and no part of its approval."""

    ref: Ref
    origin: Origin
    lines: tuple[str, ...]
