"""Where the phases of a translation put what they find wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from apostille.base.refs import Ref
from apostille.resources.resource import Resource, Spec
from apostille.status.problem import FieldPath, Finding, Problem
from apostille.status.reasons import Effect, Reason

T = TypeVar("T")


class Ledger:
    """Collects findings; it adds the place in the file, which the finder of a problem need not know."""

    def __init__(self) -> None:
        self._findings: list[Finding] = []

    def add(self, resource: Resource[Spec], problem: Problem, effect: Effect) -> None:
        self._findings.append(
            Finding(ref=resource.ref, origin=resource.positions.origin(problem.at), problem=problem, effect=effect)
        )

    def note(self, resource: Resource[Spec], at: FieldPath, reason: Reason, message: str, effect: Effect) -> None:
        self.add(resource, Problem(at=at, reason=reason, message=message), effect)

    def add_all(self, resource: Resource[Spec], problems: Iterable[Problem], effect: Effect) -> None:
        for problem in problems:
            self.add(resource, problem, effect)

    def absorb(self, other: Ledger) -> None:
        self._findings += other._findings

    @property
    def findings(self) -> tuple[Finding, ...]:
        return tuple(dict.fromkeys(self._findings))


def contained(ledger: Ledger, resource: Resource[Spec], compile_: Callable[[], T], otherwise: T) -> T:
    """What `compile_` gives; `otherwise`, and a finding, when it raises: a fault of ours with one resource must not
    keep all others from being published."""
    try:
        return compile_()
    except Exception as error:  # noqa: BLE001 - the one place where a fault in a translation is caught
        text = f"Apostille itself has a fault with this resource ({type(error).__name__}); please report it."
        ledger.note(resource, (), Reason.INTERNAL_ERROR, text, Effect.REJECTED)
        return otherwise


def names(refs: Iterable[Ref]) -> str:
    """For messages: ``a/b, a/c``."""
    return ", ".join(ref.short for ref in refs)
