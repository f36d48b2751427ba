"""Where the phases of a translation put what they find wrong."""

from __future__ import annotations

from collections.abc import Iterable

from apostille.base.refs import Ref
from apostille.resources.resource import Resource, Spec
from apostille.status.problem import FieldPath, Finding, Problem
from apostille.status.reasons import Effect, Reason


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

    @property
    def findings(self) -> tuple[Finding, ...]:
        return tuple(dict.fromkeys(self._findings))


def names(refs: Iterable[Ref]) -> str:
    """For messages: ``a/b, a/c``."""
    return ", ".join(f"{ref.namespace}/{ref.name}" for ref in refs)
