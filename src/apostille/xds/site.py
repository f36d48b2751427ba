"""What the installation adds to a configuration: the same gateway elsewhere differs in this alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from apostille.model.outbound import RefusalSigns


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """`address`: the IP address that listeners open on. `ca_file`: the system's CA bundle; without one Envoy refuses
    every TLS destination that brings none of its own, since nobody could tell whom it talks to. `signs`: of every
    integration kind that is installed, used or not, since listeners must not change with what people write.
    `access_log`: whether Envoy writes a line for each request."""

    address: str = "127.0.0.1"
    ca_file: str | None = None
    signs: Mapping[str, RefusalSigns] = field(default_factory=dict)
    access_log: bool = True
