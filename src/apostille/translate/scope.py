"""What a step may ask while it is compiled: secrets, and the addresses of Services."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from apostille.base.refs import Ref
from apostille.model.destination import Endpoint
from apostille.resources.core import Secret
from apostille.resources.resource import Resource, Spec
from apostille.resources.selectors import carries
from apostille.resources.snapshot import Snapshot
from apostille.status.problem import Problem
from apostille.status.reasons import Effect
from apostille.translate.contract import SecretView
from apostille.translate.destinations import Destinations
from apostille.translate.findings import Ledger


class PolicyScope:
    """One policy's step; see `contract.StepScope`."""

    def __init__(
        self, policy: Resource[Spec], step: str, snapshot: Snapshot, destinations: Destinations, ledger: Ledger
    ) -> None:
        self._policy = policy
        self._step = step
        self._snapshot = snapshot
        self._destinations = destinations
        self._ledger = ledger

    @property
    def id(self) -> str:
        return f"{self._policy.ref.namespace}/{self._policy.ref.name}/{self._step}"

    @property
    def namespace(self) -> str:
        return self._policy.ref.namespace

    def secrets(self, labels: Mapping[str, str], /) -> tuple[SecretView, ...]:
        views = (_view(secret) for secret in self._snapshot.of(Secret) if carries(secret.labels, labels))
        return tuple(view for view in views if view is not None)

    def secret(self, namespace: str, name: str, /) -> SecretView | None:
        secret = self._snapshot.get(Secret, namespace, name)
        return _view(secret) if secret is not None else None

    def endpoints(self, host: str, port: int, /) -> tuple[Endpoint, ...] | None:
        return self._destinations.service_endpoints(host, port)

    def warn(self, ref: Ref, problem: Problem, /) -> None:
        resource = self._snapshot.find(ref)
        if resource is not None:
            self._ledger.add(resource, _where_written(resource, problem), Effect.REJECTED)
        else:
            # A reference to nothing is the mistake of whoever refers.
            self._ledger.note(self._policy, ("spec",), problem.reason, problem.message, Effect.PARTIAL)


def _where_written(resource: Resource[Spec], problem: Problem) -> Problem:
    """Steps know entries of a Secret and not which of its two fields they stand in."""
    at = problem.at
    if isinstance(resource.spec, Secret) and at[:1] == ("data",) and at[1:2] and at[1] in resource.spec.string_data:
        return replace(problem, at=("stringData", *at[1:]))
    return problem


def _view(secret: Resource[Secret]) -> SecretView | None:
    if secret.spec is None:
        return None
    return SecretView(ref=secret.ref, type=secret.spec.type, data=secret.spec.entries)
