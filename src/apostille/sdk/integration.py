"""An integration kind: what people write, what it compiles to, and what puts it on a request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from apostille.auth.contract import Signer, SignerTools
from apostille.model.outbound import RefusalSigns
from apostille.resources.resource import Spec
from apostille.status.problem import Problem
from apostille.translate.contract import CompiledIntegration, StepScope

S = TypeVar("S", bound=Spec)
C = TypeVar("C")


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegrationKind(Generic[S, C]):
    """`name` is the field of an OutboundAuthPolicy's ``config`` that selects the kind.

    `compile_integration` turns a spec into a `CompiledIntegration` whose config is of type `config`;
    `start_integration` makes what runs, once per program and worker. Both are handed all they need and keep nothing
    global. `refusals`: how destinations say that they will not have what this kind puts on requests; the caller gets
    502 then, since it is not the caller's fault.
    """

    name: str
    spec: type[S]
    config: type[C]
    compile_integration: Callable[[S, StepScope], CompiledIntegration | list[Problem]]
    start_integration: Callable[[C, SignerTools], Signer]
    refusals: RefusalSigns = field(default_factory=RefusalSigns)

    def compile(self, spec: Spec, scope: StepScope, /) -> CompiledIntegration | list[Problem]:
        if not isinstance(spec, self.spec):
            raise TypeError(f"{self.name} was given a {type(spec).__name__}")
        return self.compile_integration(spec, scope)

    def start(self, config: object, tools: SignerTools, /) -> Signer:
        if not isinstance(config, self.config):
            raise TypeError(f"{self.name} was given a {type(config).__name__}")
        return self.start_integration(config, tools)
