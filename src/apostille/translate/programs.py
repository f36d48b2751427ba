"""Auth programs, put together for each route: who may pass, and what then goes on the request."""

from __future__ import annotations

from apostille.base.refs import Ref
from apostille.model.auth import KeyRing, Place, Program
from apostille.model.digest import content_digest, program_id
from apostille.model.outbound import Outbound, Target
from apostille.translate.guards import CompiledGuard
from apostille.translate.policies import RouteFacts

DEFAULT_DEADLINE_MS = 2000


class ProgramBook:
    """Every program that a route names, once."""

    def __init__(self) -> None:
        self._programs: dict[str, Program] = {}
        self._keyrings: dict[str, KeyRing] = {}
        # Thousands of routes have the same program. Besides the policies only target and place differ among them.
        self._known: dict[tuple[Ref | None, Ref | None, Target | None, str | None], Program] = {}

    def absorb(self, other: ProgramBook) -> None:
        self._programs |= other._programs
        self._keyrings |= other._keyrings

    def add(self, guard: CompiledGuard | None, outbound: Outbound | None, route: RouteFacts) -> Program:
        """`guard` has a chain; at least one of the two is there."""
        asks_place = guard is not None and guard.chain is not None and guard.chain.asks_place
        # Of thousands of routes few are asked where they lead.
        place = route.place if asks_place else None
        asked = (
            guard.policy.ref if guard is not None else None,
            outbound.policy if outbound is not None else None,
            outbound.target if outbound is not None else None,
            content_digest(place) if place is not None else None,
        )
        if asked not in self._known:
            self._known[asked] = self._compile(guard, outbound, place)
        return self._known[asked]

    def _compile(self, guard: CompiledGuard | None, outbound: Outbound | None, place: Place | None) -> Program:
        chain = guard.chain if guard is not None else None
        policy = guard.policy.ref if guard is not None else outbound.policy if outbound is not None else None
        if policy is None:
            raise ValueError("a program without a chain and without an outbound policy does nothing")
        steps = chain.steps if chain is not None else ()
        deadline = chain.deadline_ms if chain is not None else DEFAULT_DEADLINE_MS
        identity = program_id(policy, steps, deadline, outbound, place)
        program = Program(id=identity, policy=policy, steps=steps, deadline_ms=deadline, outbound=outbound, place=place)
        if chain is not None:
            self._keyrings |= {ring.id: ring for ring in chain.keyrings}
        return self._programs.setdefault(identity, program)

    @property
    def programs(self) -> tuple[Program, ...]:
        return tuple(self._programs[name] for name in sorted(self._programs))

    @property
    def keyrings(self) -> tuple[KeyRing, ...]:
        return tuple(self._keyrings[name] for name in sorted(self._keyrings))
