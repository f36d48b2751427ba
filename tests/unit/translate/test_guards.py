"""What golden cases do not show: deadlines, answers when nobody can be asked, and which policies are told of."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from apostille.status.reasons import Effect, Reason
from apostille.translate.pipeline import Translation
from tests.unit.translate.conftest import GATEWAY, policy, table

Translated = Callable[..., Translation]

STEP = "{apiKeyAuth: {k8sSecretApikeyStorage: {labelSelector: {keyset: users}}}}"
ANSWER = "directResponse: {status: 200}"


def server(name: str, spec: str) -> str:
    head = f"apiVersion: admin.gloo.solo.io/v2\nkind: ExtAuthServer\nmetadata: {{name: {name}, namespace: apps}}\n"
    return f"{head}spec: {spec}"


def guard(name: str, label: str, config: str) -> str:
    return policy(name, f"{{applyToRoutes: [{{route: {{labels: {{g: {label}}}}}}}], config: {config}}}")


def guarded(*labels: str) -> str:
    routes = (
        f"{{name: r-{each}, labels: {{g: {each}}}, matchers: [{{uri: {{exact: /{each}}}}}], {ANSWER}}}"
        for each in labels
    )
    return table("t", *routes)


def told(translation: Translation, name: str) -> list[tuple[Reason, Effect]]:
    return [(f.problem.reason, f.effect) for f in translation.findings if f.ref is not None and f.ref.name == name]


def test_without_a_server_the_deadline_is_two_seconds_and_nobody_home_is_503(translated: Translated) -> None:
    gateway = translated(GATEWAY, guard("p", "a", f"{{glooAuth: {{configs: [{STEP}]}}}}"), guarded("a")).gateway
    assert [program.deadline_ms for program in gateway.programs] == [2000]
    assert (gateway.deadline_ms, gateway.status_on_error) == (2000, 503)


def test_envoy_waits_for_the_longest_deadline_in_use(translated: Translated) -> None:
    gateway = translated(
        GATEWAY,
        server("quick", "{requestTimeout: 500ms}"),
        server("slow", "{requestTimeout: 7s, statusOnError: 502}"),
        server("unused", "{requestTimeout: 9s, statusOnError: 500}"),
        guard("p", "a", f"{{server: {{name: quick}}, glooAuth: {{configs: [{STEP}]}}}}"),
        guard("q", "b", f"{{server: {{name: slow}}, glooAuth: {{configs: [{STEP}]}}}}"),
        guard("r", "nobody", f"{{server: {{name: unused}}, glooAuth: {{configs: [{STEP}]}}}}"),
        guarded("a", "b"),
    ).gateway
    assert sorted(program.deadline_ms for program in gateway.programs) == [500, 7000]
    assert (gateway.deadline_ms, gateway.status_on_error) == (7000, 502)


def test_a_loser_everywhere_is_rejected_and_a_loser_somewhere_is_partly_in_force(translated: Translated) -> None:
    config = f"{{glooAuth: {{configs: [{STEP}]}}}}"
    everything = policy("last", f"{{applyToRoutes: [{{route: {{}}}}], config: {config}}}")
    translation = translated(
        GATEWAY, guard("first", "a", config), guard("second", "a", config), everything, guarded("a", "b")
    )
    assert told(translation, "first") == []
    assert told(translation, "second") == [(Reason.CONFLICT, Effect.REJECTED)]
    assert told(translation, "last") == [(Reason.CONFLICT, Effect.PARTIAL)]


def test_a_policy_that_covers_nothing_is_told(translated: Translated) -> None:
    translation = translated(GATEWAY, guard("p", "nobody", f"{{glooAuth: {{configs: [{STEP}]}}}}"), guarded("a"))
    assert told(translation, "p") == [(Reason.NOTHING_SELECTED, Effect.IGNORED)]


def test_everything_wrong_with_a_chain_is_told_at_once(translated: Translated) -> None:
    steps = "[{nonsense: {}}, {oauth2: {}}, {apiKeyAuth: {hmac: {}}}]"
    config = f"{{server: {{name: gone}}, glooAuth: {{booleanExpr: a, configs: {steps}}}}}"
    translation = translated(GATEWAY, guard("p", "a", config), guarded("a"))
    assert [reason for reason, _ in told(translation, "p")] == [
        Reason.REFERENCE_NOT_FOUND,
        Reason.NOT_BUILT,
        Reason.UNKNOWN_FIELD,
        Reason.NOT_BUILT,
        Reason.NOT_BUILT,
    ]


@pytest.mark.parametrize("spelling", ["api_key_auth", "apiKeyAuth"])
def test_a_step_is_known_in_both_spellings(translated: Translated, spelling: str) -> None:
    step = STEP.replace("apiKeyAuth", spelling)
    translation = translated(GATEWAY, guard("p", "a", f"{{glooAuth: {{configs: [{step}]}}}}"), guarded("a"))
    assert [step.kind for program in translation.gateway.programs for step in program.steps] == ["apiKeyAuth"]


def test_two_policies_with_equal_steps_are_two_programs(translated: Translated) -> None:
    config = f"{{glooAuth: {{configs: [{STEP}]}}}}"
    gateway = translated(GATEWAY, guard("p", "a", config), guard("q", "b", config), guarded("a", "b")).gateway
    assert [program.policy.name for program in gateway.programs] == ["p", "q"]
    assert len({program.id for program in gateway.programs}) == 2
