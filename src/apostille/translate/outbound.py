"""OutboundAuthPolicies: what goes on a request for the sake of the service it goes to, and on which routes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

from apostille.base.refs import Ref
from apostille.model.auth import Program
from apostille.model.gateway import Listener
from apostille.resources.broken import BrokenItem
from apostille.resources.outbound import OutboundAuthPolicy
from apostille.resources.resource import Resource, Spec
from apostille.resources.selectors import GuardSpec
from apostille.resources.snapshot import Snapshot
from apostille.resources.validation import validate_spec
from apostille.status.problem import FieldPath, Note
from apostille.status.reasons import Effect, Reason
from apostille.translate.contract import CompiledIntegration, IntegrationCompiler
from apostille.translate.destinations import Destinations
from apostille.translate.findings import Ledger, contained, names
from apostille.translate.policies import RouteFacts, selects_destination, selects_route
from apostille.translate.scope import PolicyScope

_CONFIG: FieldPath = ("spec", "config")
_NAMED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledOutbound:
    """`integration` of None: the policy could not be understood, so what it covers is shut."""

    policy: Resource[Spec]
    targets: GuardSpec
    kind: str = ""
    integration: CompiledIntegration | None = None


@dataclass(slots=True)
class Outbounds:
    """Which outbound policy a route gets.

    One that selects the route comes before one that selects its destinations; among equals the oldest wins. A route
    whose destinations do not all have the same policy cannot be signed: the choice among them comes too late.
    """

    policies: tuple[CompiledOutbound, ...]
    _used: set[Ref] = field(default_factory=set)
    _beaten: dict[Ref, set[Ref]] = field(default_factory=dict)

    def apart(self) -> Outbounds:
        """The same policies, and a memory of their own of whom they were asked for; `absorb` brings it back."""
        return Outbounds(policies=self.policies)

    def absorb(self, other: Outbounds) -> None:
        self._used |= other._used
        for loser, winners in other._beaten.items():
            self._beaten.setdefault(loser, set()).update(winners)

    def outbound_of(self, route: RouteFacts) -> CompiledOutbound | str | None:
        """None: nothing is put on. A text: what is wrong with this route, which must then be shut."""
        by_route = [p for p in self.policies if any(selects_route(s, route) for s in p.targets.apply_to_routes)]
        by_destination = [
            [
                p
                for p in self.policies
                if any(isinstance(s, BrokenItem) or selects_destination(s, to) for s in p.targets.apply_to_destinations)
            ]
            for to in route.destinations
        ]
        winners = {found[0].policy.ref: found[0] for found in by_destination if found}
        winner = by_route[0] if by_route else next(iter(winners.values()), None)
        if winner is None:
            return None
        self._used.add(winner.policy.ref)
        for each in (*by_route, *(p for found in by_destination for p in found)):
            if each is not winner:
                self._beaten.setdefault(each.policy.ref, set()).add(winner.policy.ref)
        if not by_route and (len(winners) > 1 or not all(by_destination)):
            return "its destinations do not all have the same OutboundAuthPolicy; give each of them a route of its own"
        return winner

    def tell_leftovers(self, ledger: Ledger) -> None:
        """To be called when every route has been asked for."""
        for each in self.policies:
            ref = each.policy.ref
            if not each.targets.apply_to_routes and not each.targets.apply_to_destinations:
                text = "Write `applyToDestinations` or `applyToRoutes`: a policy without them would sign for everybody."
                ledger.note(each.policy, ("spec",), Reason.MISSING_FIELD, text, Effect.REJECTED)
            elif ref in self._beaten:
                text = (
                    f"On some routes another OutboundAuthPolicy comes first: {names(sorted(self._beaten[ref]))}. "
                    "One that selects routes comes before one that selects destinations, then the older one."
                )
                effect = Effect.PARTIAL if ref in self._used else Effect.REJECTED
                ledger.note(each.policy, ("spec",), Reason.CONFLICT, text, effect)
            elif ref not in self._used:
                text = "This policy covers no route; check its selectors against destinations and labels of routes."
                ledger.note(each.policy, ("spec",), Reason.NOTHING_SELECTED, text, Effect.IGNORED)

    def tell_unguarded(self, listeners: Iterable[Listener], programs: Iterable[Program], ledger: Ledger) -> None:
        """What goes out with a credential of ours, for whoever asks. `listeners` and `programs` as they will run."""
        # Only where no guard adds its steps is the program named for the outbound policy.
        bare = {p.id: p.policy for p in programs if p.outbound is not None and p.policy == p.outbound.policy}
        found: dict[Ref, dict[str, None]] = {}
        opened = (each for each in listeners if not each.https_redirect)
        for route in (route for each in opened for host in each.virtual_hosts for route in host.routes):
            if route.guard is not None and route.guard.program in bare:
                written = route.name.rstrip("+").partition("#")[0]
                found.setdefault(bare[route.guard.program], {})[written] = None
        for each in self.policies:
            routes = list(found.get(each.policy.ref, ()))
            if not routes:
                continue
            more = f" and {len(routes) - _NAMED} more" if len(routes) > _NAMED else ""
            text = (
                "Whoever reaches the port uses these credentials and is not asked who they are, on the routes "
                f"{', '.join(routes[:_NAMED])}{more} (NAMESPACE/TABLE/ROUTE). "
                "Write an ExtAuthPolicy that selects them, with `apiKeyAuth` for example; its steps run first."
            )
            ledger.note(each.policy, ("spec",), Reason.UNGUARDED, text, Effect.AS_WRITTEN)

    @property
    def notes(self) -> tuple[Note, ...]:
        """What each policy that could be understood lets callers do."""
        return tuple(
            Note(ref=each.policy.ref, origin=each.policy.origin, lines=each.integration.summary)
            for each in self.policies
            if each.integration is not None and each.integration.summary
        )


def compile_outbounds(
    snapshot: Snapshot,
    kinds: Mapping[str, IntegrationCompiler],
    destinations: Destinations,
    ledger: Ledger,
) -> Outbounds:
    return Outbounds(
        policies=tuple(
            contained(
                ledger,
                policy,
                partial(_compile_policy, policy, snapshot, kinds, destinations, ledger),
                CompiledOutbound(policy=policy, targets=policy.spec or OutboundAuthPolicy.broken(())),
            )
            for policy in snapshot.of(OutboundAuthPolicy)
        )
    )


def _compile_policy(
    policy: Resource[OutboundAuthPolicy],
    snapshot: Snapshot,
    kinds: Mapping[str, IntegrationCompiler],
    destinations: Destinations,
    ledger: Ledger,
) -> CompiledOutbound:
    spec = policy.spec if policy.spec is not None else OutboundAuthPolicy.broken(())
    shut = CompiledOutbound(policy=policy, targets=spec)
    if isinstance(spec.config, BrokenItem):
        return shut
    at = (*_CONFIG, spec.config.field)
    kind = kinds.get(spec.config.kind)
    if kind is None:
        known = ", ".join(f"`{each}`" for each in sorted(kinds))
        text = f"There is no integration `{spec.config.kind}`: every covered route answers 500. Write one of {known}."
        ledger.note(policy, at, Reason.UNKNOWN_FIELD, text, Effect.REPLACED)
        return shut
    validated = validate_spec(kind.spec, spec.config.settings, at)
    ledger.add_all(policy, validated.unknown, Effect.IGNORED)
    ledger.add_all(policy, (*validated.fatal, *(problem for problem, _ in validated.contained)), Effect.REPLACED)
    if validated.spec is None or validated.contained:
        return shut
    compiled = kind.compile(validated.spec, PolicyScope(policy, kind.name, snapshot, destinations, ledger))
    if isinstance(compiled, list):
        for problem in compiled:
            ledger.note(policy, (*at, *problem.at), problem.reason, problem.message, Effect.REPLACED)
        return shut
    return CompiledOutbound(policy=policy, targets=spec, kind=kind.name, integration=compiled)
