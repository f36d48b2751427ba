"""A whole gateway as Envoy messages, and as one static configuration that Envoy can be asked to judge."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.listener.v3.listener_pb2 import Listener as EnvoyListener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message

from apostille.model.gateway import Gateway
from apostille.model.lane import EnvoyLane
from apostille.model.route import Forward
from apostille.proxy.bootstrap import compile_runtime
from apostille.xds.clusters import emit_cluster
from apostille.xds.key_slots import emit_rings
from apostille.xds.listeners import emit_listener
from apostille.xds.matchers import Answers
from apostille.xds.routes import begin_answers, emit_route_configuration
from apostille.xds.signing_filters import emit_signer
from apostille.xds.site import Site

Json = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    clusters: tuple[Cluster, ...]
    listeners: tuple[EnvoyListener, ...]
    route_configurations: tuple[RouteConfiguration, ...]
    extensions: tuple[TypedExtensionConfig, ...]


def emit_configuration(gateway: Gateway, site: Site, answers: Answers | None = None) -> Configuration:
    """`answers`: those that are kept from earlier configurations."""
    kept = answers or begin_answers()
    return Configuration(
        clusters=_emit_clusters(gateway, site, inline=False),
        listeners=tuple(
            emit_listener(listener, site, deadline_ms=gateway.deadline_ms, status_on_error=gateway.status_on_error)
            for listener in gateway.listeners
        ),
        route_configurations=tuple(emit_route_configuration(listener, kept) for listener in gateway.listeners),
        # Without a listener nobody asks for filters.
        extensions=(*emit_rings(gateway.envoy_keys), *(emit_signer(signer) for signer in gateway.envoy_signers))
        if gateway.listeners
        else (),
    )


def emit_static(gateway: Gateway, site: Site, own_clusters: Iterable[Json]) -> Bootstrap:
    """The same as one bootstrap, with routes inside their listeners and nothing left to ask for.

    This is what ``envoy --mode validate`` can judge. `own_clusters`: those that Apostille itself needs, the auth
    service's above all, since filters name them.
    """
    ours = {"layered_runtime": compile_runtime(), "static_resources": {"clusters": list(own_clusters)}}
    bootstrap: Bootstrap = ParseDict(ours, Bootstrap())
    bootstrap.static_resources.clusters.extend(_emit_clusters(gateway, site, inline=True))
    bootstrap.static_resources.listeners.extend(
        emit_listener(
            listener,
            site,
            deadline_ms=gateway.deadline_ms,
            status_on_error=gateway.status_on_error,
            inline_routes=emit_route_configuration(listener),
        )
        for listener in gateway.listeners
    )
    return bootstrap


def _emit_clusters(gateway: Gateway, site: Site, *, inline: bool) -> tuple[Cluster, ...]:
    """Every destination, and once more for each signer that signs on the way to it."""
    known = {destination.name: destination for destination in gateway.destinations}
    plain = (emit_cluster(destination, site.ca_file) for destination in gateway.destinations)
    signed = (
        emit_cluster(known[name], site.ca_file, signer=signer, inline=inline)
        for name, signer in sorted(_signed_destinations(gateway))
        if name in known
    )
    return (*plain, *signed)


def _signed_destinations(gateway: Gateway) -> set[tuple[str, str]]:
    return {
        (target.destination, route.lane.signer)
        for listener in gateway.listeners
        for host in listener.virtual_hosts
        for route in host.routes
        if isinstance(route.lane, EnvoyLane) and route.lane.signer is not None and isinstance(route.action, Forward)
        for target in route.action.destinations
    }


def emit_json(message: Message) -> Json:
    """A message in protobuf's JSON form, with the field names of the .proto files; Any fields are unpacked."""
    return MessageToDict(message, preserving_proto_field_name=True)
