"""Gateways, external services and the ext-auth server: the rules between their fields."""

from __future__ import annotations

from datetime import timedelta

import pytest

from apostille.resources.broken import BrokenItem
from apostille.resources.core import EndpointSlice, Service
from apostille.resources.ext_auth import ExtAuthServer
from apostille.resources.external import ClientTlsMode, ExternalEndpoint, ExternalService
from apostille.resources.gateway import Listener, VirtualGateway
from apostille.resources.resource import Spec
from apostille.resources.validation import validate_spec
from apostille.status.problem import field_text
from apostille.status.reasons import Effect

FILES = {"serverCert": "/c", "privateKey": "/k"}


def listener_of(**fields: object) -> object:
    spec = validate_spec(VirtualGateway, {"listeners": [{"port": {"number": 80}, **fields}]}).spec
    assert spec is not None
    return spec.listeners[0]


def fatal(model: type[Spec], raw: object) -> list[str]:
    return [field_text(problem.at) for problem in validate_spec(model, raw).fatal]


def test_one_bad_listener_spares_the_others_and_keeps_its_port() -> None:
    listeners = [{"port": {"number": 80}, "http": {}}, {"port": {"number": 81}, "http": {}, "tcp": {}}, {"port": 5}]
    validated = validate_spec(VirtualGateway, {"listeners": listeners})
    assert validated.spec is not None
    good, both, port = validated.spec.listeners
    assert isinstance(good, Listener)
    assert isinstance(both, BrokenItem)
    assert both.kept is not None
    assert both.kept.port is not None
    assert both.kept.port.value == 81
    assert isinstance(port, BrokenItem)
    assert port.lost == ("port",)
    assert {effect for _, effect in validated.contained} == {Effect.PARTIAL}


def test_a_gateway_with_one_bad_listener_is_not_called_empty() -> None:
    validated = validate_spec(VirtualGateway, {"listeners": [{"port": 5}]})
    assert validated.spec is not None
    assert fatal(VirtualGateway, {"listeners": []}) == ["listeners"]


@pytest.mark.parametrize(
    "fields",
    [
        {"http": {}, "appProtocol": "grpc-web"},
        {"http": {}, "tls": {"mode": "SIMPLE", "secretName": "s"}, "appProtocol": "HTTPS"},
        {"http": {}, "tls": {"mode": 2, "files": {**FILES, "caCerts": "/ca"}, "verifySubjectAltName": ["x"]}},
        {"tcp": {}, "appProtocol": "MONGO"},
        {"tls": {}},
        {"http": {}, "httpsRedirect": True},
        {"http": {}, "allowedRouteTables": [{"host": "*"}, {"host": "./x.com"}, {"host": "*/*.y.com", "selector": {}}]},
    ],
)
def test_sound_listeners_are_accepted(fields: dict[str, object]) -> None:
    assert isinstance(listener_of(**fields), Listener)


@pytest.mark.parametrize(
    "fields",
    [
        {"http": {}, "appProtocol": "TCP"},
        {"http": {}, "appProtocol": "HTTPS"},
        {"http": {}, "tls": {"mode": "SIMPLE"}},
        {"http": {}, "tls": {"mode": "SIMPLE", "files": {"serverCert": "/c"}}},
        {"http": {}, "tls": {"mode": "SIMPLE", "files": FILES, "secretName": "s"}},
        {"http": {}, "tls": {"mode": "MUTUAL", "files": FILES}},
        {"http": {}, "tls": {"mode": "SIMPEL", "secretName": "s"}},
        {"http": {}, "tls": {"mode": "SIMPLE", "files": FILES, "verifySubjectAltName": ["x"]}},
        {"http": {}, "tls": {"mode": "SIMPLE", "secretName": "s"}, "httpsRedirect": True},
        {"tcp": {}, "httpsRedirect": True},
        {"http": {}, "port": {"number": 0}},
        {"http": {}, "port": {"number": 80, "name": "http"}},
        {"http": {}, "allowedRouteTables": [{"host": "x"}, {"selector": {}}]},
        {"http": {}, "allowedRouteTables": [{"host": "/x"}]},
    ],
)
def test_a_listener_that_contradicts_itself_is_broken(fields: dict[str, object]) -> None:
    assert isinstance(listener_of(**fields), BrokenItem)


def test_a_filter_tells_its_host_from_its_namespace() -> None:
    listener = listener_of(http={}, allowedRouteTables=[{"host": "ns/x.com"}, {"host": "x.com"}])
    assert isinstance(listener, Listener)
    first, second = listener.allowed_route_tables
    assert (first.host_namespace, first.host_name) == ("ns", "x.com")
    assert (second.host_namespace, second.host_name) == ("*", "x.com")


def test_an_external_service_speaks_tls_when_told_or_when_its_protocol_implies_it() -> None:
    ports = [
        {"number": 443, "protocol": "https"},
        {"number": 80, "name": "plain", "protocol": "HTTP"},
        {"number": 81, "clientsideTls": {}, "targetPort": {"number": 443}},
        {"number": 82, "protocol": "HTTPS", "clientsideTls": {"mode": "DISABLE"}},
    ]
    spec = validate_spec(ExternalService, {"hosts": ["x.com"], "ports": ports}).spec
    assert spec is not None
    assert [port.is_tls for port in spec.ports] == [True, False, True, False]
    assert spec.ports[2].clientside_tls is not None
    assert spec.ports[2].clientside_tls.mode is ClientTlsMode.SIMPLE
    assert spec.port("plain") is spec.port(80)
    assert spec.port(None) is None


PORTS = [{"number": 80}]


@pytest.mark.parametrize(
    ("raw", "at"),
    [
        ({"hosts": ["x.com"], "addresses": ["1.2.3.4"], "ports": PORTS}, ""),
        ({"addresses": ["x.com"], "ports": PORTS}, "addresses[0]"),
        ({"hosts": ["x.com"]}, "ports"),
        ({"hosts": ["x.com"], "ports": []}, "ports"),
        ({"hosts": ["x.com"], "ports": [{"number": 1}, {"number": 1}]}, ""),
        ({"hosts": ["x.com"], "ports": [{"number": 1, "protocol": "FTP"}]}, "ports[0].protocol"),
        ({"hosts": ["x.com"], "ports": [{"number": 1, "clientsideTls": {"mode": "MUTUAL"}}]}, "ports[0].clientsideTls"),
        ({"hosts": ["x.com"], "ports": [{"number": 1, "clientsideTls": {"mode": 3}}]}, "ports[0].clientsideTls"),
    ],
)
def test_an_external_service_that_contradicts_itself_is_refused(raw: object, at: str) -> None:
    assert fatal(ExternalService, raw) == [at]


@pytest.mark.parametrize("address", ["10.0.0.1", "::1", "unix:///run/x.sock", "db.example.com"])
def test_an_endpoint_has_an_address_a_name_or_a_socket(address: str) -> None:
    assert validate_spec(ExternalEndpoint, {"address": address}).spec is not None


@pytest.mark.parametrize("address", ["", "*.x.com", "x.com:80", "unix://x", "unix:///", "/run/x"])
def test_anything_else_is_no_endpoint(address: str) -> None:
    assert fatal(ExternalEndpoint, {"address": address}) == ["address"]


def test_several_ports_of_an_endpoint_need_names() -> None:
    assert fatal(ExternalEndpoint, {"address": "::1", "ports": [{"number": 1}, {"number": 2, "name": "b"}]}) == [""]


def test_a_server_has_the_defaults_of_the_reference() -> None:
    spec = validate_spec(ExtAuthServer, {"requestBody": {}}).spec
    assert spec is not None
    assert (spec.request_timeout, spec.status_on_error, spec.failure_mode_allow) == (timedelta(seconds=2), 403, False)
    assert spec.request_body is not None
    assert spec.request_body.max_request_bytes == 4096


@pytest.mark.parametrize(
    ("raw", "at"),
    [
        ({"statusOnError": 418}, "statusOnError"),
        ({"requestTimeout": "0s"}, "requestTimeout"),
        ({"requestTimeout": 2}, "requestTimeout"),
        ({"failureModeAllow": "false"}, "failureModeAllow"),
        ({"destinationServer": {}}, "destinationServer"),
    ],
)
def test_a_server_with_a_bad_field_is_refused(raw: object, at: str) -> None:
    assert fatal(ExtAuthServer, raw) == [at]


def test_a_service_of_a_real_cluster_has_no_unknown_fields() -> None:
    raw = {
        "clusterIP": "10.0.0.1",
        "clusterIPs": ["10.0.0.1"],
        "externalTrafficPolicy": "Cluster",
        "internalTrafficPolicy": "Cluster",
        "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack",
        "allocateLoadBalancerNodePorts": True,
        "sessionAffinity": "None",
        "type": "LoadBalancer",
        "selector": {"app": "x"},
        "ports": [{"name": "http", "port": 80, "targetPort": "web", "nodePort": 30000, "protocol": "TCP"}],
    }
    validated = validate_spec(Service, raw)
    assert validated.spec is not None
    assert not validated.unknown
    assert validated.spec.port("http") is validated.spec.port(80) is validated.spec.port(None)


@pytest.mark.parametrize("target", [0, 65536, "", True, 1.5, []])
def test_a_target_port_is_a_port_or_a_name(target: object) -> None:
    assert fatal(Service, {"ports": [{"port": 80, "targetPort": target}]}) == ["ports[0].targetPort"]


@pytest.mark.parametrize(("conditions", "ready"), [({}, True), ({"ready": None}, True), ({"ready": False}, False)])
def test_an_endpoint_is_ready_unless_it_says_no(conditions: object, *, ready: bool) -> None:
    raw = {"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"], "conditions": conditions}]}
    spec = validate_spec(EndpointSlice, raw).spec
    assert spec is not None
    assert spec.endpoints[0].is_ready is ready
