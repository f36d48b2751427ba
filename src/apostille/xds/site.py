"""What the machine adds to a configuration: the same gateway on another machine differs in this alone."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """`address`: the IP address that listeners open on. `ca_file`: the system's CA bundle; without one Envoy refuses
    every TLS destination that brings none of its own, since nobody could tell whom it talks to."""

    address: str = "127.0.0.1"
    ca_file: str | None = None
