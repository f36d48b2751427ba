"""What golden cases do not show: the details of finding endpoints and ports."""

from __future__ import annotations

import pytest

from apostille.model.destination import Destination, Endpoint, Protocol
from apostille.resources.selectors import DestinationKind, DestinationReference
from apostille.status.problem import Problem, field_text
from apostille.status.reasons import Reason
from apostille.translate.destinations import Destinations
from tests.unit.translate.conftest import SHOP, snapshot_of

AT = ("spec", "http", 0, "forwardTo", "destinations", 0)


def service(ports: str, name: str = "many") -> str:
    return f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: apps}}\nspec: {{ports: {ports}}}"


def piece(ports: str, *addresses: str, number: int = 1) -> str:
    endpoints = ", ".join(f"{{addresses: ['{address}']}}" for address in addresses)
    return (
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n"
        f"metadata: {{name: many-{number}, namespace: apps, labels: {{kubernetes.io/service-name: many}}}}\n"
        f"ports: {ports}\nendpoints: [{endpoints}]"
    )


def external(spec: str) -> str:
    head = "apiVersion: networking.gloo.solo.io/v2\nkind: ExternalService\nmetadata: {name: far, namespace: apps}\n"
    return f"{head}spec: {spec}"


def resolve(written: dict[str, object], *manifests: str) -> Destination | Problem:
    reference = DestinationReference.model_validate(written)
    return Destinations(snapshot_of(*manifests)).resolve(reference, "apps", AT)


def endpoints(written: dict[str, object], *manifests: str) -> list[tuple[str, int]]:
    found = resolve(written, *manifests)
    assert isinstance(found, Destination)
    return [(each.host, each.port) for each in found.endpoints]


def problem(written: dict[str, object], *manifests: str) -> tuple[str, Reason]:
    found = resolve(written, *manifests)
    assert isinstance(found, Problem)
    return field_text(found.at[len(AT) :]), found.reason


def test_the_namespace_of_a_reference_is_that_of_the_table_unless_written() -> None:
    assert endpoints({"ref": {"name": "shop"}}, SHOP) == [("10.0.0.1", 8000)]
    assert endpoints({"ref": {"name": "shop", "namespace": "apps"}}, SHOP) == [("10.0.0.1", 8000)]
    assert problem({"ref": {"name": "shop", "namespace": "other"}}, SHOP) == ("ref", Reason.REFERENCE_NOT_FOUND)


@pytest.mark.parametrize(
    ("service_port", "slice_ports", "expected"),
    [
        ("{name: http, port: 80}", "[{name: http, port: 8000}]", 8000),
        ("{port: 80}", "[{port: 8000}]", 8000),
        ("{name: http, port: 80, targetPort: web}", "[{name: web, port: 8001}]", 8001),
        ("{name: http, port: 80, targetPort: web}", "[{name: http, port: 8002}]", 8002),
        ("{name: http, port: 80, targetPort: 8003}", "[{port: 8003}]", 8003),
        ("{port: 80, targetPort: 8004}", "[]", 8004),
    ],
)
def test_a_service_port_is_found_on_a_slice(service_port: str, slice_ports: str, expected: int) -> None:
    found = endpoints({"ref": {"name": "many"}}, service(f"[{service_port}]"), piece(slice_ports, "10.0.0.1"))
    assert found == [("10.0.0.1", expected)]


def test_a_slice_without_the_port_gives_nobody() -> None:
    manifests = service("[{name: http, port: 80}]"), piece("[{name: grpc, port: 90}]", "10.0.0.1")
    assert endpoints({"ref": {"name": "many"}}, *manifests) == []


def test_addresses_of_all_slices_are_one_sorted_set() -> None:
    manifests = (
        service("[{port: 80}]"),
        piece("[{port: 80}]", "10.0.0.2", "10.0.0.1"),
        piece("[{port: 80}]", "10.0.0.1", number=2),
    )
    assert endpoints({"ref": {"name": "many"}}, *manifests) == [("10.0.0.1", 80), ("10.0.0.2", 80)]


@pytest.mark.parametrize(
    ("port", "expected"),
    [
        ("{name: http, port: 80}", Protocol.HTTP1),
        ("{name: grpc-api, port: 80}", Protocol.HTTP2),
        ("{name: http2, port: 80}", Protocol.HTTP2),
        ("{port: 80, appProtocol: kubernetes.io/h2c}", Protocol.HTTP2),
        ("{name: grpc, port: 80, appProtocol: http}", Protocol.HTTP1),
    ],
)
def test_the_protocol_is_told_by_the_port(port: str, expected: Protocol) -> None:
    found = resolve({"ref": {"name": "many"}}, service(f"[{port}]"))
    assert isinstance(found, Destination)
    assert found.protocol is expected


def test_each_destination_is_kept_once_and_sorted_by_name() -> None:
    destinations = Destinations(snapshot_of(SHOP, service("[{port: 80}]", "another")))
    for name in ("shop", "another", "shop"):
        destinations.resolve(DestinationReference.model_validate({"ref": {"name": name}}), "apps", AT)
    assert [each.name for each in destinations.used] == ["service/apps/another/80", "service/apps/shop/80"]


def test_a_destination_that_cannot_be_used_is_not_kept() -> None:
    destinations = Destinations(snapshot_of(external("{addresses: [169.254.1.1], ports: [{number: 80}]}")))
    reference = DestinationReference.model_validate({"kind": "EXTERNAL_SERVICE", "ref": {"name": "far"}})
    found = destinations.resolve(reference, "apps", AT)
    assert isinstance(found, Problem)
    assert found.reason is Reason.UNSAFE
    assert destinations.used == ()


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "::ffff:169.254.169.254", "fd00:ec2::254", "168.63.129.16", "100.100.100.200", "fe80::1"],
)
def test_metadata_addresses_are_refused_in_every_spelling(address: str) -> None:
    manifest = external(f"{{addresses: ['{address}'], ports: [{{number: 80}}]}}")
    assert problem({"kind": "EXTERNAL_SERVICE", "ref": {"name": "far"}}, manifest) == ("", Reason.UNSAFE)


def test_a_name_for_a_target_port_needs_endpoints_that_have_names() -> None:
    manifest = external("{hosts: [a.example.com], ports: [{number: 80, targetPort: {name: web}}]}")
    assert problem({"kind": "EXTERNAL_SERVICE", "ref": {"name": "far"}}, manifest) == ("", Reason.INVALID_VALUE)


def test_facts_are_known_of_destinations_that_are_not_there() -> None:
    destinations = Destinations(snapshot_of(SHOP))
    known = destinations.facts(DestinationReference.model_validate({"ref": {"name": "shop"}}), "apps")
    gone = destinations.facts(
        DestinationReference.model_validate({"kind": "EXTERNAL_SERVICE", "ref": {"name": "gone"}}), "apps"
    )
    assert known is not None
    assert gone is not None
    assert (known.port_number, known.port_name) == (80, "http")
    assert (gone.kind, gone.name, gone.port_number) == (DestinationKind.EXTERNAL_SERVICE, "gone", None)
    assert destinations.facts(DestinationReference.model_validate({"awsLambda": {}}), "apps") is None


@pytest.mark.parametrize("host", ["shop.apps.svc", "shop.apps.svc.cluster.local", "SHOP.apps.svc.cluster.local."])
def test_steps_find_the_endpoints_of_a_service_by_its_host(host: str) -> None:
    assert Destinations(snapshot_of(SHOP)).service_endpoints(host, 80) == (Endpoint(host="10.0.0.1", port=8000),)


def test_steps_are_sent_to_dns_for_hosts_that_are_no_known_service() -> None:
    destinations = Destinations(snapshot_of(SHOP))
    assert [destinations.service_endpoints(host, 80) for host in ("gone.apps.svc", "shop.apps", "example.com")] == [
        None
    ] * 3
    assert destinations.service_endpoints("shop.apps.svc", 81) == ()
