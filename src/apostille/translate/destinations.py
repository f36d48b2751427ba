"""References to destinations, resolved: Services with their endpoints, and ExternalServices."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from copy import copy

from apostille.model.destination import ClientTls, Destination, Endpoint, Protocol
from apostille.resources.core import SERVICE_NAME_LABEL, EndpointSlice, Service, ServicePort
from apostille.resources.external import (
    ClientsideTls,
    ClientTlsMode,
    ExternalEndpoint,
    ExternalPort,
    ExternalService,
)
from apostille.resources.resource import Resource
from apostille.resources.selectors import DestinationKind, DestinationReference, carries
from apostille.resources.snapshot import Snapshot
from apostille.status.problem import FieldPath, Problem
from apostille.status.reasons import Reason
from apostille.translate.policies import DestinationFacts

_HTTP2 = ("GRPC", "HTTP2")
_NO_HTTP = ("MONGO", "TCP", "TLS")
# The instance metadata services of the clouds: whoever can make us ask them gets our own credentials.
_METADATA_ADDRESSES = ("169.254.169.254", "fd00:ec2::254", "168.63.129.16", "100.100.100.200")


_Reference = tuple[DestinationKind, str, str, int | str | None]


class Destinations:
    """Resolves references and keeps what was resolved: each destination once, whoever refers to it."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._slices: dict[tuple[str, str], list[Resource[EndpointSlice]]] = {}
        for piece in snapshot.of(EndpointSlice):
            owner = piece.labels.get(SERVICE_NAME_LABEL)
            if owner is not None:
                self._slices.setdefault((piece.ref.namespace, owner), []).append(piece)
        self._resolved: dict[str, Destination] = {}
        # What references lead to, for all that are apart: thousands of routes refer to the same few.
        self._found: dict[_Reference, Destination] = {}

    def apart(self) -> Destinations:
        """The same destinations, and a memory of its own of which were used; `absorb` brings it back."""
        other = copy(self)
        other._resolved = {}  # noqa: SLF001 - it is one of us
        return other

    def absorb(self, other: Destinations) -> None:
        self._resolved |= other._resolved

    @property
    def used(self) -> tuple[Destination, ...]:
        """Every destination that was resolved so far, by name."""
        return tuple(self._resolved[name] for name in sorted(self._resolved))

    def named(self, name: str) -> Destination:
        """One that was resolved before."""
        return self._resolved[name]

    def facts(self, reference: DestinationReference, namespace: str) -> DestinationFacts | None:
        """What selectors can ask, also of a destination that cannot be resolved; None for what is no reference."""
        if reference.ref is None:
            return None
        namespace = reference.ref.namespace or namespace
        resource: Resource[Service] | Resource[ExternalService] | None = None
        if reference.kind is DestinationKind.SERVICE:
            resource = self._snapshot.get(Service, namespace, reference.ref.name)
        elif reference.kind is DestinationKind.EXTERNAL_SERVICE:
            resource = self._snapshot.get(ExternalService, namespace, reference.ref.name)
        wanted = reference.port.value if reference.port else None
        port = resource.spec.port(wanted) if resource is not None and resource.spec is not None else None
        number = port.port if isinstance(port, ServicePort) else port.number if port is not None else None
        return DestinationFacts(
            kind=reference.kind,
            namespace=namespace,
            name=reference.ref.name,
            labels=resource.labels if resource is not None else {},
            port_number=number,
            port_name=port.name if port is not None else None,
        )

    def resolve(self, reference: DestinationReference, namespace: str, at: FieldPath) -> Destination | Problem:
        """`namespace` and `at` are of the resource that refers, and of the reference in it."""
        if reference.ref is None:
            return _not_built(at, "`awsLambda` destinations are not built; forward to a service.")
        if reference.subset:
            text = "`subset` is not built; name a Service of just those endpoints."
            return _not_built((*at, "subset"), text)
        namespace = reference.ref.namespace or namespace
        wanted = reference.port.value if reference.port else None
        known = self._found.get((reference.kind, namespace, reference.ref.name, wanted))
        if known is not None:
            return self._resolved.setdefault(known.name, known)
        if reference.kind is DestinationKind.VIRTUAL_DESTINATION:
            return _not_built((*at, "kind"), "VIRTUAL_DESTINATION is not built; forward to a Service instead.")
        resolve = self._service if reference.kind is DestinationKind.SERVICE else self._external
        found = resolve(namespace, reference.ref.name, wanted, at)
        if isinstance(found, Problem):
            return found
        trap = _metadata_trap(found)
        if trap is not None:
            return Problem(at=at, reason=Reason.UNSAFE, message=trap)
        self._found[reference.kind, namespace, reference.ref.name, wanted] = found
        return self._resolved.setdefault(found.name, found)

    def service_endpoints(self, host: str, port: int) -> tuple[Endpoint, ...] | None:
        """Ready endpoints of the Service that ``name.namespace.svc[.cluster.local]`` names; None when unknown."""
        parts = host.lower().removesuffix(".").removesuffix(".cluster.local").split(".")
        if len(parts) != 3 or parts[2] != "svc":
            return None
        service = self._snapshot.get(Service, parts[1], parts[0])
        if service is None or service.spec is None:
            return None
        found = service.spec.port(port)
        return self._ready(service, found) if found is not None else ()

    def _service(self, namespace: str, name: str, wanted: int | str | None, at: FieldPath) -> Destination | Problem:
        service = self._snapshot.get(Service, namespace, name)
        if service is None or service.spec is None:
            return _missing((*at, "ref"), "Service", namespace, name)
        if service.spec.type == "ExternalName":
            text = f"Service {namespace}/{name} is of type ExternalName; write an ExternalService for its host instead."
            return Problem(at=(*at, "ref"), reason=Reason.NOT_BUILT, message=text)
        port = service.spec.port(wanted)
        if port is None:
            return _no_port(at, f"Service {namespace}/{name}", wanted, [(p.port, p.name) for p in service.spec.ports])
        protocol = (port.app_protocol or port.name or "").lower()
        return Destination(
            name=f"service/{namespace}/{name}/{port.port}",
            owner=service.ref,
            endpoints=self._ready(service, port),
            hostname=f"{name}.{namespace}.svc.cluster.local",
            port=port.port,
            protocol=Protocol.HTTP2
            if protocol.startswith(("grpc", "http2")) or protocol.endswith("/h2c")
            else Protocol.HTTP1,
        )

    def _ready(self, service: Resource[Service], port: ServicePort) -> tuple[Endpoint, ...]:
        found: set[tuple[str, int]] = set()
        for piece in self._slices.get((service.ref.namespace, service.ref.name), ()):
            if piece.spec is None:
                continue
            number = _target(piece.spec, port, alone=service.spec is not None and len(service.spec.ports) == 1)
            if number is not None:
                found |= {(a, number) for e in piece.spec.endpoints if e.is_ready for a in e.addresses}
        return tuple(Endpoint(host=host, port=number) for host, number in sorted(found))

    def _external(self, namespace: str, name: str, wanted: int | str | None, at: FieldPath) -> Destination | Problem:
        service = self._snapshot.get(ExternalService, namespace, name)
        if service is None or service.spec is None:
            return _missing((*at, "ref"), "ExternalService", namespace, name)
        spec = service.spec
        port = spec.port(wanted)
        what = f"ExternalService {namespace}/{name}"
        if port is None:
            return _no_port(at, what, wanted, [(p.number, p.name) for p in spec.ports])
        if port.protocol in _NO_HTTP and port.clientside_tls is None:
            text = f"Port {port.number} of {what} speaks {port.protocol}; a route needs HTTP or HTTPS there."
            return Problem(at=(*at, "port"), reason=Reason.INVALID_VALUE, message=text)
        endpoints = self._external_endpoints(spec, what, port, at)
        if isinstance(endpoints, Problem):
            return endpoints
        tls = _compile_tls(spec, port, what, at)
        if isinstance(tls, Problem):
            return tls
        return Destination(
            name=f"external-service/{namespace}/{name}/{port.number}",
            owner=service.ref,
            endpoints=endpoints,
            dns=any(not endpoint.is_socket and not _is_address(endpoint.host) for endpoint in endpoints),
            hostname=spec.hosts[0].lower() if len(spec.hosts) == 1 else None,
            port=port.number,
            protocol=Protocol.HTTP2 if port.protocol in _HTTP2 else Protocol.HTTP1,
            tls=tls,
            external=True,
        )

    def _external_endpoints(
        self, spec: ExternalService, what: str, port: ExternalPort, at: FieldPath
    ) -> tuple[Endpoint, ...] | Problem:
        if spec.selector:
            return self._selected_endpoints(spec.selector, port)
        number = port.target_port.value if port.target_port else port.number
        if isinstance(number, str):
            text = f"{what} has the `targetPort` {number!r}, a name, and selects no endpoints; write a number there."
            return Problem(at=at, reason=Reason.INVALID_VALUE, message=text)
        wild = [host for host in spec.hosts if host.startswith("*")]
        ranges = [address for address in spec.addresses if "/" in address]
        if wild or ranges:
            text = f"{what} has {(wild + ranges)[0]!r}, which is no single address; select ExternalEndpoints for it."
            return Problem(at=at, reason=Reason.INVALID_VALUE, message=text)
        if not spec.hosts and not spec.addresses:
            text = f"{what} has no hosts, no addresses and selects no endpoints; write one of them."
            return Problem(at=at, reason=Reason.MISSING_FIELD, message=text)
        return tuple(Endpoint(host=host.lower(), port=number) for host in sorted({*spec.hosts, *spec.addresses}))

    def _selected_endpoints(self, selector: Mapping[str, str], port: ExternalPort) -> tuple[Endpoint, ...]:
        wanted = port.target_port.value if port.target_port else port.number
        found: set[tuple[str, int]] = set()
        for endpoint in self._snapshot.of(ExternalEndpoint):
            if endpoint.spec is None or not carries(endpoint.labels, selector):
                continue
            if endpoint.spec.address.startswith("unix://"):
                found.add((endpoint.spec.address.removeprefix("unix://"), 0))
                continue
            numbers = [p.number for p in endpoint.spec.ports if wanted in (p.number, p.name)]
            # Without ports of its own the endpoint is reached on the number that the service names.
            if not endpoint.spec.ports and isinstance(wanted, int):
                numbers = [wanted]
            found |= {(endpoint.spec.address, number) for number in numbers}
        return tuple(Endpoint(host=host, port=number) for host, number in sorted(found))


def _target(piece: EndpointSlice, port: ServicePort, *, alone: bool) -> int | None:
    """The number that a Service's port has on a slice. Kubernetes gives both the same name; people may not."""
    if isinstance(port.target_port, str):
        return next((p.port for p in piece.ports if p.name == port.target_port), None) or next(
            (p.port for p in piece.ports if p.name == port.name), None
        )
    named = next((p.port for p in piece.ports if (p.name or "") == (port.name or "")), None)
    if named is not None:
        return named
    number = port.target_port or port.port
    return number if any(p.port == number for p in piece.ports) or (alone and not piece.ports) else None


def _compile_tls(spec: ExternalService, port: ExternalPort, what: str, at: FieldPath) -> ClientTls | Problem | None:
    if not port.is_tls:
        return None
    written = port.clientside_tls or ClientsideTls()
    if written.credential_name is not None:
        # Without the certificate the server may well let us in as somebody else, or send us away; neither is meant.
        text = f"`credentialName` in {what} is not built; write `clientCertificate`, `privateKey` and `caCertificates`."
        return Problem(at=at, reason=Reason.NOT_BUILT, message=text)
    mutual = written.mode is ClientTlsMode.MUTUAL
    hosts = tuple(host.lower() for host in spec.hosts)
    sni = written.sni or (hosts[0] if len(hosts) == 1 and not hosts[0].startswith("*") else None)
    names = spec.subject_alt_names or ((sni,) if sni else (hosts or spec.addresses))
    if not names and written.ca_certificates is None and not written.insecure_skip_verify:
        # Any certificate of any public authority would do: nobody could tell whom it is that is talked to.
        text = f"{what} names nobody whose certificate could be checked; write `hosts`, `sni` or `subjectAltNames`."
        return Problem(at=at, reason=Reason.UNSAFE, message=text)
    return ClientTls(
        sni=sni,
        verify=not written.insecure_skip_verify,
        ca_file=written.ca_certificates,
        names=tuple(names),
        certificate_file=written.client_certificate if mutual else None,
        private_key_file=written.private_key if mutual else None,
    )


def _metadata_trap(destination: Destination) -> str | None:
    for endpoint in destination.endpoints:
        if _is_address(endpoint.host):
            address = ipaddress.ip_address(endpoint.host)
            # ::ffff:169.254.169.254 is the same place.
            address = getattr(address, "ipv4_mapped", None) or address
            if address.is_link_local or str(address) in _METADATA_ADDRESSES:
                return (
                    f"{destination.owner} leads to {endpoint.host}, an address of the machine's own cloud metadata or "
                    "link; requests of callers are not sent there. Write another address."
                )
    return None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _missing(at: FieldPath, kind: str, namespace: str, name: str) -> Problem:
    text = f"There is no {kind} {namespace}/{name} that could be used; write it, or mend the reference."
    return Problem(at=at, reason=Reason.REFERENCE_NOT_FOUND, message=text)


def _not_built(at: FieldPath, text: str) -> Problem:
    return Problem(at=at, reason=Reason.NOT_BUILT, message=text)


def _no_port(at: FieldPath, what: str, wanted: int | str | None, ports: list[tuple[int, str | None]]) -> Problem:
    known = ", ".join(f"{number} ({name})" if name else str(number) for number, name in ports) or "none"
    if wanted is None:
        text = f"{what} has the ports {known}; say which one with `port`."
        return Problem(at=at, reason=Reason.MISSING_FIELD, message=text)
    text = f"{what} has no port {wanted!r}; it has {known}."
    return Problem(at=(*at, "port"), reason=Reason.REFERENCE_NOT_FOUND, message=text)
