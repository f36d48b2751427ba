from __future__ import annotations

from datetime import UTC, datetime

import pytest

from apostille.resources.envelope import parse_envelope


def test_what_is_left_out_has_its_default() -> None:
    envelope = parse_envelope({"name": "a"})
    assert (envelope.name, envelope.namespace, envelope.labels, envelope.created) == ("a", "default", {}, None)
    assert not envelope.problems
    assert not envelope.warnings


def test_everything_kubernetes_adds_is_accepted() -> None:
    envelope = parse_envelope(
        {
            "name": "a",
            "namespace": "n",
            "labels": {"x": "y"},
            "annotations": {"k": "v"},
            "creationTimestamp": "2024-04-25T10:00:00Z",
            "uid": "u",
            "resourceVersion": "5",
            "generation": 1,
            "managedFields": ({},),
            "ownerReferences": (),
        }
    )
    assert envelope.created == datetime(2024, 4, 25, 10, tzinfo=UTC)
    assert not envelope.problems
    assert not envelope.warnings


@pytest.mark.parametrize("metadata", [None, "text", (), {}, {"name": 5}, {"name": None}])
def test_without_a_readable_name_there_is_a_problem(metadata: object) -> None:
    envelope = parse_envelope(metadata)
    assert envelope.name is None
    assert len(envelope.problems) == 1


@pytest.mark.parametrize("name", ["A", "a/b", "-a", "a b", "a_b", ""])
def test_a_name_that_kubernetes_refuses_is_a_problem(name: str) -> None:
    envelope = parse_envelope({"name": name})
    assert [problem.at for problem in envelope.problems] == [("metadata", "name")]


def test_a_label_that_is_no_text_is_a_problem_and_the_others_stay() -> None:
    envelope = parse_envelope({"name": "a", "labels": {"x": True, "y": "z"}})
    assert envelope.labels == {"y": "z"}
    assert [problem.at for problem in envelope.problems] == [("metadata", "labels", "x")]


def test_a_bad_creation_time_is_a_warning() -> None:
    envelope = parse_envelope({"name": "a", "creationTimestamp": "yesterday"})
    assert envelope.created is None
    assert not envelope.problems
    assert [problem.at for problem in envelope.warnings] == [("metadata", "creationTimestamp")]


def test_the_copy_of_the_manifest_that_kubectl_leaves_is_dropped() -> None:
    annotations = {"kubectl.kubernetes.io/last-applied-configuration": "{canary}", "k": "v"}
    assert parse_envelope({"name": "a", "annotations": annotations}).annotations == {"k": "v"}
