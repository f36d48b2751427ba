"""A fault of ours with one resource keeps no other from being translated, and opens no door."""

from __future__ import annotations

from dataclasses import dataclass

from apostille.control.reading import Reader
from apostille.model.route import Forward, Respond
from apostille.resources.resource import Spec
from apostille.sources.contract import Texts
from apostille.status.reasons import Reason
from apostille.translate.contract import CompiledStep, StepScope
from apostille.translate.pipeline import translate


class FaultySpec(Spec):
    pass


@dataclass(frozen=True, slots=True)
class FaultyStep:
    name: str = "faulty"
    spec: type[Spec] = FaultySpec

    def compile(self, spec: Spec, scope: StepScope, /) -> CompiledStep:
        raise ZeroDivisionError("canary")


TEXT = """
apiVersion: networking.gloo.solo.io/v2
kind: VirtualGateway
metadata: {name: ingress, namespace: demo}
spec: {listeners: [{port: {number: 8080}, http: {}}]}
---
apiVersion: networking.gloo.solo.io/v2
kind: ExternalService
metadata: {name: web, namespace: demo}
spec: {addresses: [192.0.2.1], ports: [{number: 80, protocol: HTTP}]}
---
apiVersion: networking.gloo.solo.io/v2
kind: RouteTable
metadata: {name: web, namespace: demo}
spec:
  hosts: ['*']
  virtualGateways: [{name: ingress, namespace: demo}]
  http:
  - name: guarded
    labels: {guarded: "yes"}
    matchers: [{uri: {prefix: /guarded}}]
    forwardTo: {destinations: [{kind: EXTERNAL_SERVICE, ref: {name: web}}]}
  - name: open
    matchers: [{uri: {prefix: /open}}]
    forwardTo: {destinations: [{kind: EXTERNAL_SERVICE, ref: {name: web}}]}
---
apiVersion: security.policy.gloo.solo.io/v2
kind: ExtAuthPolicy
metadata: {name: faulty, namespace: demo}
spec:
  applyToRoutes: [{route: {labels: {guarded: "yes"}}}]
  config: {glooAuth: {configs: [{faulty: {}}]}}
"""


def test_a_fault_in_a_step_shuts_its_policy_and_spares_the_rest() -> None:
    snapshot = Reader().read(Texts(files={"all.yaml": TEXT})).snapshot
    translation = translate(snapshot, {"faulty": FaultyStep()}, {}, {})
    (host,) = translation.gateway.listeners[0].virtual_hosts
    guarded, opened = host.routes
    assert guarded.action == Respond(status=500, reason="policy_invalid")
    assert isinstance(opened.action, Forward)
    (finding,) = translation.findings
    assert finding.problem.reason is Reason.INTERNAL_ERROR
    assert "ZeroDivisionError" in finding.problem.message
    assert "canary" not in finding.problem.message
