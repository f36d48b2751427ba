"""What golden cases do not show: names of routes, and headers that are taken away."""

from __future__ import annotations

from collections.abc import Callable

from apostille.model.route import Respond, Route
from apostille.translate.pipeline import Translation
from tests.unit.translate.conftest import GATEWAY, SHOP, policy, table

Translated = Callable[..., Translation]

FORWARD = "forwardTo: {destinations: [{ref: {name: shop}}]}"
FAR = """
apiVersion: networking.gloo.solo.io/v2
kind: ExternalService
metadata: {name: far, namespace: apps}
spec: {hosts: [far.example.org], ports: [{number: 443, protocol: HTTPS}]}
"""
TO_FAR = "forwardTo: {destinations: [{kind: EXTERNAL_SERVICE, ref: {name: far}}]}"


def routes(translation: Translation) -> dict[str, Route]:
    found = [r for listener in translation.gateway.listeners for host in listener.virtual_hosts for r in host.routes]
    return {each.name: each for each in found}


def key_policy(header: str = "api-key") -> str:
    storage = "k8sSecretApikeyStorage: {labelSelector: {keyset: users}}"
    metadata = "headersFromMetadataEntry: {X-User: {name: user}}"
    step = f"{{apiKeyAuth: {{headerName: {header}, {metadata}, {storage}}}}}"
    return policy(
        "keys", f"{{applyToRoutes: [{{route: {{labels: {{g: k}}}}}}], config: {{glooAuth: {{configs: [{step}]}}}}}}"
    )


def test_names_are_made_unique_as_gloo_does(translated: Translated) -> None:
    written = [f"{{name: {name}, directResponse: {{status: 200}}}}" for name in ("a", "a", "insecure-a", "''", "a")]
    assert list(routes(translated(GATEWAY, table("t", *written)))) == [
        "apps/t/a",
        "apps/t/duplicate-a-1",
        "apps/t/duplicate-a-2",
        "apps/t/route-3",
        "apps/t/duplicate-a-3",
    ]


def test_each_matcher_of_a_route_has_its_number(translated: Translated) -> None:
    two = "{name: a, matchers: [{uri: {exact: /1}}, {uri: {exact: /2}}], directResponse: {status: 200}}"
    assert list(routes(translated(GATEWAY, table("t", two)))) == ["apps/t/a#0", "apps/t/a#1"]


def test_labels_of_a_route_come_before_those_of_its_table(translated: Translated) -> None:
    found = routes(
        translated(
            GATEWAY, table("t", "{name: a, labels: {b: own}, directResponse: {status: 200}}", labels="{a: t, b: t}")
        )
    )
    assert found["apps/t/a"].labels == (("a", "t"), ("b", "own"))


def test_keys_and_identities_are_taken_off_on_every_route(translated: Translated) -> None:
    found = routes(
        translated(
            GATEWAY,
            SHOP,
            key_policy("X-Key"),
            table(
                "t",
                f"{{name: guarded, labels: {{g: k}}, matchers: [{{uri: {{exact: /a}}}}], {FORWARD}}}",
                f"{{name: open, {FORWARD}}}",
            ),
        )
    )
    assert found["apps/t/open"].strip.names == ("x-key", "x-user")
    guarded = found["apps/t/guarded"].strip
    assert "x-key" not in guarded.names
    assert {"x-user", "authorization", "proxy-authorization"} <= set(guarded.names)
    assert guarded.prefixes == ("x-amz-",)


def test_credentials_for_others_do_not_reach_foreign_services(translated: Translated) -> None:
    found = routes(
        translated(
            GATEWAY,
            SHOP,
            FAR,
            table("t", f"{{name: far, matchers: [{{uri: {{exact: /a}}}}], {TO_FAR}}}", f"{{name: shop, {FORWARD}}}"),
        )
    )
    assert found["apps/t/far"].strip.names == ("authorization", "proxy-authorization")
    assert found["apps/t/far"].strip.prefixes == ("x-amz-",)
    assert (found["apps/t/shop"].strip.names, found["apps/t/shop"].strip.prefixes) == ((), ())


def test_what_a_step_reads_is_left_for_it(translated: Translated) -> None:
    http = "{url: 'http://192.0.2.1/', request: {allowedHeaders: [Authorization, X-Amz-Date]}}"
    step = f"{{passThroughAuth: {{http: {http}}}}}"
    ask = policy("ask", f"{{applyToRoutes: [{{route: {{}}}}], config: {{glooAuth: {{configs: [{step}]}}}}}}")
    strip = routes(translated(GATEWAY, SHOP, ask, table("t", f"{{name: a, {FORWARD}}}")))["apps/t/a"].strip
    assert (strip.names, strip.prefixes) == (("proxy-authorization",), ())


def test_a_program_that_no_route_uses_is_not_sent(translated: Translated) -> None:
    translation = translated(GATEWAY, SHOP, key_policy(), table("t", f"{{name: open, {FORWARD}}}"))
    assert (translation.gateway.programs, translation.gateway.keyrings) == ((), ())


def test_routes_of_a_table_without_a_listener_are_not_sent_and_still_checked(translated: Translated) -> None:
    translation = translated(GATEWAY, table("t", "{name: a, delegate: {}}").replace("ingress", "elsewhere"))
    assert routes(translation) == {}
    assert [str(finding.problem.reason) for finding in translation.findings] == ["NotBuilt", "NothingSelected"]


def test_a_refusal_of_ours_needs_no_guard(translated: Translated) -> None:
    found = routes(translated(GATEWAY, key_policy(), table("t", f"{{name: a, labels: {{g: k}}, {FORWARD}}}")))[
        "apps/t/a"
    ]
    assert (found.action, found.guard) == (Respond(status=500, reason="route_invalid"), None)


def test_an_answer_of_the_authors_is_guarded(translated: Translated) -> None:
    translation = translated(
        GATEWAY, key_policy(), table("t", "{name: a, labels: {g: k}, directResponse: {status: 404}}")
    )
    guard = routes(translation)["apps/t/a"].guard
    assert guard is not None
    assert [program.id for program in translation.gateway.programs] == [guard.program]
