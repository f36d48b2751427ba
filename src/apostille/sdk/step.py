"""A step kind: what people write, what it compiles to, and what runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from apostille.auth.contract import AuthStep, StepTools
from apostille.resources.resource import Spec
from apostille.status.problem import Problem
from apostille.translate.contract import CompiledStep, StepScope

S = TypeVar("S", bound=Spec)
C = TypeVar("C")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepKind(Generic[S, C]):
    """`name` is the field of ``glooAuth.configs[]`` that selects the kind.

    `compile_step` turns a spec into a `CompiledStep` whose config is of type `config`; `start_step` makes the step that
    runs, once per program version and worker. Both are handed all they need and keep nothing global.
    """

    name: str
    spec: type[S]
    config: type[C]
    compile_step: Callable[[S, StepScope], CompiledStep | list[Problem]]
    start_step: Callable[[C, StepTools], AuthStep]

    def compile(self, spec: Spec, scope: StepScope, /) -> CompiledStep | list[Problem]:
        if not isinstance(spec, self.spec):
            raise TypeError(f"{self.name} was given a {type(spec).__name__}")
        return self.compile_step(spec, scope)

    def start(self, config: object, tools: StepTools, /) -> AuthStep:
        if not isinstance(config, self.config):
            raise TypeError(f"{self.name} was given a {type(config).__name__}")
        return self.start_step(config, tools)
