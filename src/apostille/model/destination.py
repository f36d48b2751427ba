"""Where requests go: addresses, protocol and TLS of one destination."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from apostille.base.refs import Ref


class Protocol(StrEnum):
    HTTP1 = "http1"
    HTTP2 = "http2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An address (`host` an IP address or DNS name) with its port, or a Unix socket (`host` its path, `port` 0)."""

    host: str
    port: int
    weight: int = 1

    @property
    def is_socket(self) -> bool:
        return self.host.startswith("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTls:
    """TLS towards the destination.

    `ca_file` of None means the system's CA bundle. `verify` False (insecureSkipVerify) checks nothing.
    `names`: the certificate must carry one of these DNS names.
    """

    sni: str | None
    verify: bool = True
    ca_file: str | None = None
    names: tuple[str, ...] = ()
    certificate_file: str | None = None
    private_key_file: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """`name` holds the identity (kind, namespace, name, port). `dns`: endpoints are names that Envoy resolves.

    `hostname` and `port` (the one that routes name) are what belongs into the Host header.

    `external`: a foreign service; headers of ours and of the way here are taken off at its door.
    No endpoints: requests get 503.
    """

    name: str
    owner: Ref
    endpoints: tuple[Endpoint, ...]
    dns: bool = False
    hostname: str | None = None
    port: int | None = None
    protocol: Protocol = Protocol.HTTP1
    tls: ClientTls | None = None
    external: bool = False

    @property
    def authority(self) -> str | None:
        """The Host that belongs to it, with the port where that is not the scheme's own; None without one name."""
        host = self.hostname or (self.endpoints[0].host if len(self.endpoints) == 1 else None)
        if host is None or host.startswith("/"):
            return None
        shown = f"[{host}]" if ":" in host else host
        own = 80 if self.tls is None else 443
        return shown if self.port in (own, None) else f"{shown}:{self.port}"
