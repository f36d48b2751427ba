"""What a step kind gives to the translation, and what it may ask of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from apostille.base.refs import Ref
from apostille.base.secrets import SecretText
from apostille.model.auth import HeaderUse, KeyRing
from apostille.model.destination import Endpoint
from apostille.model.lane import EnvoyKey, HeaderPattern
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
class EnvoyKeyCheck:
    """The step is nothing but this: 401 unless `header` (in lower case) holds one of `keys`, and then the consumer is
    known and nothing else is set. No key is empty, and none is there twice."""

    ring: str
    header: str
    keys: tuple[EnvoyKey, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoySigning:
    """Envoy's own filter signs plain requests just as the integration does.

    `methods`: those that are allowed and have no body. `path`: RE2 of a path that is sent as it is spelled, and that is
    spelled in no odd way (see `routing.spellings`). `path_prefixes` of the path as it is sent, empty: all. `query`:
    names of parameters that are allowed, whatever their case; None: all. `absent`, `only`: headers as in
    `model.lane.Plain`.
    """

    service: str
    region: str
    access_key: str
    secret_key: SecretText
    session_token: SecretText | None
    methods: tuple[str, ...]
    path: str
    path_prefixes: tuple[str, ...]
    query: tuple[str, ...] | None
    absent: tuple[str, ...] = ()
    only: tuple[HeaderPattern, ...] = ()


NOT_NATIVE = "it has a part that runs in the auth service only"


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledStep:
    """`config` is an instance of the kind's config dataclass.

    It travels to the auth service, so no secret belongs in it that the service need not have. `native`: what Envoy
    could do in its place with the same result, or why it cannot. `asks_place`: it wants to know where the route leads;
    `asks_store`: it looks into the key store.
    """

    config: object
    headers: HeaderUse
    keyrings: tuple[KeyRing, ...] = ()
    native: EnvoyKeyCheck | str = NOT_NATIVE
    asks_place: bool = False
    asks_store: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledIntegration:
    """`config` is an instance of the kind's config dataclass; it travels to the auth service.

    `raw_path`: the service takes every spelling of a path for another name, so nothing is refused or resolved on the
    way. `body_limit` in bytes: as much of the client's body as the integration wants to see; None: nothing of it.
    `native`: what Envoy could do in its place with the same result, or why it cannot.
    `unread`: request headers; where the client says something in each of them, the body need not be seen after all.
    `summary`: what this lets callers do, in lines for people; no secret in it.
    """

    config: object
    raw_path: bool = False
    body_limit: int | None = None
    unread: tuple[str, ...] = ()
    native: EnvoySigning | str = NOT_NATIVE
    summary: tuple[str, ...] = ()


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
