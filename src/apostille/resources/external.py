"""ExternalService and ExternalEndpoint: destinations outside the platform."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from apostille.resources.fields import HostName, Labels, NotEmpty, Opaque, PortNumber, ProtoEnum, Text
from apostille.resources.resource import Spec
from apostille.resources.rules import Choice, Ruled, listed, wrong
from apostille.resources.selectors import PortSelector

PROTOCOLS = ("HTTP", "HTTPS", "GRPC", "HTTP2", "MONGO", "TCP", "TLS")


class ClientTlsMode(ProtoEnum):
    SIMPLE = 0
    DISABLE = 1
    MUTUAL = 2
    ISTIO_MUTUAL = 3


class ClientsideTls(Spec):
    """TLS towards the server. Paths are on the proxy's machine; no `ca_certificates` means the system's own.

    `sni` of None is the host, when there is exactly one.
    """

    mode: ClientTlsMode = ClientTlsMode.SIMPLE
    sni: Text | None = None
    client_certificate: Text | None = None
    private_key: Text | None = None
    ca_certificates: Text | None = None
    credential_name: Text | None = None
    insecure_skip_verify: bool = False

    @model_validator(mode="after")
    def _check_mode(self) -> Self:
        if self.mode is ClientTlsMode.ISTIO_MUTUAL:
            raise wrong("Mode ISTIO_MUTUAL needs a service mesh; write SIMPLE or MUTUAL.")
        files = self.client_certificate is not None and self.private_key is not None
        if self.mode is ClientTlsMode.MUTUAL and not files and self.credential_name is None:
            raise wrong("Mode MUTUAL needs `clientCertificate` and `privateKey`, or `credentialName`.")
        return self


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _protocol(value: str) -> str:
    if value not in PROTOCOLS:
        raise wrong(f"This is no protocol; write {listed(PROTOCOLS, 'or')}.")
    return value


class ExternalPort(Spec):
    """`number` is what routes name; `target_port` (None: the same number) is that of the selected endpoints."""

    number: PortNumber
    name: str | None = None
    protocol: Annotated[str, BeforeValidator(_upper), AfterValidator(_protocol)] | None = None
    target_port: PortSelector | None = None
    clientside_tls: ClientsideTls | None = None
    egress_gateway_routes: Opaque | None = None

    @property
    def is_tls(self) -> bool:
        """TLS is spoken to the server: said so, or implied by the protocol."""
        if self.clientside_tls is not None:
            return self.clientside_tls.mode is not ClientTlsMode.DISABLE
        return self.protocol in ("HTTPS", "TLS")


def _address(value: str) -> str:
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise wrong("This is no IP address or CIDR; host names belong in `hosts`.") from None
    return value


class ExternalService(Ruled):
    """`selector` picks ExternalEndpoints by label; an empty one picks none."""

    choices = (Choice(("hosts", "addresses")),)

    hosts: tuple[HostName, ...] = ()
    addresses: tuple[Annotated[str, AfterValidator(_address)], ...] = ()
    ports: Annotated[tuple[ExternalPort, ...], NotEmpty]
    selector: Labels = Field(default_factory=dict)
    subject_alt_names: tuple[Text, ...] = ()

    def port(self, wanted: int | str | None) -> ExternalPort | None:
        """The port with this number or name; of None, the only one there is."""
        if wanted is None:
            return self.ports[0] if len(self.ports) == 1 else None
        return next((port for port in self.ports if wanted in (port.number, port.name)), None)

    @model_validator(mode="after")
    def _check_ports(self) -> Self:
        numbers = [port.number for port in self.ports]
        if len(set(numbers)) != len(numbers):
            raise wrong("Two ports have the same `number`; keep one of them.")
        return self


class EndpointPort(Spec):
    name: str | None = None
    number: PortNumber


class Locality(Spec):
    region: str | None = None
    zone: str | None = None
    sub_zone: str | None = None


def _endpoint_address(value: str) -> str:
    if value.startswith("unix:///") and len(value) > len("unix:///"):
        return value
    try:
        ipaddress.ip_address(value)
    except ValueError:
        if "*" in value or ":" in value or "/" in value or not value:
            raise wrong(
                "Write an IP address, a DNS name without wildcard, or unix:/// and a path; ports go to `ports`."
            ) from None
    return value


class ExternalEndpoint(Spec):
    address: Annotated[str, AfterValidator(_endpoint_address)]
    ports: tuple[EndpointPort, ...] = ()
    locality: Locality | None = None

    @model_validator(mode="after")
    def _check_ports(self) -> Self:
        if len(self.ports) > 1 and any(not port.name for port in self.ports):
            raise wrong("With more than one port every port needs a `name`.")
        return self
