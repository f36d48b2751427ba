"""A whole gateway as Envoy messages, and as one static configuration that Envoy can be asked to judge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.listener.v3.listener_pb2 import Listener as EnvoyListener
from envoy.config.route.v3.route_components_pb2 import VirtualHost as EnvoyVirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message

from apostille.model.gateway import Gateway, Listener
from apostille.model.lane import EnvoyLane
from apostille.model.route import Forward
from apostille.proxy.bootstrap import compile_runtime
from apostille.xds.clusters import emit_cluster
from apostille.xds.key_slots import emit_rings
from apostille.xds.listeners import emit_listener
from apostille.xds.matchers import emit_matcher_pieces
from apostille.xds.packing import emit_bytes, field_tag, wrap_field
from apostille.xds.routes import RouteCache, emit_around_routes, emit_route_configuration
from apostille.xds.shared import Shared, find_shared
from apostille.xds.signing_filters import emit_signer
from apostille.xds.site import Site
from apostille.xds.snapshot import ROUTE, Snapshot, build_snapshot

Json = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    clusters: tuple[Cluster, ...]
    listeners: tuple[EnvoyListener, ...]
    route_configurations: tuple[RouteConfiguration, ...]
    extensions: tuple[TypedExtensionConfig, ...]


def emit_configuration(gateway: Gateway, site: Site, cache: RouteCache | None = None) -> Configuration:
    """`cache`: of earlier configurations."""
    kept = cache or RouteCache()
    return Configuration(
        clusters=_emit_clusters(gateway, site, inline=False),
        listeners=_emit_listeners(gateway, site),
        route_configurations=tuple(emit_route_configuration(listener, kept) for listener in gateway.listeners),
        extensions=_emit_extensions(gateway),
    )


def emit_snapshot(gateway: Gateway, site: Site, cache: RouteCache) -> Snapshot:
    """The same as Envoy is sent it. Of thousands of routes only those are emitted that `cache` does not know."""
    return build_snapshot(
        [
            *((cluster.name, cluster) for cluster in _emit_clusters(gateway, site, inline=False)),
            *((listener.name, listener) for listener in _emit_listeners(gateway, site)),
            *((extension.name, extension) for extension in _emit_extensions(gateway)),
        ],
        [(ROUTE, listener.name, emit_routes(listener, cache)) for listener in gateway.listeners],
    )


def emit_static(
    gateway: Gateway, site: Site, own_clusters: Iterable[Json], cache: RouteCache | None = None
) -> Bootstrap:
    """The same as one bootstrap, with routes inside their listeners and nothing left to ask for.

    This is what ``envoy --mode validate`` can judge. `own_clusters`: those that Apostille itself needs, the auth
    service's above all, since filters name them.
    """
    kept = cache or RouteCache()
    ours = {"layered_runtime": compile_runtime(), "static_resources": {"clusters": list(own_clusters)}}
    bootstrap: Bootstrap = ParseDict(ours, Bootstrap())
    bootstrap.static_resources.clusters.extend(_emit_clusters(gateway, site, inline=True))
    bootstrap.static_resources.listeners.extend(
        emit_listener(
            listener,
            site,
            deadline_ms=gateway.deadline_ms,
            status_on_error=gateway.status_on_error,
            inline_routes=emit_route_configuration(listener, kept),
        )
        for listener in gateway.listeners
    )
    return bootstrap


def _emit_listeners(gateway: Gateway, site: Site) -> tuple[EnvoyListener, ...]:
    return tuple(
        emit_listener(listener, site, deadline_ms=gateway.deadline_ms, status_on_error=gateway.status_on_error)
        for listener in gateway.listeners
    )


def _emit_extensions(gateway: Gateway) -> tuple[TypedExtensionConfig, ...]:
    # Without a listener nobody asks for filters.
    if not gateway.listeners:
        return ()
    return (*emit_rings(gateway.envoy_keys), *(emit_signer(signer) for signer in gateway.envoy_signers))


def emit_routes(listener: Listener, cache: RouteCache) -> bytes:
    """A serialized RouteConfiguration. The same listener gives the very same one until `cache` forgets it."""
    return cache.body(listener, lambda: _emit_routes(listener, cache))


def _emit_routes(listener: Listener, cache: RouteCache) -> bytes:
    settings = [find_shared(host.routes) for host in listener.virtual_hosts]
    around = emit_around_routes(listener, settings)
    hosts = tuple(_emit_hosts(around, listener, settings, cache))
    del around.virtual_hosts[:]
    return b"".join((emit_bytes(around), *chain.from_iterable(hosts)))


def _emit_hosts(
    around: RouteConfiguration, listener: Listener, settings: Sequence[Shared], cache: RouteCache
) -> Iterator[Sequence[bytes]]:
    for host, emitted, shared in zip(listener.virtual_hosts, around.virtual_hosts, settings, strict=True):
        matcher = wrap_field(_HOST_MATCHER, emit_matcher_pieces(host.routes, cache.answers(shared)))
        yield wrap_field(_VIRTUAL_HOSTS, (emit_bytes(emitted), *matcher))


_VIRTUAL_HOSTS = field_tag(RouteConfiguration, "virtual_hosts")
_HOST_MATCHER = field_tag(EnvoyVirtualHost, "matcher")


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
