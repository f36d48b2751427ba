"""From a snapshot of resources to the model, in phases. Read this first.

::

    VirtualGateway ──────────────► listeners that can be opened ─────────────────┐
    ExtAuthPolicy, Secrets ──────► guards: who may pass ─────────────────┐       │
    OutboundAuthPolicy ──────────► outbounds: what goes on the request ──┤       │
    RouteTable, destinations ────► routes, each with its guard ──────────┴───────┴──► Gateway

Nothing in here raises because of what people wrote: it becomes a finding, and the model holds what follows from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from apostille.base.collector import collector_paused
from apostille.model.gateway import Gateway
from apostille.model.lane import EnvoySigner, Lanes
from apostille.resources.resource import Resource, Spec
from apostille.resources.routes import RouteTable
from apostille.resources.snapshot import Snapshot
from apostille.status.problem import Finding, Note
from apostille.translate.contract import EnvoyKeyCheck, IntegrationCompiler, StepCompiler
from apostille.translate.destinations import Destinations
from apostille.translate.findings import Ledger
from apostille.translate.guards import GuardCompiler, Guards
from apostille.translate.lanes import compile_rings, compile_signers, describe_lanes
from apostille.translate.listeners import attach_tables, compile_listeners
from apostille.translate.outbound import compile_outbounds
from apostille.translate.programs import DEFAULT_DEADLINE_MS
from apostille.translate.slots import SlotAssignment, assign_slots
from apostille.translate.tables import TableCompiler, World, begin_uses

DEFAULT_STATUS_ON_ERROR = 503


@dataclass(frozen=True, slots=True, kw_only=True)
class Translation:
    gateway: Gateway
    findings: tuple[Finding, ...]
    notes: tuple[Note, ...] = ()


def translate(
    snapshot: Snapshot,
    steps: Mapping[str, StepCompiler],
    integrations: Mapping[str, IntegrationCompiler],
    ports: Mapping[str, int],
) -> Translation:
    """`steps`, `integrations`: kinds by the field that selects them. `ports`: listener port as written → number."""
    return Translator(steps, integrations, ports).translate(snapshot)


class Translator:
    """Translates one snapshot after the other; what did not change since the last one is not compiled again.

    "The same" means the same objects: whoever reads resources keeps those of texts that did not change.
    """

    def __init__(
        self,
        steps: Mapping[str, StepCompiler],
        integrations: Mapping[str, IntegrationCompiler],
        ports: Mapping[str, int],
        assign: SlotAssignment = assign_slots,
        lanes: Lanes = Lanes.AUTO,
    ) -> None:
        """As for `translate`. `assign` gives key rings their filters; a ring should keep the one that it had."""
        self._lanes = lanes
        self._assign = assign
        self._steps = steps
        self._integrations = integrations
        self._ports = ports
        self._around: tuple[Resource[Spec], ...] | None = None
        self._tables: TableCompiler
        self._world: World

    def translate(self, snapshot: Snapshot) -> Translation:
        with collector_paused():
            return self._translate(snapshot)

    def _translate(self, snapshot: Snapshot) -> Translation:
        tables = snapshot.of(RouteTable)
        own = {id(table) for table in tables}
        around = tuple(resource for resource in snapshot.resources if id(resource) not in own)
        if self._around is None or not _same(around, self._around):
            self._world = self._compile_world(snapshot)
            self._tables = TableCompiler(self._world)
            self._around = around
        world = self._world

        uses = begin_uses(world)
        uses.ledger.absorb(world.ledger)
        compiled = self._tables.compile_tables(tables)
        for each in compiled:
            uses.absorb(each.uses)
        listeners = attach_tables(world.opened, tuple((each.table, each.routes) for each in compiled), uses.ledger)
        uses.guards.tell_leftovers(uses.ledger)
        uses.outbounds.tell_leftovers(uses.ledger)
        uses.outbounds.tell_unguarded(listeners, uses.book.programs, uses.ledger)

        described = (describe_lanes(each.table, (found.route for found in each.routes)) for each in compiled)
        lanes = tuple(note for note in described if note is not None)
        programs = uses.book.programs
        statuses = (guard.chain.status_on_error for guard in uses.guards.policies if guard.chain is not None)
        gateway = Gateway(
            listeners=listeners,
            destinations=uses.destinations.used,
            programs=programs,
            keyrings=uses.book.keyrings,
            envoy_keys=compile_rings(_key_checks(world.guards), world.slots),
            envoy_signers=self._signers(world),
            deadline_ms=max((program.deadline_ms for program in programs), default=DEFAULT_DEADLINE_MS),
            status_on_error=next((status for status in statuses if status is not None), DEFAULT_STATUS_ON_ERROR),
        )
        return Translation(
            gateway=gateway,
            findings=uses.ledger.findings,
            notes=(*uses.outbounds.notes, *lanes),
        )

    def _signers(self, world: World) -> tuple[EnvoySigner, ...]:
        if self._lanes is Lanes.SERVICE:
            return ()
        policies = world.outbounds.policies
        return compile_signers((each.policy.ref, each.integration.native) for each in policies if each.integration)

    def _compile_world(self, snapshot: Snapshot) -> World:
        ledger = Ledger()
        destinations = Destinations(snapshot)
        guards = GuardCompiler(snapshot, self._steps, destinations, ledger).compile_guards()
        rings = [check.ring for check in _key_checks(guards) if isinstance(check, EnvoyKeyCheck)]
        return World(
            opened=compile_listeners(snapshot, self._ports, ledger),
            destinations=destinations,
            guards=guards,
            slots=self._assign(rings) if self._lanes is Lanes.AUTO else {},
            lanes=self._lanes,
            outbounds=compile_outbounds(snapshot, self._integrations, destinations, ledger),
            ledger=ledger,
        )


def _key_checks(guards: Guards) -> list[EnvoyKeyCheck | str]:
    """Of the guards, the oldest first."""
    return [guard.chain.native for guard in guards.policies if guard.chain is not None]


def _same(some: tuple[Resource[Spec], ...], others: tuple[Resource[Spec], ...]) -> bool:
    return len(some) == len(others) and all(a is b for a, b in zip(some, others, strict=True))
