"""The door of a route: who may pass it, what goes on the request behind it, and what is taken off before it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypedDict

from apostille.model.auth import Step
from apostille.model.lane import Lane, Lanes, ServiceLane
from apostille.model.outbound import Outbound, Target
from apostille.model.route import (
    Forward,
    Guard,
    HeaderMatch,
    PathRewrite,
    RegexRewrite,
    Respond,
    Route,
    Strip,
)
from apostille.translate.contract import CompiledIntegration, EnvoyKeyCheck
from apostille.translate.destinations import Destinations
from apostille.translate.guards import CompiledGuard, Guards
from apostille.translate.lanes import NativeDoor, compile_lane, signer_id
from apostille.translate.matches import EVERYTHING
from apostille.translate.outbound import CompiledOutbound, Outbounds
from apostille.translate.policies import RouteFacts
from apostille.translate.programs import ProgramBook

POLICY_INVALID = "policy_invalid"

# Proof of identity that callers bring for somebody else. A foreign service must not see it, and a guarded one gets
# what the guard puts there.
_CREDENTIALS = ("authorization", "proxy-authorization")
_CREDENTIAL_PREFIX = "x-amz-"


class _NativeKeys(TypedDict):
    keys: EnvoyKeyCheck | str | None
    slot: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """`stripped` are the header names that no route passes on (see `identity_headers`). `slots`: by key ring, the
    filter of Envoy's that has it."""

    guards: Guards
    outbounds: Outbounds
    destinations: Destinations
    book: ProgramBook
    stripped: frozenset[str]
    slots: Mapping[str, int]
    lanes: Lanes

    def fit(
        self, route: Route, facts: RouteFacts, written: PathRewrite | RegexRewrite | None
    ) -> tuple[Route, ...] | str:
        """The route with its door; more than one where requests differ in what the door must see of them.

        `written`: the rewrite in the author's words. A text says why the route cannot have its door; it must be shut.
        """
        guard = self.guards.guard_of(facts)
        action = route.action
        outbound = self.outbounds.outbound_of(facts) if isinstance(action, Forward) else None
        if isinstance(action, Respond) and action.reason is not None:
            return (route,)
        if isinstance(outbound, str):
            return outbound
        if (guard is not None and guard.chain is None) or (outbound is not None and outbound.integration is None):
            return (replace(route, action=Respond(status=500, reason=POLICY_INVALID)),)
        if isinstance(action, Forward) and outbound is not None and outbound.integration is not None:
            return self._signed(route, action, guard, outbound, outbound.integration, written, facts)
        if guard is None or guard.chain is None:
            return (replace(route, strip=self._strip(route, (), private=False)),)
        chain = guard.chain
        program = self.book.add(guard, None, facts)
        return (
            replace(
                route,
                guard=Guard(
                    program=program.id,
                    policy=guard.name,
                    body_limit=chain.body_limit,
                    tells_query=_tells_query(chain.steps),
                ),
                lane=self._lane(
                    NativeDoor(name=route.name, match=route.match, rewrite=None, **self._native_keys(guard))
                ),
                strip=self._strip(route, chain.steps, private=True),
            ),
        )

    def _signed(
        self,
        route: Route,
        action: Forward,
        guard: CompiledGuard | None,
        policy: CompiledOutbound,
        integration: CompiledIntegration,
        written: PathRewrite | RegexRewrite | None,
        facts: RouteFacts,
    ) -> tuple[Route, ...] | str:
        places = [self.destinations.named(target.destination) for target in action.destinations]
        hosts = {action.host_rewrite} if action.host_rewrite else {host for p in places if (host := p.authority)}
        if len(hosts) != 1 or (not action.host_rewrite and not all(place.authority for place in places)):
            return "nobody can tell which Host will be sent, and it is signed; write `hostRewrite`"
        (host,) = hosts
        target = Target(
            host=host,
            # It matters to a rewrite alone. Thousands of routes without one share a program.
            path=route.match.path if written is not None else EVERYTHING,
            rewrite=written,
            tls=all(place.tls is not None for place in places),
        )
        program = self.book.add(
            guard,
            Outbound(policy=policy.policy.ref, kind=policy.kind, config=integration.config, target=target),
            facts,
        )
        chain = guard.chain if guard is not None else None
        steps = chain.steps if chain is not None else ()
        limits = [limit for limit in (chain.body_limit if chain else None, integration.body_limit) if limit is not None]
        door = Guard(
            program=program.id,
            policy=guard.name if guard is not None else policy.policy.ref.short,
            body_limit=max(limits, default=None),
            body_may_be_cut=integration.body_limit is not None and (chain is None or chain.body_limit is None),
            tells_query=_tells_query(steps),
            outbound=policy.policy.ref.short,
            integration=policy.kind,
        )
        signed = replace(
            route,
            action=replace(action, host_rewrite=host, auto_host_rewrite=False, path_rewrite=None, signed=True),
            guard=door,
            # What the integration lets through of these it signs, and refuses or removes the rest.
            strip=replace(self._strip(route, steps, private=True), prefixes=()),
            raw_path=integration.raw_path,
        )
        lane = self._lane(
            NativeDoor(
                name=route.name,
                match=route.match,
                rewrite=written,
                signing=integration.native,
                signer=signer_id(policy.policy.ref, integration.native),
                **self._native_keys(guard),
            )
        )
        unread = integration.unread
        if not unread or (chain is not None and chain.body_limit is not None):
            return (replace(signed, lane=lane),)
        # Requests that say themselves what their body is need not be held back until it has been read.
        streamed = replace(
            signed,
            # The first of the two, since plain requests are taken out before any route is tried.
            lane=lane,
            name=f"{route.name}+",
            match=replace(
                route.match,
                headers=(*route.match.headers, *(_says_something(name) for name in unread)),
            ),
            guard=replace(door, body_limit=None, body_may_be_cut=False),
        )
        return (streamed, signed)

    def _lane(self, door: NativeDoor) -> Lane:
        if self.lanes is Lanes.SERVICE:
            return ServiceLane(reason="the gateway was started with the service lane for everything")
        return compile_lane(door)

    def _native_keys(self, guard: CompiledGuard | None) -> _NativeKeys:
        native = guard.chain.native if guard is not None and guard.chain is not None else None
        return {"keys": native, "slot": self.slots.get(native.ring) if isinstance(native, EnvoyKeyCheck) else None}

    def _strip(self, route: Route, steps: tuple[Step, ...], *, private: bool) -> Strip:
        reads = {name for step in steps for name in step.headers.reads}
        names = {*self.stripped, *(name for step in steps for name in step.headers.writes)}
        # An internal service without a guard may well have an authentication of its own.
        private = private or (isinstance(route.action, Forward) and route.action.external)
        if private:
            names |= set(_CREDENTIALS)
        # A prefix cannot spare the names that a step is to read; the auth service takes those away afterwards.
        prefixes = (_CREDENTIAL_PREFIX,) if private and not any(n.startswith(_CREDENTIAL_PREFIX) for n in reads) else ()
        return Strip(names=tuple(sorted(names - reads)), prefixes=prefixes)


def _tells_query(steps: Iterable[Step]) -> bool:
    return any(step.headers.query for step in steps)


def _says_something(name: str) -> HeaderMatch:
    """Sent, and not empty. A regular expression would take Envoy 11 KB for each such route."""
    return HeaderMatch(name=name, value="", invert=True)


def identity_headers(guards: Guards) -> frozenset[str]:
    """Headers that no caller may send anywhere: keys, and what programs say about callers.

    Credentials for foreign services are left out: an internal service without a guard may have its own use for them.
    """
    chains = [guard.chain for guard in guards.policies if guard.chain is not None]
    names = {name for chain in chains for name in _told(chain.steps)}
    return frozenset(
        name for name in names if name not in (*_CREDENTIALS, "cookie") and not name.startswith(_CREDENTIAL_PREFIX)
    )


def _told(steps: Iterable[Step]) -> set[str]:
    return {name for step in steps for name in (*step.headers.credentials, *step.headers.writes)}
