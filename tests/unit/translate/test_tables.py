from __future__ import annotations

from apostille.control.reading import Reader
from apostille.integrations import INTEGRATIONS
from apostille.model.gateway import Gateway
from apostille.model.route import Route
from apostille.sources.contract import Texts
from apostille.steps import STEPS
from apostille.translate.pipeline import Translation, Translator, translate

STEP_KINDS = {kind.name: kind for kind in STEPS}
INTEGRATION_KINDS = {kind.name: kind for kind in INTEGRATIONS}
PORTS = {"web": 8080}

GATEWAY = """
apiVersion: networking.gloo.solo.io/v2
kind: VirtualGateway
metadata: {name: ingress, namespace: apps}
spec: {listeners: [{port: {number: 8080}, http: {}}]}
---
apiVersion: networking.gloo.solo.io/v2
kind: ExternalService
metadata: {name: one, namespace: apps}
spec: {hosts: [one.example.com], ports: [{number: 80}]}
---
apiVersion: networking.gloo.solo.io/v2
kind: ExternalService
metadata: {name: two, namespace: apps}
spec: {hosts: [two.example.com], ports: [{number: 80}]}
---
apiVersion: security.policy.gloo.solo.io/v2
kind: ExtAuthPolicy
metadata: {name: keys, namespace: apps}
spec:
  applyToRoutes: [{route: {labels: {guard: keys}}}]
  config: {glooAuth: {configs: [{apiKeyAuth: {k8sSecretApikeyStorage: {labelSelector: {keyset: one}}}}]}}
"""


def table(name: str, service: str, *, path: str = "/", guard: str = "none") -> str:
    return f"""
apiVersion: networking.gloo.solo.io/v2
kind: RouteTable
metadata: {{name: {name}, namespace: apps}}
spec:
  hosts: [{name}.example.com]
  virtualGateways: [{{name: ingress}}]
  http:
  - labels: {{guard: {guard}}}
    matchers: [{{uri: {{prefix: {path}}}}}]
    forwardTo: {{destinations: [{{kind: EXTERNAL_SERVICE, ref: {{name: {service}}}}}]}}
"""


class Sequel:
    """One reader and one translator, as in the control plane, beside a translation that knows nothing of before."""

    def __init__(self) -> None:
        self._reader = Reader()
        self._translator = Translator(STEP_KINDS, INTEGRATION_KINDS, PORTS)

    def translate(self, files: dict[str, str]) -> Translation:
        texts = Texts(files=dict(sorted(files.items())))
        found = self._translator.translate(self._reader.read(texts).snapshot)
        assert found == translate(Reader().read(texts).snapshot, STEP_KINDS, INTEGRATION_KINDS, PORTS)
        return found


def routes_of(gateway: Gateway) -> dict[str, Route]:
    return {route.name: route for each in gateway.listeners for host in each.virtual_hosts for route in host.routes}


def test_only_the_table_that_changed_is_compiled_again() -> None:
    sequel = Sequel()
    files = {"base.yaml": GATEWAY, "a.yaml": table("a", "one"), "b.yaml": table("b", "one")}
    before = routes_of(sequel.translate(files).gateway)
    after = routes_of(sequel.translate({**files, "b.yaml": table("b", "one", path="/new")}).gateway)
    assert after["apps/a/route-0"] is before["apps/a/route-0"]
    assert after["apps/b/route-0"].match != before["apps/b/route-0"].match


def test_what_no_table_uses_any_more_goes() -> None:
    sequel = Sequel()
    files = {"base.yaml": GATEWAY, "a.yaml": table("a", "one"), "b.yaml": table("b", "two", guard="keys")}
    before = sequel.translate(files)
    assert [each.owner.name for each in before.gateway.destinations] == ["one", "two"]
    assert len(before.gateway.programs) == 1
    after = sequel.translate({name: files[name] for name in ("base.yaml", "a.yaml")})
    assert [each.owner.name for each in after.gateway.destinations] == ["one"]
    assert after.gateway.programs == ()
    assert ["This policy covers no route" in str(each) for each in after.findings] == [True]


def test_a_change_around_the_tables_reaches_all_of_them() -> None:
    sequel = Sequel()
    files = {"base.yaml": GATEWAY, "a.yaml": table("a", "one", guard="keys"), "b.yaml": table("b", "two")}
    sequel.translate(files)
    base = GATEWAY.replace("one.example.com", "1.example.com").replace("guard: keys", "no: one")
    after = sequel.translate({**files, "base.yaml": base})
    assert {each.hostname for each in after.gateway.destinations} == {"1.example.com", "two.example.com"}
    assert all(route.guard is None for route in routes_of(after.gateway).values())


def test_what_is_wrong_with_a_table_is_told_every_time() -> None:
    sequel = Sequel()
    files = {"base.yaml": GATEWAY, "a.yaml": table("a", "gone"), "b.yaml": table("b", "one", guard="keys")}
    before = sequel.translate(files)
    after = sequel.translate({**files, "b.yaml": table("b", "two", guard="keys")})
    assert [str(each) for each in before.findings] == [str(each) for each in after.findings]
    assert any("gone" in str(each) for each in after.findings)
