"""What golden cases do not show: ports that are told on the command line."""

from __future__ import annotations

from collections.abc import Mapping

from apostille.status.reasons import Reason
from apostille.translate.findings import Ledger
from apostille.translate.listeners import compile_listeners
from tests.unit.translate.conftest import snapshot_of


def gateway(name: str, *ports: str) -> str:
    listeners = ", ".join(f"{{port: {port}, http: {{}}}}" for port in ports)
    head = (
        f"apiVersion: networking.gloo.solo.io/v2\nkind: VirtualGateway\nmetadata: {{name: {name}, namespace: apps}}\n"
    )
    return f"{head}spec: {{listeners: [{listeners}]}}"


def opened(ports: Mapping[str, int], *manifests: str) -> tuple[list[tuple[str, int]], list[Reason]]:
    ledger = Ledger()
    found = compile_listeners(snapshot_of(*manifests), ports, ledger)
    return [(each.name, each.port) for each in found], [finding.problem.reason for finding in ledger.findings]


def test_a_number_may_be_told_otherwise_and_the_name_stays() -> None:
    assert opened({"80": 8080}, gateway("g", "{number: 80}")) == ([("apps/g/80", 8080)], [])


def test_a_port_name_needs_a_number() -> None:
    assert opened({"web": 8080}, gateway("g", "{name: web}", "{name: other}")) == (
        [("apps/g/web", 8080)],
        [Reason.MISSING_FIELD],
    )


def test_two_that_are_told_the_same_number_clash() -> None:
    assert opened({"web": 8080}, gateway("g", "{name: web}"), gateway("h", "{number: 8080}")) == (
        [("apps/g/web", 8080)],
        [Reason.CONFLICT],
    )


def test_ports_that_the_system_chooses_do_not_clash() -> None:
    assert opened({"web": 0, "8080": 0}, gateway("g", "{name: web}", "{number: 8080}")) == (
        [("apps/g/8080", 0), ("apps/g/web", 0)],
        [],
    )


def test_one_port_twice_in_one_gateway_clashes_also_when_the_system_chooses() -> None:
    assert opened({"web": 0}, gateway("g", "{name: web}", "{name: web}")) == ([("apps/g/web", 0)], [Reason.CONFLICT])
