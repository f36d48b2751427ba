"""Route tables, compiled each by itself, so that what did not change need not be compiled again.

A table depends on itself and on the world around it: everything but the other tables. While that world is the same, so
is what became of a table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from apostille.model.lane import Lanes
from apostille.resources.resource import Resource
from apostille.resources.routes import RouteTable
from apostille.translate.destinations import Destinations
from apostille.translate.doors import Doors, identity_headers
from apostille.translate.findings import Ledger, contained
from apostille.translate.guards import Guards
from apostille.translate.listeners import OpenListener
from apostille.translate.outbound import Outbounds
from apostille.translate.programs import ProgramBook
from apostille.translate.routes import RouteCompiler, TableRoute


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What tables are compiled against. Nobody writes into it: each table gets parts of it that are `apart`.
    `slots`: by key ring, the filter of Envoy's that has it."""

    opened: tuple[OpenListener, ...]
    destinations: Destinations
    guards: Guards
    outbounds: Outbounds
    slots: Mapping[str, int]
    lanes: Lanes
    ledger: Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Uses:
    """What tables made use of, and what was found wrong with them."""

    destinations: Destinations
    guards: Guards
    outbounds: Outbounds
    book: ProgramBook
    ledger: Ledger

    def absorb(self, other: Uses) -> None:
        self.destinations.absorb(other.destinations)
        self.guards.absorb(other.guards)
        self.outbounds.absorb(other.outbounds)
        self.book.absorb(other.book)
        self.ledger.absorb(other.ledger)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledTable:
    table: Resource[RouteTable]
    routes: tuple[TableRoute, ...]
    uses: Uses


def begin_uses(world: World) -> Uses:
    return Uses(
        destinations=world.destinations.apart(),
        guards=world.guards.apart(),
        outbounds=world.outbounds.apart(),
        book=ProgramBook(),
        ledger=Ledger(),
    )


class TableCompiler:
    """Compiles the tables of one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._stripped = identity_headers(world.guards)
        self._known: dict[int, CompiledTable] = {}

    def compile_tables(self, tables: tuple[Resource[RouteTable], ...]) -> tuple[CompiledTable, ...]:
        """In the given order. The very same resource gives the very same routes again."""
        compiled = tuple(self._known.get(id(table)) or self._compile(table) for table in tables)
        # An id means something only as long as its object lives, and these keep theirs alive.
        self._known = {id(each.table): each for each in compiled}
        return compiled

    def _compile(self, table: Resource[RouteTable]) -> CompiledTable:
        uses = begin_uses(self._world)
        doors = Doors(
            guards=uses.guards,
            outbounds=uses.outbounds,
            destinations=uses.destinations,
            book=uses.book,
            stripped=self._stripped,
            slots=self._world.slots,
            lanes=self._world.lanes,
        )
        routes = RouteCompiler(uses.destinations, doors, uses.ledger)
        lost: tuple[TableRoute, ...] = ()
        return CompiledTable(
            table=table, routes=contained(uses.ledger, table, partial(routes.compile_table, table), lost), uses=uses
        )
