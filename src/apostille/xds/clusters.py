"""Cluster: one destination with its endpoints (envoy.config.cluster.v3)."""

from __future__ import annotations

import ipaddress

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.common.mutation_rules.v3.mutation_rules_pb2 import HeaderMutation as HeaderRule
from envoy.config.core.v3.address_pb2 import Address, Pipe, SocketAddress
from envoy.config.core.v3.base_pb2 import DataSource, TransportSocket
from envoy.config.core.v3.protocol_pb2 import Http1ProtocolOptions, Http2ProtocolOptions
from envoy.config.endpoint.v3.endpoint_components_pb2 import Endpoint as EnvoyEndpoint
from envoy.config.endpoint.v3.endpoint_components_pb2 import LbEndpoint, LocalityLbEndpoints
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.extensions.filters.http.header_mutation.v3.header_mutation_pb2 import HeaderMutation, Mutations
from envoy.extensions.filters.http.upstream_codec.v3.upstream_codec_pb2 import UpstreamCodec
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import (
    CertificateValidationContext,
    SubjectAltNameMatcher,
    TlsCertificate,
)
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import CommonTlsContext, UpstreamTlsContext
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from google.protobuf.duration_pb2 import Duration
from google.protobuf.wrappers_pb2 import UInt32Value

from apostille.base.check import OUR_HEADERS_PREFIX
from apostille.model.destination import ClientTls, Destination, Endpoint, Protocol
from apostille.xds.names import HTTP_PROTOCOL_OPTIONS, OUTWARD_HYGIENE, UPSTREAM_CODEC
from apostille.xds.packing import emit_any
from apostille.xds.signing_filters import emit_signing_filters, emit_void_removal

# What tells a foreign service about our inside: taken off in the upstream filter chain, which runs after every
# other filter and again on each retry. `remove` takes a name, the prefixes catch what Envoy may add one day.
_INWARD_PREFIXES = ("x-envoy-", "x-forwarded-", OUR_HEADERS_PREFIX)
_INWARD_NAMES = ("x-request-id", "forwarded", "via")


def signed_name(destination: str, signer: str) -> str:
    """The cluster of a destination in which Envoy signs; requests that it should not sign take the plain one."""
    return f"{destination}|{signer}"


def emit_cluster(
    destination: Destination, system_ca: str | None, *, signer: str | None = None, inline: bool = False
) -> Cluster:
    """`system_ca`: the CA bundle file for TLS destinations that name none. `signer`, `inline`: as in
    `emit_signing_filters`."""
    signing = emit_signing_filters(signer, inline=inline) if signer is not None else []
    return Cluster(
        name=destination.name if signer is None else signed_name(destination.name, signer),
        # In logs and metrics it is the one destination.
        alt_stat_name=destination.name if signer is not None else "",
        type=_discovery(destination),
        connect_timeout=Duration(seconds=5),
        dns_lookup_family=Cluster.ALL,
        load_assignment=ClusterLoadAssignment(
            cluster_name=destination.name,
            endpoints=[
                LocalityLbEndpoints(
                    lb_endpoints=[_emit_endpoint(e, destination.hostname) for e in destination.endpoints]
                )
            ]
            if destination.endpoints
            else [],
        ),
        typed_extension_protocol_options={HTTP_PROTOCOL_OPTIONS: emit_any(_emit_protocol(destination, signing))},
        transport_socket=None if destination.tls is None else _emit_tls(destination.tls, system_ca),
    )


def _discovery(destination: Destination) -> Cluster.DiscoveryType:
    if not destination.dns:
        return Cluster.STATIC
    # One name of a large service answers with ever other addresses: LOGICAL_DNS takes one at a time and does not
    # tear connections down when the answer changes.
    return Cluster.LOGICAL_DNS if len(destination.endpoints) == 1 else Cluster.STRICT_DNS


def _emit_endpoint(endpoint: Endpoint, hostname: str | None) -> LbEndpoint:
    if endpoint.is_socket:
        address = Address(pipe=Pipe(path=endpoint.host))
    else:
        address = Address(socket_address=SocketAddress(address=endpoint.host, port_value=endpoint.port))
    return LbEndpoint(
        endpoint=EnvoyEndpoint(address=address, hostname=hostname or ""),
        load_balancing_weight=UInt32Value(value=endpoint.weight) if endpoint.weight != 1 else None,
    )


def _emit_protocol(destination: Destination, signing: list[HttpFilter]) -> HttpProtocolOptions:
    explicit = (
        HttpProtocolOptions.ExplicitHttpConfig(http2_protocol_options=Http2ProtocolOptions())
        if destination.protocol is Protocol.HTTP2
        else HttpProtocolOptions.ExplicitHttpConfig(http_protocol_options=Http1ProtocolOptions())
    )
    # Behind the guard of the signature, which has let pass what was signed and what is empty.
    hygiene = _emit_outward_hygiene() if destination.external else (_remove_prefix(OUR_HEADERS_PREFIX),)
    removed = [*hygiene, *([emit_void_removal()] if signing else ())]
    mutations = Mutations(request_mutations=removed)
    return HttpProtocolOptions(
        explicit_http_config=explicit,
        http_filters=[
            *signing,
            HttpFilter(name=OUTWARD_HYGIENE, typed_config=emit_any(HeaderMutation(mutations=mutations))),
            HttpFilter(name=UPSTREAM_CODEC, typed_config=emit_any(UpstreamCodec())),
        ]
        if destination.external or signing
        else [],
    )


def _emit_outward_hygiene() -> tuple[HeaderRule, ...]:
    return (
        *(_remove_prefix(prefix) for prefix in _INWARD_PREFIXES),
        *(HeaderRule(remove=name) for name in _INWARD_NAMES),
    )


def _remove_prefix(prefix: str) -> HeaderRule:
    return HeaderRule(remove_on_match=HeaderRule.RemoveOnMatch(key_matcher=StringMatcher(prefix=prefix)))


def _emit_tls(tls: ClientTls, system_ca: str | None) -> TransportSocket:
    return TransportSocket(
        name="envoy.transport_sockets.tls",
        typed_config=emit_any(
            UpstreamTlsContext(
                sni=tls.sni or "",
                common_tls_context=CommonTlsContext(
                    tls_certificates=[
                        TlsCertificate(
                            certificate_chain=DataSource(filename=tls.certificate_file),
                            private_key=DataSource(filename=tls.private_key_file),
                        )
                    ]
                    if tls.certificate_file and tls.private_key_file
                    else [],
                    validation_context=_emit_validation(tls, system_ca) if tls.verify else None,
                ),
            )
        ),
    )


def _emit_validation(tls: ClientTls, system_ca: str | None) -> CertificateValidationContext:
    # Envoy's own `system_root_certs` does not count as a CA when names are to be checked too: it refuses both together.
    ca_file = tls.ca_file or system_ca
    return CertificateValidationContext(
        trusted_ca=DataSource(filename=ca_file) if ca_file else None,
        match_typed_subject_alt_names=[
            SubjectAltNameMatcher(san_type=_san_type(name), matcher=StringMatcher(exact=name)) for name in tls.names
        ],
    )


def _san_type(name: str) -> SubjectAltNameMatcher.SanType:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return SubjectAltNameMatcher.DNS
    return SubjectAltNameMatcher.IP_ADDRESS
