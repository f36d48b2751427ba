"""The Kubernetes kinds that are used as they are: Service, EndpointSlice, Secret, ConfigMap, Namespace."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, PlainValidator, WithJsonSchema

from apostille.base.secrets import SecretText
from apostille.resources.fields import Labels, NotEmpty, Opaque, PortNumber, PortOrName
from apostille.resources.resource import Spec
from apostille.resources.rules import wrong


class ServicePort(Spec):
    """`target_port` of None is `port`; a name is that of a port of the EndpointSlice."""

    name: str | None = None
    port: PortNumber
    target_port: PortOrName | None = None
    protocol: str | None = None
    app_protocol: str | None = None
    node_port: int | None = None


class Service(Spec):
    """What the cluster alone cares about is known and not looked into."""

    ports: tuple[ServicePort, ...] = ()
    selector: Labels = Field(default_factory=dict)
    type: str | None = None
    external_name: str | None = None
    allocate_load_balancer_node_ports: object = None
    cluster_ip: Annotated[object, Field(alias="clusterIP")] = None
    cluster_ips: Annotated[object, Field(alias="clusterIPs")] = None
    external_ips: Annotated[object, Field(alias="externalIPs")] = None
    external_traffic_policy: object = None
    health_check_node_port: object = None
    internal_traffic_policy: object = None
    ip_families: object = None
    ip_family_policy: object = None
    load_balancer_class: object = None
    load_balancer_ip: Annotated[object, Field(alias="loadBalancerIP")] = None
    load_balancer_source_ranges: object = None
    publish_not_ready_addresses: object = None
    session_affinity: object = None
    session_affinity_config: object = None
    topology_keys: object = None
    traffic_distribution: object = None

    def port(self, wanted: int | str | None) -> ServicePort | None:
        """The port with this number or name; of None, the only one there is."""
        if wanted is None:
            return self.ports[0] if len(self.ports) == 1 else None
        return next((port for port in self.ports if wanted in (port.port, port.name)), None)


class EndpointConditions(Spec):
    """Null counts as ready."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class SliceEndpoint(Spec):
    addresses: Annotated[tuple[str, ...], NotEmpty]
    conditions: EndpointConditions = EndpointConditions()
    hostname: str | None = None
    node_name: str | None = None
    zone: str | None = None
    target_ref: Opaque | None = None
    deprecated_topology: Opaque | None = None
    hints: Opaque | None = None

    @property
    def is_ready(self) -> bool:
        return self.conditions.ready is not False


class SlicePort(Spec):
    """`port` of None: all ports, a form that is not used for Services."""

    name: str | None = None
    port: PortNumber | None = None
    protocol: str | None = None
    app_protocol: str | None = None


SERVICE_NAME_LABEL = "kubernetes.io/service-name"
"""The label of an EndpointSlice that names its Service."""


class EndpointSlice(Spec):
    address_type: str
    ports: tuple[SlicePort, ...] = ()
    endpoints: tuple[SliceEndpoint, ...] = ()


def _plain(value: object) -> SecretText:
    if isinstance(value, SecretText):
        return value
    if isinstance(value, str):
        return SecretText(value)
    raise wrong("The value of a Secret must be text; put it in quotes.")


def _decoded(value: object) -> SecretText | None:
    encoded = "".join(_plain(value).reveal().split())
    try:
        return SecretText(base64.b64decode(encoded, validate=True).decode("utf-8"))
    except UnicodeDecodeError:
        return None
    except (binascii.Error, ValueError):
        raise wrong(
            "This value is not base64. Write it in base64, or move the entry to `stringData` to write it plain."
        ) from None


_TEXT = WithJsonSchema({"type": "string"})


class Secret(Spec):
    """Values are `SecretText` from here on. An entry of `data` whose bytes are no UTF-8 text is None."""

    type: str = "Opaque"
    data: Mapping[str, Annotated[SecretText | None, PlainValidator(_decoded), _TEXT]] = Field(default_factory=dict)
    string_data: Mapping[str, Annotated[SecretText, PlainValidator(_plain), _TEXT]] = Field(default_factory=dict)
    immutable: bool | None = None

    @property
    def entries(self) -> Mapping[str, SecretText]:
        """All entries that are text, decoded; `stringData` wins."""
        decoded = {key: value for key, value in self.data.items() if value is not None}
        return {**decoded, **self.string_data}


class ConfigMap(Spec):
    data: Labels = Field(default_factory=dict)
    binary_data: Labels = Field(default_factory=dict)
    immutable: bool | None = None


class Namespace(Spec):
    finalizers: tuple[str, ...] = ()
