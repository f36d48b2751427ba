from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apostille.base.refs import Origin, Ref
from apostille.resources.broken import BrokenItem
from apostille.resources.core import Secret
from apostille.resources.ext_auth import ExtAuthConfig, ExtAuthPolicy, GlooAuth, StepEntry, UnbuiltPolicy
from apostille.resources.parse import ParsedFile, parse_document, parse_file
from apostille.resources.resource import Positions, Spec
from apostille.status.problem import field_text
from apostille.status.reasons import Effect, Reason

DATA = Path(__file__).parent / "data"

Parse = Callable[[str], ParsedFile]

ENVELOPE = "metadata: {name: a, namespace: ns}\n"
POLICY = "apiVersion: security.policy.gloo.solo.io/v2\nkind: ExtAuthPolicy\n" + ENVELOPE
SECRET = "apiVersion: v1\nkind: Secret\n" + ENVELOPE


def told(parsed: ParsedFile) -> dict[str, tuple[int, int]]:
    return {field_text(each.problem.at): (each.origin.line, each.origin.column) for each in parsed.findings}


def policy_of(parsed: ParsedFile) -> ExtAuthPolicy:
    (resource,) = parsed.resources
    assert isinstance(resource.spec, ExtAuthPolicy)
    return resource.spec


def test_the_worked_example_has_no_findings(seed: dict[str, str]) -> None:
    order = 0
    kinds = []
    for name, text in seed.items():
        parsed = parse_file(name, text, order)
        assert parsed.findings == ()
        assert parsed.readable
        assert [each.order for each in parsed.resources] == list(range(order, parsed.next_order))
        order = parsed.next_order
        kinds += [each.ref.kind for each in parsed.resources if each.spec is not None]
    assert kinds == [
        "Service",
        "EndpointSlice",
        "Service",
        "EndpointSlice",
        "VirtualGateway",
        "ExternalService",
        "RouteTable",
        "Secret",
        "ExtAuthServer",
        "ExtAuthPolicy",
    ]


def test_a_step_keeps_its_name_its_kind_and_its_settings(seed: dict[str, str]) -> None:
    policy = parse_file("50.yaml", seed["50-ext-auth.yaml"], 0).resources[1].spec
    assert isinstance(policy, ExtAuthPolicy)
    assert isinstance(policy.config, ExtAuthConfig)
    assert policy.config.gloo_auth is not None
    key, sign = policy.config.gloo_auth.configs
    assert isinstance(key, StepEntry)
    assert isinstance(sign, StepEntry)
    assert (key.name, key.kind) == ("api-key", "apiKeyAuth")
    assert key.settings["headerName"] == "api-key"
    assert (sign.name, sign.kind) == ("sign", "passThroughAuth")
    assert set(sign.settings) == {"http", "config"}
    assert not policy.is_shut


def test_a_kind_that_is_not_built_is_named_as_such(parse: Parse) -> None:
    parsed = parse((DATA / "dynamic-path.yaml").read_text(encoding="utf-8"))
    (finding,) = parsed.findings
    assert finding.problem.reason is Reason.NOT_BUILT
    assert finding.is_warning
    assert "TransformationPolicy" in finding.problem.message
    assert parsed.resources == ()


def test_a_list_counts_as_its_items_with_their_places(parse: Parse) -> None:
    parsed = parse(
        """apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Service
  metadata: {name: a}
  spec: {ports: [{port: 80, prot: TCP}]}
- apiVersion: v1
  kind: Secret
  metadata: {name: b}
- 5
"""
    )
    assert [each.ref for each in parsed.resources] == [Ref("Service", "default", "a"), Ref("Secret", "default", "b")]
    assert [each.origin for each in parsed.resources] == [Origin("file.yaml", 4, 3), Origin("file.yaml", 8, 3)]
    assert told(parsed) == {"spec.ports[0].prot": (7, 29), "": (11, 3)}
    assert parsed.next_order == 3


def test_unknown_fields_are_warnings_with_their_place_at_any_depth(parse: Parse, seed: dict[str, str]) -> None:
    text = seed["30-route-table.yaml"].replace(
        "uri:\n        exact: /cake.json", "uri:\n        exact: /cake.json\n        exct: 1"
    )
    text = text.replace("      hostRewrite", "      hostrewrite: x\n      hostRewrite") + "status: {}\nstauts: {}\n"
    parsed = parse(text)
    lines = text.split("\n")
    places = told(parsed)
    assert set(places) == {
        "spec.http[1].matchers[0].uri.exct",
        "spec.http[1].forwardTo.hostrewrite",
        "stauts",
    }
    for field, (line, column) in places.items():
        key = field.rpartition(".")[2]
        assert lines[line - 1].startswith(" " * (column - 1) + key + ":")
    assert all(finding.is_warning for finding in parsed.findings)
    assert parsed.resources[0].spec is not None


def test_a_syntax_error_spoils_the_file_and_says_where(parse: Parse) -> None:
    parsed = parse("a: 1\n---\nb: [1\nc: 2\n")
    assert not parsed.readable
    assert parsed.resources == ()
    (finding,) = parsed.findings
    assert (finding.origin.line, finding.problem.reason) == (4, Reason.INVALID_SYNTAX)
    assert finding.ref is None


@pytest.mark.parametrize("text", ["just text", "- a\n- b\n", "5\n---\n6\n"])
def test_a_file_without_any_mapping_is_no_resource_file(parse: Parse, text: str) -> None:
    parsed = parse(text)
    assert not parsed.readable
    assert parsed.findings


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n---\n"])
def test_an_empty_file_is_fine(parse: Parse, text: str) -> None:
    parsed = parse(text)
    assert parsed.readable
    assert parsed.findings == ()
    assert parsed.next_order == 0


def test_a_bad_document_spares_the_others_in_its_file(parse: Parse, seed: dict[str, str]) -> None:
    parsed = parse("5\n---\nkind: Nonsense\n---\n" + seed["40-api-key-secret.yaml"])
    assert parsed.readable
    assert [each.ref.name for each in parsed.resources] == ["demo-user"]
    assert len(parsed.findings) == 2


def test_a_key_written_twice_harms_only_what_it_stands_in(parse: Parse) -> None:
    parsed = parse(
        """apiVersion: v1
kind: Service
metadata: {name: a}
spec:
  ports: [{port: 80}]
  ports: [{port: 81}]
---
apiVersion: v1
kind: Service
metadata: {name: b}
spec: {ports: [{port: 80}]}
"""
    )
    broken, good = parsed.resources
    assert broken.spec is None
    assert good.spec is not None
    (finding,) = parsed.findings
    assert (finding.origin.line, finding.problem.reason) == (6, Reason.CONFLICT)
    assert "line 5" in finding.problem.message


def test_a_key_written_twice_deep_in_opaque_data_is_not_overlooked(parse: Parse) -> None:
    parsed = parse(
        POLICY + "spec:\n  applyToRoutes: [{route: {labels: {x: '1'}}}]\n"
        "  config: {glooAuth: {configs: [{passThroughAuth: {config: {host: a, host: b}}}]}}\n"
    )
    assert policy_of(parsed).is_shut
    assert [finding.problem.reason for finding in parsed.findings] == [Reason.CONFLICT]
    assert {finding.effect for finding in parsed.findings} == {Effect.REPLACED}


def test_a_policy_with_a_bad_config_still_says_what_it_covers(parse: Parse) -> None:
    parsed = parse(POLICY + "spec:\n  applyToRoutes: [{route: {labels: {x: '1'}}}]\n  config: {server: 5}\n")
    policy = policy_of(parsed)
    assert isinstance(policy.config, BrokenItem)
    assert policy.is_shut
    assert not policy.targets_unreadable
    (selector,) = policy.apply_to_routes
    assert not isinstance(selector, BrokenItem)
    assert selector.route is not None
    assert selector.route.labels == {"x": "1"}
    assert {finding.effect for finding in parsed.findings} == {Effect.REPLACED}
    assert set(told(parsed)) == {"spec.config.server", "spec.config"}


@pytest.mark.parametrize("config", ["", "config:", "config: text", "config: {}", "config: {disable: true}"])
def test_a_policy_without_a_sound_config_is_shut(parse: Parse, config: str) -> None:
    parsed = parse(POLICY + f"spec:\n  applyToRoutes: [{{route: {{}}}}]\n  {config}\n")
    policy = policy_of(parsed)
    assert policy.is_shut
    assert len(policy.apply_to_routes) == 1
    assert parsed.findings


@pytest.mark.parametrize(
    "entry",
    ["{}", "{name: a}", "{apiKeyAuth: {}, jwt: {}}", "{apiKeyAuth: 5}", "{apiKeyAuth: }", "text", "{name: 5, jwt: {}}"],
)
def test_a_bad_step_spares_its_siblings_and_shuts_the_policy(parse: Parse, entry: str) -> None:
    configs = f"[{{name: good, apiKeyAuth: {{}}}}, {entry}]"
    parsed = parse(
        POLICY + f"spec:\n  applyToRoutes: [{{route: {{}}}}]\n  config: {{glooAuth: {{configs: {configs}}}}}\n"
    )
    policy = policy_of(parsed)
    assert isinstance(policy.config, ExtAuthConfig)
    assert isinstance(policy.config.gloo_auth, GlooAuth)
    good, bad = policy.config.gloo_auth.configs
    assert isinstance(good, StepEntry)
    assert isinstance(bad, BrokenItem)
    assert policy.is_shut


def test_two_steps_of_one_name_are_refused_also_when_the_name_is_a_default(parse: Parse) -> None:
    parsed = parse(
        POLICY + "spec: {config: {glooAuth: {configs: [{jwt: {}}, {name: config_0, apiKeyAuth: {}}]}}}\n",
    )
    assert policy_of(parsed).is_shut
    assert set(told(parsed)) == {"spec.config.glooAuth.configs[1]"}


def test_a_selector_with_an_unquoted_label_still_covers_what_it_meant(parse: Parse) -> None:
    parsed = parse(
        POLICY + "spec:\n  applyToRoutes: [{route: {labels: {x: true, z: '1'}}}]\n  config: {customAuth: {}}\n"
    )
    policy = policy_of(parsed)
    (selector,) = policy.apply_to_routes
    assert isinstance(selector, BrokenItem)
    assert selector.kept is not None
    assert selector.kept.covers(labels={"x": "true", "z": "1"}, namespace="any")
    assert not selector.kept.covers(labels={"z": "1"}, namespace="any")
    assert not policy.targets_unreadable


@pytest.mark.parametrize(
    "selector", ["{}", "{route: {}, withDestinations: {}}", "{route: 5}", "{withDestinations: {kind: NONE}}"]
)
def test_a_selector_that_says_nothing_clear_covers_everything(parse: Parse, selector: str) -> None:
    policy = policy_of(parse(POLICY + f"spec:\n  applyToRoutes: [{selector}]\n  config: {{customAuth: {{}}}}\n"))
    (broken,) = policy.apply_to_routes
    assert isinstance(broken, BrokenItem)
    assert broken.kept is None or broken.kept.covers(labels={}, namespace="any")


@pytest.mark.parametrize("spec", ["spec: 5", "spec: {applyToRoutes: {route: {}}}", "spec: {applyToDestinations: 5}"])
def test_a_policy_whose_targets_are_unreadable_says_so(parse: Parse, spec: str) -> None:
    policy = policy_of(parse(POLICY + spec + "\n"))
    assert policy.targets_unreadable
    assert policy.is_shut


def test_a_guard_without_a_name_is_still_there_and_shut(parse: Parse) -> None:
    parsed = parse(
        "apiVersion: security.policy.gloo.solo.io/v2\nkind: ExtAuthPolicy\nmetadata: {}\n"
        "spec: {applyToRoutes: [{route: {labels: {x: '1'}}}], config: {customAuth: {}}}\n"
    )
    policy = policy_of(parsed)
    assert policy.is_shut
    assert not policy.targets_unreadable
    assert parsed.resources[0].ref.name.startswith("(unnamed")


def test_a_misspelt_guard_is_there_with_its_targets(parse: Parse) -> None:
    parsed = parse(
        POLICY.replace("ExtAuthPolicy", "ExtAuthPolcy") + "spec: {applyToRoutes: [{route: {labels: {x: '1'}}}]}\n"
    )
    (resource,) = parsed.resources
    assert isinstance(resource.spec, UnbuiltPolicy)
    assert not resource.spec.covers_everything
    (finding,) = parsed.findings
    assert "did you mean ExtAuthPolicy" in finding.problem.message
    assert finding.effect is Effect.REPLACED


@pytest.mark.parametrize(
    ("spec", "everything"),
    [
        ("{applyToRoutes: [{route: {}}], config: {whatever: 1}}", False),
        ("{config: {}}", True),
        ("{applyToWorkloads: [{selector: {}}]}", True),
        ("{applyToRoutes: 5}", True),
        ("5", True),
    ],
)
def test_an_unbuilt_guard_says_what_it_covers(parse: Parse, spec: str, *, everything: bool) -> None:
    parsed = parse(POLICY.replace("ExtAuthPolicy", "WAFPolicy") + f"spec: {spec}\n")
    (resource,) = parsed.resources
    assert isinstance(resource.spec, UnbuiltPolicy)
    assert resource.spec.covers_everything is everything
    assert Reason.NOT_BUILT in {finding.problem.reason for finding in parsed.findings}
    assert not any(finding.is_warning for finding in parsed.findings)


def test_a_secret_is_decoded_and_plain_entries_win(parse: Parse) -> None:
    parsed = parse(SECRET + "data: {a: aGVsbG8=, b: aGVsbG8K, c: /w==, d: 'aGVs\n  bG8='}\nstringData: {a: plain}\n")
    assert parsed.findings == ()
    secret = parsed.resources[0].spec
    assert isinstance(secret, Secret)
    assert {key: value.reveal() for key, value in secret.entries.items()} == {
        "a": "plain",
        "b": "hello\n",
        "d": "hello",
    }


CANARY = "canary-7f3a"


@pytest.mark.parametrize(
    "rest",
    [
        f"data: {{k: {CANARY}}}",
        f"data: {CANARY}",
        f"data: [{CANARY}]",
        f"data: {{k: [{CANARY}], l: {{m: {CANARY}}}}}",
        f"stringData: {CANARY}",
        f"stringData: {{k: *{CANARY}}}",
        f"stringData: {{k: !{CANARY} x}}",
        f"stringData: {{k: {CANARY}, k: {CANARY}}}",
        f"stringData: {{k: {CANARY}}}\ntype: 5",
        f"stringData: {{k: {CANARY}}}\nspec: {CANARY}\nimmutable: {CANARY}",
        f"stringData:\n  k: {CANARY}\n bad indentation: {CANARY}",
        f"stringData:\n  k: '{CANARY}",
        f'stringData: {{k: "{CANARY}\\q"}}',
        f"stringData:\n  k: {CANARY}: {CANARY}",
        f"stringData: {{k: {CANARY}}}\nmetadata: {CANARY}",
    ],
)
def test_no_message_repeats_a_secret(parse: Parse, rest: str) -> None:
    parsed = parse(SECRET + rest + "\n")
    assert parsed.findings
    for finding in parsed.findings:
        assert CANARY not in str(finding)
        assert CANARY not in repr(finding)
    assert CANARY not in repr(parsed)


def test_the_raw_data_of_a_secret_holds_no_clear_text(parse: Parse) -> None:
    parsed = parse(SECRET + f"data: {{k: {CANARY}}}\nstringData: {{l: {CANARY}, m: [{CANARY}]}}\n")
    (resource,) = parsed.resources
    assert resource.spec is None
    assert CANARY not in repr(resource.raw)


def test_a_value_that_is_no_base64_is_told_at_its_key(parse: Parse) -> None:
    parsed = parse(SECRET + "data:\n  good: aGVsbG8=\n  bad: '%%%'\n")
    assert told(parsed) == {"data.bad": (6, 3)}
    assert parsed.resources[0].spec is None
    assert {finding.effect for finding in parsed.findings} == {Effect.REJECTED}


def test_data_without_places_is_parsed_all_the_same() -> None:
    data = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [{"port": "x"}]}}
    parsed = parse_document(data, Positions("cluster", {}), order=7)
    assert parsed.resource is not None
    assert parsed.resource.order == 7
    assert [str(finding.origin) for finding in parsed.findings] == ["cluster:1:1"]


def broken_parts(value: object) -> bool:
    if isinstance(value, BrokenItem):
        return True
    if isinstance(value, tuple):
        return any(broken_parts(part) for part in value)
    if isinstance(value, Spec):
        return any(broken_parts(getattr(value, name)) for name in type(value).model_fields)
    return False


def check(parsed: ParsedFile) -> None:
    """What holds for every text: nothing is lost without a word, and every word has a place."""
    accused = {finding.ref for finding in parsed.findings if not finding.is_warning}
    for resource in parsed.resources:
        if resource.spec is None or broken_parts(resource.spec):
            assert resource.ref in accused
    assert parsed.readable or parsed.findings
    for finding in parsed.findings:
        assert finding.origin.line >= 1
        assert finding.problem.message.endswith((".", "?"))


@given(st.text(max_size=200))
def test_no_text_raises(text: str) -> None:
    check(parse_file("f.yaml", text, 0))


SCALARS = st.sampled_from(
    ["5", "-1", "true", "null", "text", "''", "[]", "{}", "[{}]", "{a: 1}", "1.5", "/x", "99999999999999999999", ".nan"]
)


@given(data=st.data())
def test_no_mutation_of_the_worked_example_raises(seed: dict[str, str], data: st.DataObject) -> None:
    lines = data.draw(st.sampled_from(sorted(seed.values()))).split("\n")
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(lines) - 1))
        line = lines[at]
        match data.draw(st.sampled_from(["drop", "double", "value", "indent", "swap", "cut", "key"])):
            case "drop":
                lines[at] = ""
            case "double":
                lines.insert(at, line)
            case "value":
                lines[at] = line.split(":")[0] + ": " + data.draw(SCALARS)
            case "indent":
                lines[at] = "  " + line
            case "swap":
                other = data.draw(st.integers(0, len(lines) - 1))
                lines[at], lines[other] = lines[other], line
            case "cut":
                lines[at] = line[: data.draw(st.integers(0, len(line)))]
            case "key":
                lines[at] = line.replace(":", "x:", 1)
    check(parse_file("f.yaml", "\n".join(lines), 0))


@pytest.mark.parametrize(
    "targets",
    ["applyToRoute: [{route: {}}]", "applyToDestinations: [{knd: EXTERNAL_SERVICE}]", "applyToRoutes: [{rout: {}}]"],
)
def test_a_guard_with_a_misspelt_selector_covers_everything(targets: str) -> None:
    text = f"""
apiVersion: security.policy.gloo.solo.io/v2
kind: ExtAuthPolicy
metadata: {{name: keys, namespace: demo}}
spec:
  {targets}
  config: {{glooAuth: {{configs: [{{apiKeyAuth: {{}}}}]}}}}
"""
    (resource,) = parse_file("keys.yaml", text, 0).resources
    assert isinstance(resource.spec, ExtAuthPolicy)
    assert resource.spec.targets_unreadable
