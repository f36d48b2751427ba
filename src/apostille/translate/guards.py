"""Policies that guard access: each becomes an auth program, or a door that stays shut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

from apostille.base.refs import Ref
from apostille.model.auth import KeyRing, Step
from apostille.resources.broken import BrokenItem
from apostille.resources.ext_auth import (
    ExtAuthConfig,
    ExtAuthPolicy,
    ExtAuthServer,
    GlooAuth,
    StepEntry,
    UnbuiltPolicy,
)
from apostille.resources.resource import Resource, Spec
from apostille.resources.selectors import GuardSpec
from apostille.resources.snapshot import Snapshot
from apostille.resources.validation import validate_spec
from apostille.status.problem import FieldPath
from apostille.status.reasons import Effect, Reason
from apostille.translate.contract import CompiledStep, EnvoyKeyCheck, StepCompiler
from apostille.translate.destinations import Destinations
from apostille.translate.findings import Ledger, contained, names
from apostille.translate.policies import RouteFacts, Unselected, covers
from apostille.translate.scope import PolicyScope

# Steps of Gloo that are known and not built: named as such, and shut.
_UNBUILT_STEPS = frozenset(
    ["basicAuth", "hmacAuth", "jwt", "ldap", "oauth", "oauth2", "opaAuth", "opaServerAuth", "pluginAuth", "portalAuth"]
)
_CONFIG: FieldPath = ("spec", "config")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """The compiled steps. `native`: what Envoy could do in their place with the same result, or why it cannot.
    `asks_place`: some want to know where a route leads. `body_limit` in bytes, where a step needs the client's body.
    `status_on_error`: as the policy's server says, if it does."""

    steps: tuple[Step, ...]
    keyrings: tuple[KeyRing, ...]
    native: EnvoyKeyCheck | str
    deadline_ms: int
    asks_place: bool = False
    body_limit: int | None = None
    status_on_error: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledGuard:
    """`chain` of None: the policy could not be understood, so what it covers is shut."""

    policy: Resource[Spec]
    targets: GuardSpec
    unselected: Unselected
    chain: Chain | None = None

    @property
    def name(self) -> str:
        return self.policy.ref.short


@dataclass(slots=True)
class Guards:
    """Which guard a route gets: the oldest ExtAuthPolicy that covers it, unless one that is not built covers it too."""

    unbuilt: tuple[CompiledGuard, ...]
    policies: tuple[CompiledGuard, ...]
    _used: set[Ref] = field(default_factory=set)
    _beaten: dict[Ref, set[Ref]] = field(default_factory=dict)

    def apart(self) -> Guards:
        """The same guards, and a memory of their own of whom they were asked for; `absorb` brings it back."""
        return Guards(unbuilt=self.unbuilt, policies=self.policies)

    def absorb(self, other: Guards) -> None:
        self._used |= other._used
        for loser, winners in other._beaten.items():
            self._beaten.setdefault(loser, set()).update(winners)

    def guard_of(self, route: RouteFacts) -> CompiledGuard | None:
        covering = [g for g in self.policies if covers(g.targets, route, g.unselected)]
        shut = [g for g in self.unbuilt if covers(g.targets, route, g.unselected)]
        self._used |= {guard.policy.ref for guard in (*shut, *covering[:1])}
        for loser in covering[1:]:
            self._beaten.setdefault(loser.policy.ref, set()).add(covering[0].policy.ref)
        return shut[0] if shut else covering[0] if covering else None

    def tell_leftovers(self, ledger: Ledger) -> None:
        """Policies that lost to an older one, or that cover nothing; to be called when every route has its guard."""
        for guard in (*self.policies, *self.unbuilt):
            ref = guard.policy.ref
            if ref in self._beaten:
                text = (
                    f"An older policy covers the same routes and wins there: {names(sorted(self._beaten[ref]))}. "
                    "A route has one ExtAuthPolicy; put the steps into one, or select other routes."
                )
                effect = Effect.PARTIAL if ref in self._used else Effect.REJECTED
                ledger.note(guard.policy, ("spec",), Reason.CONFLICT, text, effect)
            elif ref not in self._used:
                text = "This policy covers no route; check its selectors against the labels of the routes."
                ledger.note(guard.policy, ("spec",), Reason.NOTHING_SELECTED, text, Effect.IGNORED)


def _shut_guard(policy: Resource[ExtAuthPolicy]) -> CompiledGuard:
    targets = policy.spec if policy.spec is not None else ExtAuthPolicy.broken(())
    return CompiledGuard(policy=policy, targets=targets, unselected=Unselected.DESTINATIONS)


class GuardCompiler:
    """ExtAuthPolicies to programs. Everything wrong with a policy is told at once, and any of it shuts its doors."""

    def __init__(
        self, snapshot: Snapshot, steps: Mapping[str, StepCompiler], destinations: Destinations, ledger: Ledger
    ) -> None:
        self._snapshot = snapshot
        self._steps = steps
        self._destinations = destinations
        self._ledger = ledger

    def compile_guards(self) -> Guards:
        unbuilt = []
        for policy in self._snapshot.of(UnbuiltPolicy):
            spec = policy.spec if policy.spec is not None else UnbuiltPolicy.broken(())
            targets = GuardSpec() if spec.covers_everything else spec
            unbuilt.append(CompiledGuard(policy=policy, targets=targets, unselected=Unselected.ROUTES))
        policies = [
            contained(self._ledger, policy, partial(self._compile_policy, policy), _shut_guard(policy))
            for policy in self._snapshot.of(ExtAuthPolicy)
        ]
        return Guards(unbuilt=tuple(unbuilt), policies=tuple(policies))

    def _compile_policy(self, policy: Resource[ExtAuthPolicy]) -> CompiledGuard:
        shut = _shut_guard(policy)
        spec = policy.spec if policy.spec is not None else ExtAuthPolicy.broken(())
        if isinstance(spec.config, BrokenItem):
            return shut
        server = self._server(policy, spec.config)
        if spec.config.gloo_auth is None:
            text = "`customAuth` is not built: every covered route answers 500. Use `glooAuth` with `passThroughAuth`."
            self._shut(policy, (*_CONFIG, "customAuth"), Reason.NOT_BUILT, text)
            return shut
        chain = self._compile_chain(policy, spec.config.gloo_auth)
        if chain is None or server is None:
            return shut
        steps, keyrings, native, asks_place = chain
        limit = server.request_body.max_request_bytes if server.request_body else None
        wants_body = any(step.headers.body for step in steps)
        if wants_body and limit is None:
            text = "A step wants the client's body, and the ExtAuthServer has no `requestBody`; add it there."
            self._shut(policy, _CONFIG, Reason.CONFLICT, text)
            return shut
        deadline = server.request_timeout // timedelta(milliseconds=1) or 1
        return CompiledGuard(
            policy=policy,
            targets=spec,
            unselected=Unselected.DESTINATIONS,
            chain=Chain(
                steps=steps,
                keyrings=keyrings,
                native=native,
                deadline_ms=deadline,
                asks_place=asks_place,
                body_limit=limit if wants_body else None,
                # Gloo's default is 403; a caller who did nothing wrong is told so unless somebody wrote it down.
                status_on_error=server.status_on_error if "status_on_error" in server.model_fields_set else None,
            ),
        )

    def _compile_chain(
        self, policy: Resource[Spec], auth: GlooAuth
    ) -> tuple[tuple[Step, ...], tuple[KeyRing, ...], EnvoyKeyCheck | str, bool] | None:
        """None when a step is not understood; it has been told why by then."""
        at = (*_CONFIG, "glooAuth")
        sound = True
        if auth.boolean_expr is not None:
            text = "`booleanExpr` is not built: every covered route answers 500. Without it all steps must pass."
            self._shut(policy, (*at, "booleanExpr"), Reason.NOT_BUILT, text)
            sound = False
        steps: list[Step] = []
        keyrings: list[KeyRing] = []
        natives: list[EnvoyKeyCheck | str] = []
        asks_place = False
        for index, entry in enumerate(auth.configs):
            if isinstance(entry, BrokenItem):
                sound = False
                continue
            compiled = self._compile_step(policy, auth.step_name(index), entry, (*at, "configs", index))
            if compiled is None:
                sound = False
                continue
            name, kind, found = compiled
            steps.append(
                Step(
                    name=name,
                    kind=kind,
                    config=found.config,
                    headers=found.headers,
                    asks_store=found.asks_store,
                )
            )
            asks_place |= found.asks_place
            keyrings += found.keyrings
            natives.append(found.native)
        native = natives[0] if len(natives) == 1 else "its guard has several steps"
        return (tuple(steps), tuple(keyrings), native, asks_place) if sound else None

    def _compile_step(
        self, policy: Resource[Spec], name: str, entry: StepEntry, at: FieldPath
    ) -> tuple[str, str, CompiledStep] | None:
        """The step's name, its kind and what became of it."""
        at = (*at, entry.field)
        kind = self._steps.get(entry.kind)
        if kind is None:
            known = ", ".join(f"`{each}`" for each in sorted(self._steps))
            if entry.kind in _UNBUILT_STEPS:
                text = f"The step `{entry.kind}` is not built: every covered route answers 500. Built are {known}."
                self._shut(policy, at, Reason.NOT_BUILT, text)
            else:
                text = f"There is no step `{entry.kind}`: every covered route answers 500. Write one of {known}."
                self._shut(policy, at, Reason.UNKNOWN_FIELD, text)
            return None
        validated = validate_spec(kind.spec, entry.settings, at)
        self._ledger.add_all(policy, validated.unknown, Effect.IGNORED)
        self._ledger.add_all(policy, validated.fatal, Effect.REPLACED)
        self._ledger.add_all(policy, (problem for problem, _ in validated.contained), Effect.REPLACED)
        if validated.spec is None or validated.contained:
            return None
        scope = PolicyScope(policy, name, self._snapshot, self._destinations, self._ledger)
        compiled = kind.compile(validated.spec, scope)
        if isinstance(compiled, list):
            for problem in compiled:
                self._shut(policy, (*at, *problem.at), problem.reason, problem.message)
            return None
        return name, kind.name, compiled

    def _server(self, policy: Resource[Spec], config: ExtAuthConfig) -> ExtAuthServer | None:
        """The policy's server, or the defaults where none is named; None when the named one cannot be used."""
        if config.server is None:
            return ExtAuthServer()
        namespace, name = config.server.namespace or policy.ref.namespace, config.server.name
        server = self._snapshot.get(ExtAuthServer, namespace, name)
        if server is None or server.spec is None:
            text = f"There is no ExtAuthServer {namespace}/{name} that could be used; write it, or leave `server` out."
            self._shut(policy, (*_CONFIG, "server"), Reason.REFERENCE_NOT_FOUND, text)
            return None
        for field_name, written in (
            ("failureModeAllow", server.spec.failure_mode_allow),
            ("clearRouteCache", server.spec.clear_route_cache),
        ):
            if written:
                text = (
                    f"`{field_name}` stays off: no decision means no access, "
                    "and who was let in for one route stays on it."
                )
                self._ledger.note(server, ("spec", field_name), Reason.UNSAFE, text, Effect.IGNORED)
        return server.spec

    def _shut(self, policy: Resource[Spec], at: FieldPath, reason: Reason, text: str) -> None:
        self._ledger.note(policy, at, reason, text, Effect.REPLACED)
