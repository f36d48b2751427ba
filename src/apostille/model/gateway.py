"""The whole translated configuration, from listeners down."""

from __future__ import annotations

from dataclasses import dataclass

from apostille.base.refs import Ref
from apostille.model.auth import KeyRing, Program
from apostille.model.destination import Destination
from apostille.model.lane import EnvoyKeys, EnvoySigner
from apostille.model.route import Route


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualHost:
    """`domains` are what Envoy compares the Host header with; routes are tried in order."""

    name: str
    domains: tuple[str, ...]
    routes: tuple[Route, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """`port` of 0 lets the system choose. `https_redirect`: every request is answered 301 to https."""

    name: str
    owner: Ref
    port: int
    virtual_hosts: tuple[VirtualHost, ...]
    https_redirect: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """Everything sorted by name: equal input gives equal bytes.

    `envoy_keys`, `envoy_signers`: what Envoy needs to check and sign by itself.
    `deadline_ms`: the longest any program may take; Envoy waits a little longer than that.
    `status_on_error`: what a client gets when the auth service cannot be asked.
    """

    listeners: tuple[Listener, ...] = ()
    destinations: tuple[Destination, ...] = ()
    programs: tuple[Program, ...] = ()
    keyrings: tuple[KeyRing, ...] = ()
    envoy_keys: tuple[EnvoyKeys, ...] = ()
    envoy_signers: tuple[EnvoySigner, ...] = ()
    deadline_ms: int = 2000
    status_on_error: int = 503
