from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from apostille.base.refs import Ref
from apostille.resources.core import Secret, Service
from apostille.resources.parse import parse_file
from apostille.resources.resource import Resource, Spec
from apostille.resources.routes import RouteTable
from apostille.resources.selectors import ObjectSelector
from apostille.resources.snapshot import build_snapshot
from apostille.status.reasons import Reason

SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}, labels: {{app: {app}}}{created}}}
spec: {{ports: [{{port: {port}}}]}}
"""


def service(name: str, namespace: str = "ns", app: str = "a", port: object = 80, created: str = "") -> str:
    when = f", creationTimestamp: {created}" if created else ""
    return SERVICE.format(name=name, namespace=namespace, app=app, port=port, created=when)


def resources(*texts: str) -> list[Resource[Spec]]:
    return list(parse_file("f.yaml", "---".join(texts), 0).resources)


def test_the_oldest_comes_first_and_a_creation_time_goes_before_none() -> None:
    snapshot, findings = build_snapshot(
        resources(
            service("late", created="2024-02-01T00:00:00Z"),
            service("unknown"),
            service("early", created="2024-01-01T00:00:00+02:00"),
            service("unknown-too"),
        )
    )
    assert [each.ref.name for each in snapshot.of(Service)] == ["early", "late", "unknown", "unknown-too"]
    assert not findings


def test_a_resource_is_found_by_kind_namespace_and_name() -> None:
    snapshot, _ = build_snapshot(resources(service("x", "a", port=1), service("x", "b", port=2)))
    found = snapshot.get(Service, "b", "x")
    assert found is not None
    assert found.spec is not None
    assert found.spec.ports[0].port == 2
    assert snapshot.get(Service, "c", "x") is None
    assert snapshot.get(RouteTable, "b", "x") is None


def test_a_selector_asks_for_everything_it_names() -> None:
    snapshot, _ = build_snapshot(
        resources(service("x", "a", "one"), service("v", "b", "one"), service("z", "b", "two"))
    )

    def names(**fields: object) -> list[str]:
        selector = ObjectSelector.model_validate(fields)
        return [each.ref.name for each in snapshot.select(Service, selector)]

    assert names() == ["x", "v", "z"]
    assert names(labels={"app": "one"}) == ["x", "v"]
    assert names(labels={"app": "one"}, namespace="b") == ["v"]
    assert names(name="z", cluster="anything", workspace="anything") == ["z"]
    assert names(labels={"app": "one", "other": "x"}) == []


def test_the_later_one_replaces_the_earlier_one_with_a_warning() -> None:
    snapshot, findings = build_snapshot(resources(service("x", port=1), service("x", port=2)))
    (resource,) = snapshot.of(Service)
    assert resource.spec is not None
    assert resource.spec.ports[0].port == 2
    (finding,) = findings
    assert finding.ref == Ref("Service", "ns", "x")
    assert finding.problem.reason is Reason.DUPLICATE
    assert finding.is_warning
    assert finding.origin.line == 2
    assert "f.yaml:7:1" in finding.problem.message


def test_a_broken_resource_is_there_and_replaces_its_predecessor() -> None:
    snapshot, _ = build_snapshot(resources(service("x", port=1), service("x", port="none")))
    (resource,) = snapshot.of(Service)
    assert resource.spec is None
    assert snapshot.get(Service, "ns", "x") is resource


def test_an_empty_snapshot_answers_every_question() -> None:
    snapshot, findings = build_snapshot([])
    assert snapshot.of(Secret) == ()
    assert snapshot.get(Secret, "a", "b") is None
    assert findings == ()


@given(st.permutations(range(6)))
def test_the_order_of_the_input_does_not_matter(order: list[int]) -> None:
    everything = resources(*(service(name, port=port) for port, name in enumerate("abcabd", start=1)))
    expected = build_snapshot(everything)
    assert build_snapshot([everything[index] for index in order]) == expected
