"""What a step kind gives to the translation, and what it may ask of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from apostille.base.refs import Ref
from apostille.base.secrets import SecretText
from apostille.model.auth import HeaderUse, KeyRing
from apostille.model.destination import Endpoint
from apostille.resources.resource import Spec
from apostille.status.problem import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretView:
    """A Secret as steps see it: `data` is decoded, values that are no UTF-8 text are left out."""

    ref: Ref
    type: str
    data: Mapping[str, SecretText]


class StepScope(Protocol):
    """The translation's answers to a step that is being compiled."""

    @property
    def id(self) -> str:
        """``namespace/policy/step``: unique, a good name for what the step owns (a key ring, say)."""
        ...

    @property
    def namespace(self) -> str:
        """The policy's namespace: the default of every reference in it."""
        ...

    def secrets(self, labels: Mapping[str, str], /) -> tuple[SecretView, ...]:
        """Secrets of all namespaces that carry all these labels, oldest first."""
        ...

    def secret(self, namespace: str, name: str, /) -> SecretView | None: ...

    def endpoints(self, host: str, port: int, /) -> tuple[Endpoint, ...] | None:
        """Ready addresses of a known Service (``name.namespace.svc[.cluster.local]``); None: resolve it by DNS."""
        ...

    def warn(self, ref: Ref, problem: Problem, /) -> None:
        """Tell the owner of another resource (a Secret, say) that it is left out and why."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledStep:
    """`config` is an instance of the kind's config dataclass.

    It travels to the auth service, so no secret belongs in it that the service need not have.
    """

    config: object
    headers: HeaderUse
    keyrings: tuple[KeyRing, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledIntegration:
    """`config` is an instance of the kind's config dataclass; it travels to the auth service.

    `raw_path`: the service takes every spelling of a path for another name, so nothing is refused or resolved on the
    way. `body_limit` in bytes: as much of the client's body as the integration wants to see; None: nothing of it.
    `unread`: a request header and a regular expression; where it matches, the body need not be seen after all.
    """

    config: object
    raw_path: bool = False
    body_limit: int | None = None
    unread: tuple[str, str] | None = None


class IntegrationCompiler(Protocol):
    """The compile-time half of an integration kind."""

    @property
    def name(self) -> str:
        """The field of an OutboundAuthPolicy's ``config`` that selects it, such as ``awsSigV4``."""
        ...

    @property
    def spec(self) -> type[Spec]: ...

    def compile(self, spec: Spec, scope: StepScope, /) -> CompiledIntegration | list[Problem]:
        """Problems carry paths relative to the integration's own spec, and shut what the policy covers."""
        ...


class StepCompiler(Protocol):
    """The compile-time half of a step kind."""

    @property
    def name(self) -> str:
        """The field of ``glooAuth.configs[]`` that selects it, such as ``apiKeyAuth``."""
        ...

    @property
    def spec(self) -> type[Spec]: ...

    def compile(self, spec: Spec, scope: StepScope, /) -> CompiledStep | list[Problem]:
        """Problems carry paths relative to the step's own spec. A step with a problem shuts the policy's door."""
        ...
