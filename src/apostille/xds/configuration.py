"""A whole gateway as Envoy messages, and as one static configuration that Envoy can be asked to judge."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.listener.v3.listener_pb2 import Listener as EnvoyListener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from apostille.model.gateway import Gateway
from apostille.proxy.bootstrap import compile_runtime
from apostille.xds.clusters import emit_cluster
from apostille.xds.listeners import emit_listener
from apostille.xds.routes import emit_route_configuration
from apostille.xds.site import Site

Json = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    clusters: tuple[Cluster, ...]
    listeners: tuple[EnvoyListener, ...]
    route_configurations: tuple[RouteConfiguration, ...]


def emit_configuration(gateway: Gateway, site: Site) -> Configuration:
    return Configuration(
        clusters=tuple(emit_cluster(destination, site.ca_file) for destination in gateway.destinations),
        listeners=tuple(
            emit_listener(
                listener, site.address, deadline_ms=gateway.deadline_ms, status_on_error=gateway.status_on_error
            )
            for listener in gateway.listeners
        ),
        route_configurations=tuple(emit_route_configuration(listener) for listener in gateway.listeners),
    )


def emit_static(gateway: Gateway, site: Site, own_clusters: Iterable[Json]) -> Json:
    """The same as one bootstrap in JSON form, with routes inside their listeners and nothing left to ask for.

    This is what ``envoy --mode validate`` can judge. `own_clusters`: those that Apostille itself needs, the auth
    service's above all, since filters name them.
    """
    listeners = [
        emit_listener(
            listener,
            site.address,
            deadline_ms=gateway.deadline_ms,
            status_on_error=gateway.status_on_error,
            inline_routes=emit_route_configuration(listener),
        )
        for listener in gateway.listeners
    ]
    return {
        "layered_runtime": compile_runtime(),
        "static_resources": {
            "clusters": [
                *own_clusters,
                *(emit_json(emit_cluster(each, site.ca_file)) for each in gateway.destinations),
            ],
            "listeners": [emit_json(listener) for listener in listeners],
        },
    }


def emit_json(message: Message) -> Json:
    """A message in protobuf's JSON form, with the field names of the .proto files; Any fields are unpacked."""
    return MessageToDict(message, preserving_proto_field_name=True)
