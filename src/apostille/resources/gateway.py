"""VirtualGateway: which listeners are opened, and which route tables they take."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from apostille.resources.broken import BrokenItem, Tolerates
from apostille.resources.fields import NotEmpty, Opaque, ProtoEnum, Text
from apostille.resources.resource import Spec
from apostille.resources.rules import Choice, Ruled, listed, wrong
from apostille.resources.selectors import ObjectSelector, PortSelector, WorkloadSelector
from apostille.status.reasons import Effect

_PROTOCOLS = {
    # (http, tls): what appProtocol may say, the inferred one first
    (True, False): ("HTTP", "GRPC", "GRPC-WEB", "HTTP_PROXY", "HTTP2"),
    (True, True): ("HTTPS",),
    (False, False): ("TCP", "MONGO", "REDIS", "MYSQL"),
    (False, True): ("TLS",),
}


class TlsMode(ProtoEnum):
    PASSTHROUGH = 0
    SIMPLE = 1
    MUTUAL = 2
    AUTO_PASSTHROUGH = 3
    ISTIO_MUTUAL = 4


class TlsProtocol(ProtoEnum):
    TLS_AUTO = 0
    TLSv1_0 = 1
    TLSv1_1 = 2
    TLSv1_2 = 3
    TLSv1_3 = 4


class TlsFiles(Spec):
    """Paths on the proxy's machine."""

    server_cert: Text | None = None
    private_key: Text | None = None
    ca_certs: Text | None = None


class TlsParameters(Spec):
    minimum_protocol_version: TlsProtocol = TlsProtocol.TLS_AUTO
    maximum_protocol_version: TlsProtocol = TlsProtocol.TLS_AUTO
    cipher_suites: tuple[str, ...] = ()


class ListenerTls(Ruled):
    """`secret_name` is looked up in the gateway's own namespace."""

    choices = (Choice(("secretName", "files")),)

    mode: TlsMode = TlsMode.PASSTHROUGH
    secret_name: Text | None = None
    files: TlsFiles | None = None
    verify_subject_alt_name: tuple[str, ...] = ()
    parameters: TlsParameters | None = None

    @model_validator(mode="after")
    def _check_certificates(self) -> Self:
        files = self.files or TlsFiles()
        served = self.secret_name is not None or None not in (files.server_cert, files.private_key)
        match self.mode:
            case TlsMode.SIMPLE if not served:
                raise wrong("Mode SIMPLE needs `secretName`, or `files` with `serverCert` and `privateKey`.")
            case TlsMode.MUTUAL if not served or (self.secret_name is None and files.ca_certs is None):
                raise wrong("Mode MUTUAL needs `secretName`, or `files` with `serverCert`, `privateKey` and `caCerts`.")
            case TlsMode.ISTIO_MUTUAL if self.secret_name is not None or self.files is not None:
                raise wrong("Mode ISTIO_MUTUAL takes neither `secretName` nor `files`; remove them.")
            case _:
                pass
        if self.verify_subject_alt_name and files.ca_certs is None and self.secret_name is None:
            raise wrong(
                "`verifySubjectAltName` needs `files.caCerts`: names of an unverified certificate prove nothing."
            )
        return self


def _table_host(value: str) -> str:
    namespace, slash, host = value.rpartition("/")
    if not host or (slash and not namespace):
        raise wrong(
            "Write a host such as api.example.com, *.example.com or *, with or without a `namespace/` before it."
        )
    return value


class RouteTableFilter(Spec):
    """`host` may have ``namespace/`` before it; the namespace ``*`` is any, ``.`` is the gateway's own.

    `selector` of None restricts nothing.
    """

    host: Annotated[str, AfterValidator(_table_host)]
    selector: ObjectSelector | None = None
    allowed_routes: tuple[Opaque, ...] = ()

    @property
    def host_name(self) -> str:
        return self.host.rpartition("/")[2]

    @property
    def host_namespace(self) -> str:
        return self.host.rpartition("/")[0] or "*"


class ExposedExternalService(Spec):
    host: str | None = None
    selector: ObjectSelector | None = None


class Listener(Ruled):
    """One port. Neither `http` nor `tcp` means TCP."""

    choices = (Choice(("http", "tcp")), Choice(("tls", "httpsRedirect")))

    port: PortSelector
    http: Opaque | None = None
    tcp: Opaque | None = None
    tls: ListenerTls | None = None
    https_redirect: bool | None = None
    app_protocol: Annotated[str, Field(max_length=10)] | None = None
    allowed_route_tables: tuple[RouteTableFilter, ...] = ()
    exposed_external_services: tuple[ExposedExternalService, ...] = ()

    @property
    def protocol(self) -> str:
        """`appProtocol` in upper case, inferred when it is not written."""
        return (self.app_protocol or _PROTOCOLS[self.http is not None, self.tls is not None][0]).upper()

    @model_validator(mode="after")
    def _check_protocol(self) -> Self:
        allowed = _PROTOCOLS[self.http is not None, self.tls is not None]
        if self.protocol not in allowed:
            kind = ("HTTP" if self.http is not None else "TCP") + (
                " with tls" if self.tls is not None else " without tls"
            )
            raise wrong(f"`appProtocol` of a listener for {kind} must be {listed(allowed, 'or')}, or be left out.")
        if self.https_redirect and self.http is None:
            raise wrong("`httpsRedirect` is for HTTP listeners; write `http: {}` as well.")
        return self


class ListenerHead(Spec):
    """What is kept of a broken listener: enough to say which one it is, never enough to open it."""

    port: PortSelector | None = None


class VirtualGateway(Spec):
    """`workloads` picks gateway pods in a mesh and means nothing here."""

    workloads: tuple[WorkloadSelector | None, ...] | None = None
    listeners: Annotated[
        tuple[
            Annotated[
                Listener | BrokenItem[ListenerHead],
                Tolerates(Listener, keeps=ListenerHead, effect=Effect.PARTIAL),
            ],
            ...,
        ],
        NotEmpty,
    ]
