"""References and selectors: how resources name each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self, cast

from pydantic import BeforeValidator, Field

from apostille.resources.broken import BrokenItem, TolerantList, Tolerates
from apostille.resources.fields import Labels, Opaque, PortNumber, ProtoEnum, Text
from apostille.resources.resource import Spec
from apostille.resources.rules import Choice, Ruled
from apostille.status.problem import Problem


class DestinationKind(ProtoEnum):
    SERVICE = 0
    VIRTUAL_DESTINATION = 1
    EXTERNAL_SERVICE = 2


class WorkloadKind(ProtoEnum):
    KUBE = 0
    VM = 1


class ObjectReference(Spec):
    """`namespace` of None is that of the resource that refers. `cluster` is accepted and means nothing here."""

    name: Text
    namespace: str | None = None
    cluster: str | None = None


class PortSelector(Ruled):
    choices = (Choice(("number", "name"), required=True),)

    number: PortNumber | None = None
    name: Text | None = None

    @property
    def value(self) -> int | str:
        if self.number is not None:
            return self.number
        return self.name or ""


class ObjectSelector(Spec):
    """Every field that is given must match; `cluster` and `workspace` match anything here."""

    labels: Labels = Field(default_factory=dict)
    name: str | None = None
    namespace: str | None = None
    cluster: str | None = None
    workspace: str | None = None

    def matches(self, *, labels: Mapping[str, str], namespace: str, name: str) -> bool:
        return (
            (not self.name or self.name == name)
            and (not self.namespace or self.namespace == namespace)
            and carries(labels, self.labels)
        )


class WorkloadSelector(Spec):
    selector: ObjectSelector | None = None
    kind: WorkloadKind = WorkloadKind.KUBE
    port: PortSelector | None = None


class DestinationSelector(Spec):
    """`port` of None means all ports, `selector` of None every object of the kind."""

    selector: ObjectSelector | None = None
    kind: DestinationKind = DestinationKind.SERVICE
    port: PortSelector | None = None


class RouteLabelSelector(Spec):
    """`namespace` is that of the route's table. An empty selector covers every route."""

    labels: Labels = Field(default_factory=dict)
    namespace: str | None = None
    cluster: str | None = None
    workspace: str | None = None

    def covers(self, *, labels: Mapping[str, str], namespace: str) -> bool:
        """`labels` are those the route has with what it inherits, `namespace` is that of its table."""
        return (not self.namespace or self.namespace == namespace) and carries(labels, self.labels)


class RouteSelector(Ruled):
    """Routes by their labels, or by where they forward to."""

    choices = (Choice(("route", "withDestinations"), required=True),)

    route: RouteLabelSelector | None = None
    with_destinations: DestinationSelector | None = None


class DestinationReference(Ruled):
    """`port` is needed when the object has more than one. `subset` picks endpoints of a Service by their labels."""

    choices = (Choice(("ref", "awsLambda"), required=True),)

    ref: ObjectReference | None = None
    aws_lambda: Opaque | None = None
    kind: DestinationKind = DestinationKind.SERVICE
    port: PortSelector | None = None
    subset: Labels = Field(default_factory=dict)
    weight: Annotated[int, Field(ge=0, le=2**32 - 1)] | None = None


def carries(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in wanted.items())


def _any_value_for_the_unreadable(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: text if isinstance(text, str) else None for key, text in value.items()}
    return {}


def _none_for_the_unreadable(value: object) -> object:
    return value if isinstance(value, str) else None


class WideRouteLabels(Spec):
    """A broken `RouteLabelSelector`, read so that it covers at least what was meant.

    A label of None stands for any value: its author wrote one that is no text.
    """

    labels: Annotated[Mapping[str, str | None], BeforeValidator(_any_value_for_the_unreadable)] = Field(
        default_factory=dict
    )
    namespace: Annotated[str | None, BeforeValidator(_none_for_the_unreadable)] = None

    def covers(self, *, labels: Mapping[str, str], namespace: str) -> bool:
        return (not self.namespace or self.namespace == namespace) and all(
            key in labels and value in (None, labels[key]) for key, value in self.labels.items()
        )


class WideRouteSelector(Spec):
    """What a guard with a broken selector may have meant: any route, unless labels alone were written."""

    route: WideRouteLabels | None = None
    with_destinations: object = None

    def covers(self, *, labels: Mapping[str, str], namespace: str) -> bool:
        if self.route is None or self.with_destinations is not None:
            return True
        return self.route.covers(labels=labels, namespace=namespace)


class GuardSpec(Spec):
    """What a policy that guards access covers. It can always be told, whatever is wrong with the policy.

    A `BrokenItem` in `apply_to_routes` covers what its `kept` covers, or every route when nothing was kept. One in
    `apply_to_destinations` covers every destination.
    """

    apply_to_routes: Annotated[
        tuple[
            Annotated[RouteSelector | BrokenItem[WideRouteSelector], Tolerates(RouteSelector, keeps=WideRouteSelector)],
            ...,
        ],
        TolerantList(),
    ] = ()
    apply_to_destinations: Annotated[
        tuple[Annotated[DestinationSelector | BrokenItem[Spec], Tolerates(DestinationSelector)], ...], TolerantList()
    ] = ()

    @classmethod
    def broken(cls, problems: tuple[Problem, ...], *, targets: GuardSpec | None = None) -> Self:
        """A policy that cannot be understood: it shuts what `targets` covers, or everything."""
        # Any: `model_construct` has a parameter for each field, and `config` is one of a subclass.
        parts: dict[str, Any] = {
            "apply_to_routes": targets.apply_to_routes if targets else (BrokenItem(problems=problems),),
            "apply_to_destinations": targets.apply_to_destinations if targets else (BrokenItem(problems=problems),),
        }
        if "config" in cls.model_fields:
            parts["config"] = BrokenItem(problems=problems)
        return cast(Self, cls.model_construct(**parts))

    def widened(self, problems: tuple[Problem, ...]) -> Self:
        """The same policy, taken to cover everything: a part of its selectors is lost."""
        lost: tuple[BrokenItem[WideRouteSelector], ...] = (BrokenItem(problems=problems),)
        return self.model_copy(update={"apply_to_routes": (*self.apply_to_routes, *lost)})

    @property
    def targets_unreadable(self) -> bool:
        """At least one selector could not be read at all, so the policy must be taken to cover everything."""
        routes = any(isinstance(item, BrokenItem) and item.kept is None for item in self.apply_to_routes)
        return routes or any(isinstance(item, BrokenItem) for item in self.apply_to_destinations)
