"""All resources at one moment, indexed. Immutable; equal resources give equal answers, whatever order they came in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar, cast

from apostille.base.refs import Ref
from apostille.resources.kinds import spec_of
from apostille.resources.resource import Resource, Spec
from apostille.resources.selectors import ObjectSelector
from apostille.status.problem import Finding, Problem
from apostille.status.reasons import Effect, Reason

S = TypeVar("S", bound=Spec)

_Index = Mapping[type[Spec], tuple[Resource[Spec], ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Made by `build_snapshot`. Resources with a broken spec (None) are in it: they exist, and are not served."""

    resources: tuple[Resource[Spec], ...] = ()
    _by_spec: _Index = field(default_factory=dict, repr=False, compare=False)
    _by_name: Mapping[tuple[type[Spec], str, str], Resource[Spec]] = field(
        default_factory=dict, repr=False, compare=False
    )
    _by_ref: Mapping[Ref, Resource[Spec]] = field(default_factory=dict, repr=False, compare=False)

    def of(self, spec: type[S]) -> tuple[Resource[S], ...]:
        """All resources with this spec class, the oldest first."""
        # The index holds under each class only resources that were parsed for it.
        return cast(tuple[Resource[S], ...], self._by_spec.get(spec, ()))

    def get(self, spec: type[S], namespace: str, name: str) -> Resource[S] | None:
        # As in `of`.
        return cast("Resource[S] | None", self._by_name.get((spec, namespace, name)))

    def find(self, ref: Ref) -> Resource[Spec] | None:
        return self._by_ref.get(ref)

    def select(self, spec: type[S], selector: ObjectSelector) -> tuple[Resource[S], ...]:
        """Those that the selector matches, the oldest first."""
        return tuple(
            resource
            for resource in self.of(spec)
            if selector.matches(labels=resource.labels, namespace=resource.ref.namespace, name=resource.ref.name)
        )


def build_snapshot(resources: Iterable[Resource[Spec]]) -> tuple[Snapshot, tuple[Finding, ...]]:
    """Of resources with one kind, namespace and name the last in reading order stays; the others get a warning."""
    chosen: dict[Ref, Resource[Spec]] = {}
    findings: list[Finding] = []
    for resource in sorted(resources, key=lambda each: (each.order, each.ref, each.origin)):
        earlier = chosen.get(resource.ref)
        if earlier is not None:
            findings.append(_replaced(earlier, resource))
        chosen[resource.ref] = resource
    ordered = tuple(sorted(chosen.values(), key=lambda each: (each.age, each.ref)))
    by_spec: dict[type[Spec], list[Resource[Spec]]] = {}
    by_name: dict[tuple[type[Spec], str, str], Resource[Spec]] = {}
    for resource in ordered:
        spec = type(resource.spec) if resource.spec is not None else spec_of(resource.ref.kind)
        if spec is not None:
            by_spec.setdefault(spec, []).append(resource)
            by_name.setdefault((spec, resource.ref.namespace, resource.ref.name), resource)
    snapshot = Snapshot(
        resources=ordered,
        _by_spec={spec: tuple(group) for spec, group in by_spec.items()},
        _by_name=by_name,
        _by_ref=chosen,
    )
    return snapshot, tuple(findings)


def _replaced(earlier: Resource[Spec], later: Resource[Spec]) -> Finding:
    text = f"{later.ref} is written again at {later.origin} and counts there; remove this one."
    problem = Problem(at=(), reason=Reason.DUPLICATE, message=text)
    return Finding(ref=earlier.ref, origin=earlier.origin, problem=problem, effect=Effect.IGNORED)
