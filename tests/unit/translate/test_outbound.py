from __future__ import annotations

from collections.abc import Callable

import pytest

from apostille.base.refs import Ref
from apostille.status.problem import Finding
from apostille.status.reasons import Effect, Reason
from apostille.translate.pipeline import Translation
from tests.unit.translate.conftest import GATEWAY, policy, table

Translate = Callable[..., Translation]

BUCKET = """
apiVersion: networking.gloo.solo.io/v2
kind: ExternalService
metadata: {name: bucket, namespace: apps}
spec: {hosts: [bucket.s3.eu-west-1.amazonaws.com], ports: [{name: https, number: 443, protocol: HTTPS}]}
"""
SIGN = Ref("OutboundAuthPolicy", "apps", "sign")
KEYS = "{glooAuth: {configs: [{apiKeyAuth: {k8sSecretApikeyStorage: {labelSelector: {a: b}}}}]}}"


def signing(name: str = "sign", targets: str = "applyToDestinations: [{kind: EXTERNAL_SERVICE}]") -> str:
    return f"""
apiVersion: apostille.dev/v1
kind: OutboundAuthPolicy
metadata: {{name: {name}, namespace: apps}}
spec:
  {targets}
  config: {{awsSigV4: {{service: s3, region: eu-west-1, credentials: {{instance: {{}}}}}}}}
"""


def to_bucket(name: str, labels: str = "{}", matchers: str = "[]") -> str:
    to = "[{kind: EXTERNAL_SERVICE, ref: {name: bucket}, port: {number: 443}}]"
    return f"{{name: {name}, labels: {labels}, matchers: {matchers}, forwardTo: {{destinations: {to}}}}}"


def unguarded(translation: Translation) -> list[Finding]:
    return [finding for finding in translation.findings if finding.problem.reason is Reason.UNGUARDED]


def test_a_signed_route_that_nobody_guards_is_told_with_its_name(translated: Translate) -> None:
    (finding,) = unguarded(translated(GATEWAY, BUCKET, signing(), table("files", to_bucket("objects"))))
    assert (finding.ref, finding.effect, finding.is_warning) == (SIGN, Effect.AS_WRITTEN, True)
    assert "on the routes apps/files/objects (" in finding.problem.message
    assert "Write an ExtAuthPolicy" in finding.problem.message


@pytest.mark.parametrize(
    "guard",
    [
        f"{{config: {KEYS}, applyToRoutes: [{{route: {{labels: {{keys: a}}}}}}]}}",
        f"{{config: {KEYS}, applyToDestinations: [{{kind: EXTERNAL_SERVICE}}]}}",
        # Broken guards shut what they cover.
        "{config: {glooAuth: {configs: [{nonsense: {}}]}}, applyToRoutes: [{route: {labels: {keys: a}}}]}",
        "{config: 1, applyToRoutes: [{route: {labels: {keys: a}}}]}",
    ],
)
def test_a_guard_is_enough_even_a_broken_one(translated: Translate, guard: str) -> None:
    routes = table("files", to_bucket("objects", "{keys: a}"))
    assert unguarded(translated(GATEWAY, BUCKET, signing(), policy("guard", guard), routes)) == []


def test_a_guard_of_the_same_name_is_one(translated: Translate) -> None:
    guard = policy("sign", f"{{config: {KEYS}, applyToRoutes: [{{route: {{}}}}]}}")
    assert unguarded(translated(GATEWAY, BUCKET, signing(), guard, table("files", to_bucket("objects")))) == []


def test_a_guard_that_is_not_built_shuts_and_so_is_one(translated: Translate) -> None:
    jwt = policy("jwt", "{applyToRoutes: [{route: {}}]}").replace("ExtAuthPolicy", "JWTPolicy")
    assert unguarded(translated(GATEWAY, BUCKET, signing(), jwt, table("files", to_bucket("objects")))) == []


def test_only_the_routes_without_a_guard_are_named_each_once(translated: Translate) -> None:
    guard = policy("guard", f"{{config: {KEYS}, applyToRoutes: [{{route: {{labels: {{keys: a}}}}}}]}}")
    two_matchers = "[{uri: {prefix: /a}}, {uri: {prefix: /b}}]"
    routes = table("files", to_bucket("open", matchers=two_matchers), to_bucket("guarded", "{keys: a}"))
    (finding,) = unguarded(translated(GATEWAY, BUCKET, signing(), guard, routes))
    assert "on the routes apps/files/open (" in finding.problem.message


def test_many_routes_are_counted(translated: Translate) -> None:
    routes = [to_bucket(f"r{number}", matchers=f"[{{uri: {{prefix: /{number}}}}}]") for number in range(8)]
    (finding,) = unguarded(translated(GATEWAY, BUCKET, signing(), table("files", *routes)))
    assert "apps/files/r0, apps/files/r1, apps/files/r2, apps/files/r3, apps/files/r4 and 3 more (" in str(finding)
    assert "r5" not in str(finding)


def test_each_policy_is_told_of_its_own_routes(translated: Translate) -> None:
    first = signing("first", "applyToRoutes: [{route: {labels: {sign: first}}}]")
    second = signing("second", "applyToRoutes: [{route: {labels: {sign: second}}}]")
    routes = table(
        "files",
        to_bucket("a", "{sign: first}", "[{uri: {prefix: /a}}]"),
        to_bucket("b", "{sign: second}", "[{uri: {prefix: /b}}]"),
    )
    found = unguarded(translated(GATEWAY, BUCKET, first, second, routes))
    assert [(each.ref.name, "files/a" in str(each), "files/b" in str(each)) for each in found if each.ref] == [
        ("first", True, False),
        ("second", False, True),
    ]


def test_what_nobody_can_reach_needs_no_guard(translated: Translate) -> None:
    alone = table("files", to_bucket("objects"))
    assert unguarded(translated(BUCKET, signing(), alone)) == []
    redirecting = GATEWAY.replace("http: {}", "http: {}, httpsRedirect: true")
    assert unguarded(translated(redirecting, BUCKET, signing(), alone)) == []


def test_every_policy_that_can_be_understood_has_its_note(translated: Translate) -> None:
    broken = signing("broken").replace("service: s3, ", "")
    notes = translated(GATEWAY, BUCKET, signing(), broken, table("files", to_bucket("objects"))).notes
    assert [note.ref for note in notes] == [SIGN, Ref("RouteTable", "apps", "files")]
    assert notes[1].lines[0].startswith("in the service lane, since its credentials are fetched")
    assert notes[0].lines[0] == "signs for s3 in eu-west-1 with: instance"
    assert notes[0].origin.line > 1
