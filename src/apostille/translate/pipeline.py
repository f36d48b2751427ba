"""From a snapshot of resources to the model, in phases. Read this first.

::

    VirtualGateway ──────────────► listeners that can be opened ─────────────────┐
    ExtAuthPolicy, Secrets ──────► guards: auth programs and key rings ──┐       │
    RouteTable, destinations ────► routes, each with its guard ──────────┴───────┴──► Gateway

Nothing in here raises because of what people wrote: it becomes a finding, and the model holds what follows from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from apostille.model.auth import KeyRing, Program
from apostille.model.gateway import Gateway, Listener
from apostille.resources.routes import RouteTable
from apostille.resources.snapshot import Snapshot
from apostille.status.problem import Finding
from apostille.translate.contract import StepCompiler
from apostille.translate.destinations import Destinations
from apostille.translate.findings import Ledger
from apostille.translate.guards import CompiledGuard, GuardCompiler
from apostille.translate.listeners import attach_tables, compile_listeners
from apostille.translate.routes import RouteCompiler, identity_headers

DEFAULT_DEADLINE_MS = 2000
DEFAULT_STATUS_ON_ERROR = 503


@dataclass(frozen=True, slots=True, kw_only=True)
class Translation:
    gateway: Gateway
    findings: tuple[Finding, ...]


def translate(snapshot: Snapshot, steps: Mapping[str, StepCompiler], ports: Mapping[str, int]) -> Translation:
    """`steps`: step kinds by the field that selects them. `ports`: listener port as written → number to open."""
    ledger = Ledger()
    destinations = Destinations(snapshot)

    opened = compile_listeners(snapshot, ports, ledger)
    guards = GuardCompiler(snapshot, steps, destinations, ledger).compile_guards()

    programs = [guard.program for guard in guards.policies if guard.program is not None]
    routes = RouteCompiler(destinations, guards, identity_headers(programs), ledger)
    tables = tuple((table, routes.compile_table(table)) for table in snapshot.of(RouteTable))
    listeners = attach_tables(opened, tables, ledger)
    guards.tell_leftovers(ledger)

    used = _programs_in_use(listeners)
    in_use = [guard for guard in guards.policies if guard.program is not None and guard.program.id in used]
    gateway = Gateway(
        listeners=listeners,
        destinations=destinations.used,
        programs=_programs(in_use),
        keyrings=_keyrings(in_use),
        deadline_ms=max((program.deadline_ms for program in _programs(in_use)), default=DEFAULT_DEADLINE_MS),
        status_on_error=next(
            (guard.status_on_error for guard in in_use if guard.status_on_error is not None), DEFAULT_STATUS_ON_ERROR
        ),
    )
    return Translation(gateway=gateway, findings=ledger.findings)


def _programs_in_use(listeners: Iterable[Listener]) -> set[str]:
    return {
        route.guard.program
        for listener in listeners
        for host in listener.virtual_hosts
        for route in host.routes
        if route.guard is not None
    }


def _programs(guards: Iterable[CompiledGuard]) -> tuple[Program, ...]:
    programs = {guard.program.id: guard.program for guard in guards if guard.program is not None}
    return tuple(programs[name] for name in sorted(programs))


def _keyrings(guards: Iterable[CompiledGuard]) -> tuple[KeyRing, ...]:
    rings = {ring.id: ring for guard in guards for ring in guard.keyrings}
    return tuple(rings[name] for name in sorted(rings))
