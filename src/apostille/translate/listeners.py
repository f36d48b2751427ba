"""VirtualGateways to listeners, and which route tables each of them takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from apostille.base.hostnames import covers
from apostille.base.refs import Ref
from apostille.model.gateway import Listener, VirtualHost
from apostille.model.route import Route
from apostille.resources.broken import BrokenItem
from apostille.resources.gateway import Listener as ListenerSpec
from apostille.resources.gateway import RouteTableFilter, VirtualGateway
from apostille.resources.resource import Resource
from apostille.resources.routes import FailureMode, RouteTable
from apostille.resources.snapshot import Snapshot
from apostille.status.problem import FieldPath
from apostille.status.reasons import Effect, Reason
from apostille.translate.findings import Ledger
from apostille.translate.routes import TableRoute


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenListener:
    """A listener that can be opened, before anybody's routes are on it. `written`: the port as the resource has it."""

    gateway: Resource[VirtualGateway]
    spec: ListenerSpec
    name: str
    port: int

    @property
    def written(self) -> int | str:
        return self.spec.port.value


def compile_listeners(snapshot: Snapshot, ports: Mapping[str, int], ledger: Ledger) -> tuple[OpenListener, ...]:
    """`ports`: port as written (name or number) → number to open."""
    opened: list[OpenListener] = []
    for gateway in snapshot.of(VirtualGateway):
        if gateway.spec is None:
            continue
        for index, spec in enumerate(gateway.spec.listeners):
            at: FieldPath = ("spec", "listeners", index)
            if isinstance(spec, BrokenItem) or not _is_built(gateway, spec, at, ledger):
                continue
            number = ports.get(str(spec.port.value), spec.port.number)
            if number is None:
                text = (
                    f"The port {spec.port.value!r} has a name and no number; start with "
                    f"--port {spec.port.value}=NUMBER, or write `number` here."
                )
                ledger.note(gateway, (*at, "port"), Reason.MISSING_FIELD, text, Effect.REJECTED)
                continue
            name = f"{gateway.ref.namespace}/{gateway.ref.name}/{spec.port.value}"
            taken = next((each for each in opened if each.name == name or each.port == number != 0), None)
            if taken is not None:
                owner = f"{taken.gateway.ref}, which is older"
                if taken.gateway.ref == gateway.ref:
                    owner = "a listener above this one"
                text = f"Port {number} is taken by {owner}; choose another port."
                ledger.note(gateway, (*at, "port"), Reason.CONFLICT, text, Effect.REJECTED)
                continue
            opened.append(OpenListener(gateway=gateway, spec=spec, name=name, port=number))
    return tuple(sorted(opened, key=lambda each: each.name))


def _is_built(gateway: Resource[VirtualGateway], spec: ListenerSpec, at: FieldPath, ledger: Ledger) -> bool:
    if spec.http is None:
        text = "TCP listeners are known and not built yet: this one is not opened. Write `http: {}` for HTTP."
        ledger.note(gateway, at, Reason.NOT_BUILT, text, Effect.REJECTED)
        return False
    if spec.tls is not None:
        # Never opened without TLS instead: that would show in clear what was meant to be hidden.
        text = "TLS listeners are known and not built yet: this one is not opened."
        ledger.note(gateway, (*at, "tls"), Reason.NOT_BUILT, text, Effect.REJECTED)
        return False
    if spec.exposed_external_services:
        text = "`exposedExternalServices` means something in a mesh only."
        ledger.note(gateway, (*at, "exposedExternalServices"), Reason.NO_EFFECT, text, Effect.IGNORED)
    return True


def attach_tables(
    opened: tuple[OpenListener, ...],
    tables: tuple[tuple[Resource[RouteTable], tuple[TableRoute, ...]], ...],
    ledger: Ledger,
) -> tuple[Listener, ...]:
    """`tables`: the oldest first, with their routes. Routes of tables that share a host stand in that order."""
    attached: dict[Ref, set[str]] = {}
    listeners: list[Listener] = []
    for each in opened:
        hosts: dict[str, list[Route]] = {}
        for table, routes in tables:
            for host in _hosts_on(table, each):
                attached.setdefault(table.ref, set()).add(host)
                hosts.setdefault(host, []).extend(
                    r.route for r in routes if r.port is None or r.port == each.written or r.port == each.port
                )
        listeners.append(
            Listener(
                name=each.name,
                owner=each.gateway.ref,
                port=each.port,
                virtual_hosts=tuple(
                    VirtualHost(name=host, domains=(host,), routes=tuple(hosts[host])) for host in sorted(hosts)
                ),
                https_redirect=bool(each.spec.https_redirect),
            )
        )
    for table, _ in tables:
        _tell_unattached(table, attached.get(table.ref, set()), ledger)
    return tuple(listeners)


def _hosts_on(table: Resource[RouteTable], listener: OpenListener) -> list[str]:
    """The table's hosts that this listener takes, in lower case."""
    gateway = listener.gateway
    if table.spec is None or not any(
        reference.name == gateway.ref.name and (reference.namespace or table.ref.namespace) == gateway.ref.namespace
        for reference in table.spec.virtual_gateways
    ):
        return []
    hosts = [host.lower() for host in table.spec.hosts]
    filters = listener.spec.allowed_route_tables
    if not filters:
        return list(dict.fromkeys(hosts))
    return [host for host in dict.fromkeys(hosts) if any(_takes(f, table, host, gateway) for f in filters)]


def _takes(
    allowed: RouteTableFilter, table: Resource[RouteTable], host: str, gateway: Resource[VirtualGateway]
) -> bool:
    namespace = gateway.ref.namespace if allowed.host_namespace == "." else allowed.host_namespace
    if namespace not in ("*", table.ref.namespace) or not covers(allowed.host_name.lower(), host):
        return False
    return allowed.selector is None or allowed.selector.matches(
        labels=table.labels, namespace=table.ref.namespace, name=table.ref.name
    )


def _tell_unattached(table: Resource[RouteTable], attached: set[str], ledger: Ledger) -> None:
    spec = table.spec
    if spec is None:
        return
    for field, routes in (("tcp", spec.tcp), ("tls", spec.tls)):
        if routes:
            text = f"`{field}` routes are known and not built yet: they are left out."
            ledger.note(table, ("spec", field), Reason.NOT_BUILT, text, Effect.PARTIAL)
    if spec.failure_mode is FailureMode.FREEZE_CONFIG:
        text = "FREEZE_CONFIG is known and not built yet: bad routes are replaced one by one."
        ledger.note(table, ("spec", "failureMode"), Reason.NOT_BUILT, text, Effect.IGNORED)
    if not spec.is_root:
        text = "A table without `hosts` lives by delegation, which is not built yet: nothing reaches it."
        ledger.note(table, ("spec",), Reason.NOT_BUILT, text, Effect.REJECTED)
    elif not attached:
        text = (
            "No listener takes this table; `virtualGateways` must name a VirtualGateway that is sound, "
            "and its `allowedRouteTables` must cover a host of this table."
        )
        ledger.note(table, ("spec", "virtualGateways"), Reason.NOTHING_SELECTED, text, Effect.REJECTED)
    else:
        for index, host in enumerate(spec.hosts):
            if host.lower() not in attached:
                text = f"No listener takes the host {host}; the gateway's `allowedRouteTables` must cover it."
                ledger.note(table, ("spec", "hosts", index), Reason.NOTHING_SELECTED, text, Effect.PARTIAL)
