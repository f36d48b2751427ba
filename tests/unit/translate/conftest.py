"""Manifests to a translation, with all built-in kinds and without Envoy."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from apostille.control.reading import Reader
from apostille.integrations import INTEGRATIONS
from apostille.resources.snapshot import Snapshot
from apostille.sources.contract import Texts
from apostille.steps import STEPS
from apostille.translate.pipeline import Translation, translate

PORTS = {"web": 8080}

GATEWAY = """
apiVersion: networking.gloo.solo.io/v2
kind: VirtualGateway
metadata: {name: ingress, namespace: apps}
spec: {listeners: [{port: {number: 8080}, http: {}}]}
"""

SHOP = """
apiVersion: v1
kind: Service
metadata: {name: shop, namespace: apps}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: shop-1, namespace: apps, labels: {kubernetes.io/service-name: shop}}
addressType: IPv4
ports: [{name: http, port: 8000}]
endpoints: [{addresses: [10.0.0.1]}]
"""


def table(name: str, *routes: str, hosts: str = "['*']", labels: str = "{}") -> str:
    """`routes` in flow style, one each."""
    return f"""
apiVersion: networking.gloo.solo.io/v2
kind: RouteTable
metadata: {{name: {name}, namespace: apps, labels: {labels}}}
spec: {{hosts: {hosts}, virtualGateways: [{{name: ingress}}], http: [{", ".join(routes)}]}}
"""


def policy(name: str, spec: str) -> str:
    return f"""
apiVersion: security.policy.gloo.solo.io/v2
kind: ExtAuthPolicy
metadata: {{name: {name}, namespace: apps}}
spec: {spec}
"""


def snapshot_of(*manifests: str) -> Snapshot:
    return Reader().read(Texts(files={"all.yaml": "\n---\n".join(manifests)})).snapshot


@pytest.fixture(scope="session")
def translated() -> Callable[..., Translation]:
    """What becomes of some manifests."""
    steps = {kind.name: kind for kind in STEPS}
    integrations = {kind.name: kind for kind in INTEGRATIONS}

    def run(*manifests: str) -> Translation:
        return translate(snapshot_of(*manifests), steps, integrations, PORTS)

    return run
