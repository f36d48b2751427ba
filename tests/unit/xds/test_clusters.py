from __future__ import annotations

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import SubjectAltNameMatcher
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions

from apostille.base.refs import Ref
from apostille.model.destination import ClientTls, Destination, Endpoint, Protocol
from apostille.xds.clusters import emit_cluster
from apostille.xds.names import HTTP_PROTOCOL_OPTIONS

OWNER = Ref("ExternalService", "apps", "far")
ADDRESS = Endpoint(host="192.0.2.1", port=443)
NAME = Endpoint(host="far.example.org", port=443)


def cluster(
    *endpoints: Endpoint,
    dns: bool = False,
    hostname: str | None = None,
    protocol: Protocol = Protocol.HTTP1,
    tls: ClientTls | None = None,
    external: bool = False,
) -> Cluster:
    destination = Destination(
        name="far",
        owner=OWNER,
        endpoints=endpoints,
        dns=dns,
        hostname=hostname,
        protocol=protocol,
        tls=tls,
        external=external,
    )
    return emit_cluster(destination, "/system/roots.pem")


def options(found: Cluster) -> HttpProtocolOptions:
    return HttpProtocolOptions.FromString(found.typed_extension_protocol_options[HTTP_PROTOCOL_OPTIONS].value)


def tls(found: Cluster) -> UpstreamTlsContext:
    return UpstreamTlsContext.FromString(found.transport_socket.typed_config.value)


def test_how_addresses_are_found_follows_from_the_endpoints() -> None:
    assert cluster(ADDRESS).type == Cluster.STATIC
    assert cluster(NAME, dns=True).type == Cluster.LOGICAL_DNS
    assert cluster(NAME, Endpoint(host="b.example.org", port=443), dns=True).type == Cluster.STRICT_DNS


def test_endpoints_are_addresses_sockets_and_weights() -> None:
    found = cluster(
        Endpoint(host="/run/far.sock", port=0), Endpoint(host="192.0.2.1", port=80, weight=3), hostname="far"
    )
    [locality] = found.load_assignment.endpoints
    socket, address = locality.lb_endpoints
    assert socket.endpoint.address.pipe.path == "/run/far.sock"
    assert address.endpoint.address.socket_address.port_value == 80
    assert (address.load_balancing_weight.value, address.endpoint.hostname) == (3, "far")


def test_without_endpoints_there_is_a_cluster_with_nobody_in_it() -> None:
    found = cluster()
    assert found.type == Cluster.STATIC
    assert len(found.load_assignment.endpoints) == 0


def test_the_protocol_is_spoken_as_it_is_said() -> None:
    assert options(cluster(ADDRESS)).explicit_http_config.HasField("http_protocol_options")
    assert options(cluster(ADDRESS, protocol=Protocol.HTTP2)).explicit_http_config.HasField("http2_protocol_options")


def test_only_foreign_services_are_spared_our_headers() -> None:
    assert len(options(cluster(ADDRESS)).http_filters) == 0
    names = [each.name for each in options(cluster(ADDRESS, external=True)).http_filters]
    assert len(names) == len(set(names)) == 2
    assert names[-1] == "envoy.filters.http.upstream_codec"


def test_without_tls_nothing_is_encrypted() -> None:
    assert not cluster(ADDRESS).HasField("transport_socket")


def test_the_certificate_must_be_by_a_known_authority_and_for_one_of_the_names() -> None:
    context = tls(cluster(NAME, dns=True, tls=ClientTls(sni="far.example.org", names=("far.example.org", "192.0.2.1"))))
    validation = context.common_tls_context.validation_context
    assert context.sni == "far.example.org"
    assert validation.trusted_ca.filename == "/system/roots.pem"
    assert [(each.san_type, each.matcher.exact) for each in validation.match_typed_subject_alt_names] == [
        (SubjectAltNameMatcher.DNS, "far.example.org"),
        (SubjectAltNameMatcher.IP_ADDRESS, "192.0.2.1"),
    ]


def test_an_authority_of_the_authors_comes_before_those_of_the_system() -> None:
    context = tls(cluster(NAME, tls=ClientTls(sni=None, ca_file="/own/roots.pem", names=("far",))))
    assert context.common_tls_context.validation_context.trusted_ca.filename == "/own/roots.pem"


def test_nothing_is_checked_where_that_was_asked_for() -> None:
    context = tls(cluster(NAME, tls=ClientTls(sni="far", verify=False, names=("far",))))
    assert not context.common_tls_context.HasField("validation_context")


def test_our_own_certificate_is_shown_where_there_is_one() -> None:
    context = tls(cluster(NAME, tls=ClientTls(sni=None, certificate_file="/c.pem", private_key_file="/c.key")))
    [certificate] = context.common_tls_context.tls_certificates
    assert (certificate.certificate_chain.filename, certificate.private_key.filename) == ("/c.pem", "/c.key")
