"""Snapshot: everything one group of clients should hold at one moment, immutable, versioned by content.

The same content gives the same versions in every process, so a rebuild that changes nothing is no change.
It must not know who asks, what was sent before, or gRPC.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration

# Imported for its effect on the descriptor pool: without it a listener's routes stay hidden inside an Any.
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as _hcm
from google.protobuf import descriptor_pool
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

TYPE_URL_PREFIX = "type.googleapis.com/"
CLUSTER = TYPE_URL_PREFIX + "envoy.config.cluster.v3.Cluster"
ENDPOINT = TYPE_URL_PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = TYPE_URL_PREFIX + "envoy.config.listener.v3.Listener"
ROUTE = TYPE_URL_PREFIX + "envoy.config.route.v3.RouteConfiguration"
SECRET = TYPE_URL_PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret"
EXTENSION = TYPE_URL_PREFIX + "envoy.config.core.v3.TypedExtensionConfig"

# What the auth workers ask for. Their bodies are opaque here; the names are repeated in apostille.auth, which
# this package must not import.
KEY_RING = TYPE_URL_PREFIX + "apostille.auth.v1.KeyRing"
PROGRAM = TYPE_URL_PREFIX + "apostille.auth.v1.Program"


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedResource:
    """`body` is a serialized message of `type_url`; `version` is the hash of the body. A body may hold secrets."""

    name: str
    type_url: str
    body: bytes = field(repr=False)
    version: str


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Resources by type URL, then by name, both sorted. Made by `build_snapshot`."""

    resources: Mapping[str, Mapping[str, NamedResource]]

    def of(self, type_url: str) -> Mapping[str, NamedResource]:
        return self.resources.get(type_url, _NOTHING)

    @cached_property
    def version(self) -> str:
        """The hash of all names and versions: equal exactly when the content is equal."""
        digest = hashlib.sha256()
        for type_url, resources in self.resources.items():
            for name, resource in resources.items():
                for part in (type_url, name, resource.version):
                    digest.update(f"{len(part)}:{part}".encode())
        return digest.hexdigest()[:32]


_NOTHING: Mapping[str, NamedResource] = MappingProxyType({})


def emit_resource(name: str, message: Message) -> NamedResource:
    """Serialize, with map fields in a fixed order."""
    type_url = TYPE_URL_PREFIX + message.DESCRIPTOR.full_name
    return emit_raw(type_url, name, message.SerializeToString(deterministic=True))


def emit_raw(type_url: str, name: str, body: bytes) -> NamedResource:
    """A resource of a type that is not known here; `body` must be the same bytes for the same meaning."""
    return NamedResource(name=name, type_url=type_url, body=body, version=hashlib.sha256(body).hexdigest()[:32])


def build_snapshot(
    messages: Iterable[tuple[str, Message]] = (), raw: Iterable[tuple[str, str, bytes]] = ()
) -> Snapshot:
    """A snapshot of `(name, message)` pairs and of `(type URL, name, body)` triples.

    Raises ValueError when two resources of one type have the same name: only one of them would be served.
    """
    by_type: dict[str, dict[str, NamedResource]] = {}
    resources = [emit_resource(name, message) for name, message in messages]
    resources += [emit_raw(type_url, name, body) for type_url, name, body in raw]
    for resource in sorted(resources, key=lambda each: (each.type_url, each.name)):
        named = by_type.setdefault(resource.type_url, {})
        if resource.name in named:
            raise ValueError(f"two resources of {resource.type_url} are named {resource.name!r}")
        named[resource.name] = resource
    return Snapshot(resources=MappingProxyType({url: MappingProxyType(named) for url, named in by_type.items()}))


# Which field of which message names a resource of which type. Names that are empty are no reference.
_REFERENCES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        _hcm.Rds.DESCRIPTOR.full_name: ("route_config_name", ROUTE),
        "envoy.config.route.v3.RouteAction": ("cluster", CLUSTER),
        "envoy.config.route.v3.RouteAction.RequestMirrorPolicy": ("cluster", CLUSTER),
        "envoy.config.route.v3.WeightedCluster.ClusterWeight": ("name", CLUSTER),
        "envoy.config.core.v3.HttpUri": ("cluster", CLUSTER),
        "envoy.config.core.v3.GrpcService.EnvoyGrpc": ("cluster_name", CLUSTER),
    }
)


def find_inconsistencies(snapshot: Snapshot, static_clusters: Iterable[str] = ()) -> tuple[str, ...]:
    """What the resources refer to and the snapshot does not hold, and routes that no listener asks for; sorted.

    `static_clusters` are those of Envoy's bootstrap. References inside an Any of an unknown type are not seen.
    """
    present: dict[str, set[str]] = {ROUTE: set(snapshot.of(ROUTE)), CLUSTER: {*snapshot.of(CLUSTER), *static_clusters}}
    problems: set[str] = set()
    asked: set[str] = set()
    # Clusters are not searched through: they are many, and name none of these.
    for type_url, parse in ((LISTENER, Listener.FromString), (ROUTE, RouteConfiguration.FromString)):
        for resource in snapshot.of(type_url).values():
            for wanted_type, wanted in _walk(parse(resource.body)):
                if wanted_type == ROUTE:
                    asked.add(wanted)
                if wanted not in present[wanted_type]:
                    problems.add(f"{_short(type_url)} {resource.name!r} names {_short(wanted_type)} {wanted!r}, "
                                 "which does not exist")  # fmt: skip
    for resource in snapshot.of(CLUSTER).values():
        endpoints = _endpoints_of(Cluster.FromString(resource.body))
        if endpoints is not None and endpoints not in snapshot.of(ENDPOINT):
            problems.add(f"Cluster {resource.name!r} names ClusterLoadAssignment {endpoints!r}, which does not exist")
    problems |= {f"RouteConfiguration {name!r} is asked for by no listener" for name in present[ROUTE] - asked}
    return tuple(sorted(problems))


def _endpoints_of(cluster: Cluster) -> str | None:
    return (cluster.eds_cluster_config.service_name or cluster.name) if cluster.type == Cluster.EDS else None


def _walk(message: Message) -> Iterator[tuple[str, str]]:
    """Every (type URL, name) that this message and those inside it refer to."""
    reference = _REFERENCES.get(message.DESCRIPTOR.full_name)
    if reference is not None and getattr(message, reference[0]):
        yield reference[1], getattr(message, reference[0])
    if isinstance(message, AnyMessage):
        inner = _unpack(message)
        if inner is not None:
            yield from _walk(inner)
        return
    for described, value in message.ListFields():
        if described.type == FieldDescriptor.TYPE_MESSAGE:
            for each in _each(described, value):
                yield from _walk(each)


def _each(described: FieldDescriptor, value: object) -> Iterator[Message]:
    values: Iterable[object] = ()
    if isinstance(value, Message):
        values = (value,)
    elif described.message_type is not None and described.message_type.GetOptions().map_entry:
        values = value.values() if isinstance(value, Mapping) else ()
    elif isinstance(value, Iterable):
        values = value
    return (each for each in values if isinstance(each, Message))


def _unpack(packed: AnyMessage) -> Message | None:
    try:
        described = descriptor_pool.Default().FindMessageTypeByName(packed.type_url.rpartition("/")[2])
    except KeyError:
        return None
    return GetMessageClass(described).FromString(packed.value)


def _short(type_url: str) -> str:
    return type_url.rpartition(".")[2]
