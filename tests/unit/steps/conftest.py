"""A translation scope that answers from what a test puts in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from apostille.sdk import Endpoint, Problem, Ref, SecretView


@dataclass
class Scope:
    """`labelled` are what any label selector finds; `others` can be reached by reference only."""

    labelled: list[SecretView] = field(default_factory=list)
    others: list[SecretView] = field(default_factory=list)
    services: dict[tuple[str, int], tuple[Endpoint, ...]] = field(default_factory=dict)
    warnings: list[tuple[Ref, Problem]] = field(default_factory=list)
    id: str = "gateway/policy/step"
    namespace: str = "gateway"

    def secrets(self, labels: Mapping[str, str], /) -> tuple[SecretView, ...]:
        return tuple(self.labelled)

    def secret(self, namespace: str, name: str, /) -> SecretView | None:
        wanted = Ref("Secret", namespace, name)
        return next((secret for secret in [*self.labelled, *self.others] if secret.ref == wanted), None)

    def endpoints(self, host: str, port: int, /) -> tuple[Endpoint, ...] | None:
        return self.services.get((host, port))

    def warn(self, ref: Ref, problem: Problem, /) -> None:
        self.warnings.append((ref, problem))


@pytest.fixture
def scope() -> Scope:
    return Scope()
