"""Every design that is measured, in the order of the table."""

from __future__ import annotations

from bench.design import Design
from bench.designs.apostille_gateway import ApostilleGateway
from bench.designs.bare_envoy import BareEnvoy
from bench.designs.bare_nginx import BareNginx
from bench.designs.published import Published
from bench.designs.python_proxy import PythonProxy

DESIGNS: tuple[Design, ...] = (
    BareNginx(),
    BareEnvoy(),
    BareEnvoy(access_log=True),
    ApostilleGateway(lane="envoy"),
    ApostilleGateway(lane="envoy", access_log=False),
    ApostilleGateway(lane="service"),
    ApostilleGateway(lane="service", access_log=False),
    ApostilleGateway(lane="service", signer=True),
    Published(),
    PythonProxy(),
    *(BareEnvoy(routes=count) for count in (1_000, 10_000)),
    *(ApostilleGateway(lane="envoy", routes=count) for count in (1_000, 10_000)),
    *(ApostilleGateway(lane="service", routes=count) for count in (1_000, 10_000)),
    *(ApostilleGateway(lane="envoy", keys=count) for count in (1_000, 10_000)),
    *(ApostilleGateway(lane="service", keys=count) for count in (1_000, 10_000)),
)
