"""Routes of a route table: matched, guarded, stripped, and refused where they cannot be understood."""

from __future__ import annotations

from dataclasses import dataclass, replace

from apostille.model.route import (
    Action,
    Forward,
    Match,
    PathKind,
    PathRewrite,
    Redirect,
    RegexRewrite,
    Respond,
    Route,
    Strip,
    WeightedDestination,
)
from apostille.resources.broken import BrokenItem
from apostille.resources.resource import Resource
from apostille.resources.routes import ForwardTo, HTTPRoute, RouteHead, RouteTable
from apostille.resources.selectors import DestinationReference
from apostille.status.problem import FieldPath, Problem
from apostille.status.reasons import Effect, Reason
from apostille.translate.destinations import Destinations
from apostille.translate.doors import Doors
from apostille.translate.findings import Ledger
from apostille.translate.matches import EVERYTHING, CompiledMatch, compile_match
from apostille.translate.paths import compile_path_rewrite, regex_problem, rewrite_trap
from apostille.translate.policies import RouteFacts

ROUTE_INVALID = "route_invalid"
PATH_REFUSED = "path_refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRoute:
    """A route and the listener port it is for; None: every one."""

    route: Route
    port: int | None


class RouteCompiler:
    """Compiles tables one by one."""

    def __init__(self, destinations: Destinations, doors: Doors, ledger: Ledger) -> None:
        self._destinations = destinations
        self._doors = doors
        self._ledger = ledger

    def compile_table(self, table: Resource[RouteTable]) -> tuple[TableRoute, ...]:
        """In the order in which they are tried."""
        if table.spec is None:
            return ()
        routes: list[TableRoute] = []
        shut = False
        names: set[str] = set()
        for index, item in enumerate(table.spec.http):
            head = item.kept if isinstance(item, BrokenItem) else item
            name = _unique_name(head.name if head is not None else "", index, names)
            compiled, lost = self._compile_route(table, table.spec, index, item, name)
            routes += [_refused(route) for route in compiled] if shut else compiled
            # Nobody can tell which requests that route was for, and the routes after it would catch them without its
            # guard. They are of the same table: no neighbour is harmed.
            shut = shut or lost
        return tuple(routes)

    def _compile_route(
        self,
        table: Resource[RouteTable],
        spec: RouteTable,
        index: int,
        item: HTTPRoute | BrokenItem[RouteHead],
        name: str,
    ) -> tuple[list[TableRoute], bool]:
        at: FieldPath = ("spec", "http", index)
        if isinstance(item, BrokenItem):
            if item.kept is None or "matchers" in item.lost:
                return [], True
            head: HTTPRoute | RouteHead = item.kept
            action: Action = Respond(status=500, reason=ROUTE_INVALID)
            facts = None
        else:
            head = item
            references = _references(item, spec)
            facts = RouteFacts(
                table=table.ref,
                labels={**table.labels, **item.labels},
                destinations=tuple(
                    fact for r in references if (fact := self._destinations.facts(r, table.ref.namespace)) is not None
                ),
            )
            action = self._compile_action(table, spec, item, at)
        matches, lost = self._compile_matches(table, head, at)
        shown = f"{table.ref.namespace}/{table.ref.name}/{name}"
        routes: list[TableRoute] = []
        for number, compiled in enumerate(matches):
            if compiled.match is None:
                continue
            sound = action if compiled.sound else Respond(status=500, reason=ROUTE_INVALID)
            route = Route(
                name=shown if len(matches) == 1 else f"{shown}#{number}",
                owner=table.ref,
                match=compiled.match,
                action=self._rewritten(table, sound, head, compiled.match, at),
                labels=tuple(sorted(facts.labels.items())) if facts else (),
            )
            fitted = (route,) if facts is None else self._fitted(table, route, facts, head, at)
            trap = _trap(fitted[-1], head)
            routes += [TableRoute(route=each, port=compiled.port) for each in ((trap, *fitted) if trap else fitted)]
        return routes, lost

    def _rewritten(
        self, table: Resource[RouteTable], action: Action, head: HTTPRoute | RouteHead, match: Match, at: FieldPath
    ) -> Action:
        """With its `pathRewrite`, whose meaning depends on what the path was matched by."""
        written = _path_rewrite(head)
        if written is None or not isinstance(action, Forward):
            return action
        if match.path.kind is PathKind.REGEX:
            text = "`pathRewrite` replaces a prefix or an exact path; with a regex matcher write `regexRewrite`."
            self._ledger.note(table, (*at, "forwardTo", "pathRewrite"), Reason.INVALID_VALUE, text, Effect.REPLACED)
            return Respond(status=500, reason=ROUTE_INVALID)
        return replace(action, path_rewrite=compile_path_rewrite(match.path, written))

    def _fitted(
        self, table: Resource[RouteTable], route: Route, facts: RouteFacts, head: HTTPRoute | RouteHead, at: FieldPath
    ) -> tuple[Route, ...]:
        """With its door, or shut where it cannot have the one it should."""
        fitted = self._doors.fit(route, facts, _written_rewrite(route.action, head))
        if isinstance(fitted, str):
            text = f"This route answers 500: {fitted}."
            self._ledger.note(table, (*at, "forwardTo"), Reason.CONFLICT, text, Effect.REPLACED)
            return (replace(route, action=Respond(status=500, reason=ROUTE_INVALID)),)
        return fitted

    def _compile_matches(
        self, table: Resource[RouteTable], head: HTTPRoute | RouteHead, at: FieldPath
    ) -> tuple[list[CompiledMatch], bool]:
        if not head.matchers:
            return [CompiledMatch(match=Match(path=EVERYTHING), sound=True)], False
        matches = []
        for index, matcher in enumerate(head.matchers):
            compiled, problems = compile_match(matcher, (*at, "matchers", index))
            self._ledger.add_all(table, problems, Effect.REPLACED)
            matches.append(compiled)
        return matches, any(compiled.match is None for compiled in matches)

    def _compile_action(self, table: Resource[RouteTable], spec: RouteTable, item: HTTPRoute, at: FieldPath) -> Action:
        refused = Respond(status=500, reason=ROUTE_INVALID)
        for field, written in (("delegate", item.delegate), ("graphql", item.graphql)):
            if written is not None:
                text = f"`{field}` is known and not built yet: this route answers 500."
                self._ledger.note(table, (*at, field), Reason.NOT_BUILT, text, Effect.REPLACED)
                return refused
        if item.redirect is not None:
            return Redirect(
                status=item.redirect.response_code.status,
                host=item.redirect.host_redirect,
                path=item.redirect.path_redirect,
            )
        if item.direct_response is not None:
            return Respond(status=item.direct_response.status, body=item.direct_response.body)
        if item.forward_to is None:
            return refused
        forward = self._compile_forward(table, spec, item.forward_to, (*at, "forwardTo"))
        if isinstance(forward, Forward):
            return forward
        self._ledger.add_all(table, forward, Effect.REPLACED)
        return refused

    def _compile_forward(
        self, table: Resource[RouteTable], spec: RouteTable, forward: ForwardTo, at: FieldPath
    ) -> Forward | list[Problem]:
        problems: list[Problem] = []
        targets: list[WeightedDestination] = []
        external = False
        written = list(enumerate(zip(forward.destinations, forward.weights, strict=True)))
        paths = [(reference, weight, (*at, "destinations", i)) for i, (reference, weight) in written]
        if not paths and spec.default_destination is not None:
            paths = [(spec.default_destination, 100, ("spec", "defaultDestination"))]
        for reference, weight, where in paths:
            found = self._destinations.resolve(reference, table.ref.namespace, where)
            if isinstance(found, Problem):
                problems.append(found)
                continue
            external = external or found.external
            targets.append(WeightedDestination(destination=found.name, weight=weight))
        rewrite = forward.regex_rewrite
        if rewrite is not None:
            trouble = regex_problem(rewrite.pattern.regex)
            if trouble is not None:
                where = (*at, "regexRewrite", "pattern", "regex")
                problems.append(Problem(at=where, reason=Reason.INVALID_VALUE, message=f"{trouble}."))
        if problems:
            return problems
        return Forward(
            destinations=tuple(targets),
            host_rewrite=forward.host_rewrite,
            auto_host_rewrite=bool(forward.auto_host_rewrite),
            path_rewrite=RegexRewrite(pattern=rewrite.pattern.regex, substitution=rewrite.substitution)
            if rewrite is not None
            else None,
            external=external,
        )


def _references(item: HTTPRoute, spec: RouteTable) -> tuple[DestinationReference, ...]:
    if item.forward_to is None:
        return ()
    if item.forward_to.destinations:
        return item.forward_to.destinations
    return (spec.default_destination,) if spec.default_destination is not None else ()


def _path_rewrite(head: HTTPRoute | RouteHead) -> str | None:
    return head.forward_to.path_rewrite if isinstance(head, HTTPRoute) and head.forward_to is not None else None


def _written_rewrite(action: Action, head: HTTPRoute | RouteHead) -> PathRewrite | RegexRewrite | None:
    """What the author wrote, before it was put into a form that Envoy understands."""
    written = _path_rewrite(head)
    if written is not None:
        return PathRewrite(replacement=written or "/")
    return action.path_rewrite if isinstance(action, Forward) else None


def _trap(route: Route, head: HTTPRoute | RouteHead) -> Route | None:
    """The route in front of one with a rewrite, for requests that the rewrite must not be let loose on."""
    action = route.action
    if not isinstance(action, Forward) or action.path_rewrite is None:
        return None
    rewrite = _written_rewrite(action, head)
    trapped = rewrite_trap(route.match, rewrite) if rewrite is not None else None
    if trapped is None:
        return None
    return replace(
        route,
        name=f"{route.name}!",
        match=trapped,
        action=Respond(status=400, reason=PATH_REFUSED),
        guard=None,
        lane=None,
        strip=Strip(),
    )


def _refused(route: TableRoute) -> TableRoute:
    return replace(
        route,
        route=replace(
            route.route, action=Respond(status=500, reason=ROUTE_INVALID), guard=None, lane=None, strip=Strip()
        ),
    )


def _unique_name(written: str, index: int, names: set[str]) -> str:
    """As Gloo does: a leading ``insecure-`` is cut off, a repeated name gets a number."""
    base = written.removeprefix("insecure-") or f"route-{index}"
    name, number = base, 1
    while name in names:
        name = f"duplicate-{base}-{number}"
        number += 1
    names.add(name)
    return name
