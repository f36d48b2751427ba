"""RouteTable: hosts, and routes tried in order.

What is not built (delegation, GraphQL, Lambda, TCP and TLS routes) is opaque data here, so that it can be named.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from apostille.base.limits import MAX_BODY_BYTES
from apostille.resources.broken import BrokenItem, Tolerates, contained
from apostille.resources.fields import HostName, Labels, Opaque, ProtoEnum, Text
from apostille.resources.resource import Spec
from apostille.resources.rules import AnyOf, Choice, Ruled, wrong, wrong_at
from apostille.resources.selectors import DestinationReference, ObjectReference
from apostille.status.reasons import Effect, Reason

MAX_ROUTES = 10_000
MAX_DESTINATIONS = 100


class FailureMode(ProtoEnum):
    ROUTE_REPLACEMENT = 0
    FREEZE_CONFIG = 1


class RedirectCode(ProtoEnum):
    MOVED_PERMANENTLY = 0
    FOUND = 1
    SEE_OTHER = 2
    TEMPORARY_REDIRECT = 3
    PERMANENT_REDIRECT = 4

    @property
    def status(self) -> int:
        return (301, 302, 303, 307, 308)[self.value]


class StringMatch(Ruled):
    """`regex` is RE2 over the whole path. `suffix` is known and unsupported. `ignore_case` has no effect on a regex."""

    choices = (Choice(("exact", "prefix", "regex", "suffix"), required=True),)

    exact: str | None = None
    prefix: str | None = None
    regex: str | None = None
    suffix: str | None = None
    ignore_case: bool = False


class HeaderMatcher(Spec):
    """`value` of None asks for presence only. `invert_match`: matches when the header is absent or different."""

    name: Text
    value: str | None = None
    regex: bool = False
    invert_match: bool = False


class QueryParameterMatcher(Spec):
    """`value` of None asks for presence only."""

    name: Text
    value: str | None = None
    regex: bool = False


class HTTPRequestMatcher(Spec):
    """All parts must hold. No `uri`: every path. `port` is that of the listener."""

    name: str | None = None
    uri: StringMatch | None = None
    headers: tuple[HeaderMatcher, ...] = ()
    query_parameters: tuple[QueryParameterMatcher, ...] = ()
    method: Text | None = None
    port: Annotated[int, Field(ge=0, le=65535)] | None = None


class RegexPattern(Spec):
    regex: Text
    google_re2: Opaque | None = None


class RegexRewrite(Spec):
    """``\\1`` in `substitution` stands for a group of the pattern."""

    pattern: RegexPattern
    substitution: str = ""


def _check_weights(destinations: tuple[DestinationReference, ...]) -> tuple[DestinationReference, ...]:
    weights = [destination.weight for destination in destinations if destination.weight is not None]
    if len(destinations) < 2 or not weights:
        return destinations
    total, unset = sum(weights), len(destinations) - len(weights)
    if total > 100 or (not unset and total != 100):
        raise wrong(f"The weights must add up to 100, and these give {total}.")
    if unset and 100 - total < unset:
        raise wrong(f"The weights give {total}, which leaves less than 1 for each destination without a weight.")
    return destinations


class ForwardTo(Ruled):
    """No destinations: those of the table's `defaultDestination`."""

    choices = (Choice(("pathRewrite", "regexRewrite")), Choice(("hostRewrite", "autoHostRewrite")))

    destinations: Annotated[
        tuple[DestinationReference, ...], Field(max_length=MAX_DESTINATIONS), AfterValidator(_check_weights)
    ] = ()
    path_rewrite: str | None = None
    regex_rewrite: RegexRewrite | None = None
    host_rewrite: Text | None = None
    auto_host_rewrite: bool | None = None

    @property
    def weights(self) -> tuple[int, ...]:
        """One for each destination, adding up to 100: what is left is spread over those without a weight."""
        if not self.destinations:
            return ()
        if len(self.destinations) == 1:
            return (100,)
        given = [destination.weight for destination in self.destinations]
        unset = given.count(None)
        if not unset:
            return tuple(weight or 0 for weight in given)
        share, more = divmod(100 - sum(weight or 0 for weight in given), unset)
        weights, seen = [], 0
        for weight in given:
            if weight is not None:
                weights.append(weight)
                continue
            weights.append(share + (1 if seen < more else 0))
            seen += 1
        return tuple(weights)


class Redirect(Ruled):
    """`path_redirect` replaces the whole path."""

    choices = (AnyOf(("hostRedirect", "pathRedirect")),)

    host_redirect: Text | None = None
    path_redirect: Text | None = None
    response_code: RedirectCode = RedirectCode.MOVED_PERMANENTLY


def _check_body(value: str) -> str:
    if len(value.encode("utf-8", "replace")) > MAX_BODY_BYTES:
        raise wrong("`body` is larger than 1 MiB; serve it from a destination instead.")
    return value


class DirectResponse(Spec):
    status: Annotated[int, Field(ge=200, le=599)]
    body: Annotated[str, AfterValidator(_check_body)] = ""


MatcherOrBroken = Annotated[
    HTTPRequestMatcher | BrokenItem[HTTPRequestMatcher],
    # Matchers are alternatives, but a request of the bad one must not fall through to a later route without its guard.
    Tolerates(HTTPRequestMatcher, keeps=HTTPRequestMatcher, effect=Effect.REPLACED),
]


class RouteHead(Spec):
    """What is kept of a broken route. With ``matchers`` among the lost, nobody knows which requests were meant."""

    name: str = ""
    labels: Labels = Field(default_factory=dict)
    matchers: tuple[MatcherOrBroken, ...] = ()


class HTTPRoute(Ruled):
    """No matchers: every request.

    A broken matcher keeps at least the requests that were meant. It never counts as "no matcher".
    """

    choices = (Choice(("forwardTo", "delegate", "redirect", "directResponse", "graphql"), required=True),)

    name: str = ""
    labels: Labels = Field(default_factory=dict)
    matchers: tuple[MatcherOrBroken, ...] = ()
    forward_to: ForwardTo | None = None
    delegate: Opaque | None = None
    redirect: Redirect | None = None
    direct_response: DirectResponse | None = None
    graphql: Opaque | None = None


_ROUTE = Tolerates(HTTPRoute, keeps=RouteHead, effect=Effect.REPLACED)

RouteOrBroken = Annotated[HTTPRoute | BrokenItem[RouteHead], _ROUTE]


class RouteTable(Ruled):
    """With `hosts` a root table; without, a child that lives by delegation."""

    choices = (AnyOf(("http", "tcp", "tls")),)

    hosts: tuple[HostName, ...] = ()
    virtual_gateways: tuple[ObjectReference, ...] = ()
    workload_selectors: tuple[Opaque, ...] = ()
    apply_to_destinations: tuple[Opaque, ...] = ()
    default_destination: DestinationReference | None = None
    http: Annotated[tuple[RouteOrBroken, ...], Field(max_length=MAX_ROUTES)] = ()
    tcp: Annotated[tuple[Opaque, ...], Field(max_length=MAX_ROUTES)] = ()
    tls: Annotated[tuple[Opaque, ...], Field(max_length=MAX_ROUTES)] = ()
    weight: Annotated[int, Field(ge=-(2**31), le=2**31 - 1)] = 0
    failure_mode: FailureMode | None = None
    portal_metadata: Opaque | None = None
    virtual_service_annotations: Opaque | None = None

    @property
    def is_root(self) -> bool:
        return bool(self.hosts)

    @model_validator(mode="after")
    def _check_child(self) -> Self:
        if self.hosts:
            return self
        given = {
            "virtualGateways": self.virtual_gateways,
            "applyToDestinations": self.apply_to_destinations,
            "failureMode": self.failure_mode,
        }
        errors = [
            ((field,), wrong(f"`{field}` needs `hosts`; write the hosts, or remove `{field}` from a delegated table."))
            for field, value in given.items()
            if value
        ]
        if errors:
            raise wrong_at("RouteTable", *errors)
        return self

    @model_validator(mode="after")
    def _check_default_destination(self) -> Self:
        forwarding = [
            (index, route.forward_to)
            for index, route in enumerate(self.http)
            if isinstance(route, HTTPRoute) and route.forward_to is not None
        ]
        if self.default_destination is None:
            text = "`destinations` is empty and the table has no `defaultDestination`; write one of them."
            errors = []
            for index, forward in forwarding:
                if not forward.destinations:
                    error = wrong_at("HTTPRoute", (("forwardTo",), wrong(text, Reason.MISSING_FIELD)))
                    errors.append((("http", index), contained(error, _ROUTE.tolerance)))
            if errors:
                raise wrong_at("RouteTable", *errors)
        elif not forwarding and not any(isinstance(route, BrokenItem) for route in self.http):
            raise wrong("`defaultDestination` is used by no `forwardTo`; remove it, or add a route that forwards.")
        return self
