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
from functools import partial

from apostille.model.gateway import Gateway
from apostille.resources.routes import RouteTable
from apostille.resources.snapshot import Snapshot
from apostille.status.problem import Finding
from apostille.translate.contract import IntegrationCompiler, StepCompiler
from apostille.translate.destinations import Destinations
from apostille.translate.doors import Doors, identity_headers
from apostille.translate.findings import Ledger, contained
from apostille.translate.guards import GuardCompiler
from apostille.translate.listeners import attach_tables, compile_listeners
from apostille.translate.outbound import compile_outbounds
from apostille.translate.programs import DEFAULT_DEADLINE_MS, ProgramBook
from apostille.translate.routes import RouteCompiler, TableRoute

DEFAULT_STATUS_ON_ERROR = 503


@dataclass(frozen=True, slots=True, kw_only=True)
class Translation:
    gateway: Gateway
    findings: tuple[Finding, ...]


def translate(
    snapshot: Snapshot,
    steps: Mapping[str, StepCompiler],
    integrations: Mapping[str, IntegrationCompiler],
    ports: Mapping[str, int],
) -> Translation:
    """`steps`, `integrations`: kinds by the field that selects them. `ports`: listener port as written → number."""
    ledger = Ledger()
    destinations = Destinations(snapshot)

    opened = compile_listeners(snapshot, ports, ledger)
    guards = GuardCompiler(snapshot, steps, destinations, ledger).compile_guards()
    outbounds = compile_outbounds(snapshot, integrations, destinations, ledger)

    book = ProgramBook()
    doors = Doors(
        guards=guards,
        outbounds=outbounds,
        destinations=destinations,
        book=book,
        stripped=identity_headers(guards),
    )
    routes = RouteCompiler(destinations, doors, ledger)
    lost: tuple[TableRoute, ...] = ()
    tables = tuple(
        (table, contained(ledger, table, partial(routes.compile_table, table), lost))
        for table in snapshot.of(RouteTable)
    )
    listeners = attach_tables(opened, tables, ledger)
    guards.tell_leftovers(ledger)
    outbounds.tell_leftovers(ledger)

    statuses = (guard.chain.status_on_error for guard in guards.policies if guard.chain is not None)
    gateway = Gateway(
        listeners=listeners,
        destinations=destinations.used,
        programs=book.programs,
        keyrings=book.keyrings,
        deadline_ms=max((program.deadline_ms for program in book.programs), default=DEFAULT_DEADLINE_MS),
        status_on_error=next((status for status in statuses if status is not None), DEFAULT_STATUS_ON_ERROR),
    )
    return Translation(gateway=gateway, findings=ledger.findings)
