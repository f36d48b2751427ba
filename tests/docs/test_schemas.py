"""What `apostille schema` prints accepts every manifest that is shown to people, and refuses what is no such thing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from apostille.cli.main import main
from tests.docs.pages import PAGES, ROOT, blocks_of, name_of

Json = Mapping[str, Any]  # Any: a manifest, or a JSON Schema
Printed = Callable[..., Json]

MANIFESTS = sorted((ROOT / "examples").rglob("manifests/*.yaml"))


def documents() -> Iterator[tuple[str, Json]]:
    """Where it stands, and a manifest that Apostille acts on."""
    texts = [(name_of(file), file.read_text(encoding="utf-8")) for file in MANIFESTS]
    texts += [(name_of(page), block.text) for page in PAGES for block in blocks_of(page) if block.kind == "yaml"]
    for place, text in texts:
        for document in yaml.safe_load_all(text):
            if document is not None:
                yield f"{place}: {document['kind']} {document['metadata']['name']}", document


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Printed:
    def run(*arguments: str) -> Json:
        assert main(["schema", *arguments]) == 0
        schema: Json = json.loads(capsys.readouterr().out)
        Draft202012Validator.check_schema(schema)
        return schema

    return run


def test_every_manifest_of_examples_and_pages_is_valid(printed: Printed) -> None:
    found = dict(documents())
    kinds = {document["kind"] for document in found.values()}
    assert {"VirtualGateway", "RouteTable", "ExtAuthPolicy", "OutboundAuthPolicy", "Secret"} <= kinds
    without_effect = {"Namespace", "ConfigMap", "Deployment", "ServiceAccount"}
    validator = Draft202012Validator(printed())
    wrong = {
        place: error.message
        for place, document in found.items()
        if document["kind"] not in without_effect
        for error in validator.iter_errors(document)
    }
    assert wrong == {}


def test_one_kind_may_be_asked_for_by_name_or_in_full(printed: Printed) -> None:
    short = printed("OutboundAuthPolicy")
    assert short["title"] == "OutboundAuthPolicy"
    assert printed("apostille.dev/v1/OutboundAuthPolicy") == short


def test_an_unknown_kind_is_told_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "RouteTabel"]) == 1
    assert capsys.readouterr().err == "apostille: there is no schema of 'RouteTabel'; did you mean RouteTable?\n"
    assert main(["schema", "?"]) == 1
    assert "there are VirtualGateway, RouteTable" in capsys.readouterr().err


def example(kind: str) -> dict[str, Any]:
    file = ROOT / "examples" / "s3" / "manifests" / "s3.yaml"
    (found,) = (each for each in yaml.safe_load_all(file.read_text(encoding="utf-8")) if each["kind"] == kind)
    assert isinstance(found, dict)
    return found


def test_integrations_are_filled_in(printed: Printed) -> None:
    validator = Draft202012Validator(printed("OutboundAuthPolicy"))
    policy = example("OutboundAuthPolicy")
    assert validator.is_valid(policy)
    policy["spec"]["config"]["awsSigV4"]["algorithm"] = "SIGV5"
    assert not validator.is_valid(policy)
    wrong: tuple[Json, ...] = ({}, {"awsSigv4": {}}, {"awsSigV4": {"service": "s3"}})
    for config in wrong:
        policy["spec"]["config"] = config
        assert not validator.is_valid(policy), config


def test_steps_are_filled_in(printed: Printed) -> None:
    validator = Draft202012Validator(printed("ExtAuthPolicy"))
    policy = example("ExtAuthPolicy")
    assert validator.is_valid(policy)
    (entry,) = policy["spec"]["config"]["glooAuth"]["configs"]
    for wrong in ({"name": "nothing"}, {**entry, "passThroughAuth": {}}, {"apiKeyAuth": {"headerNam": "x"}}):
        policy["spec"]["config"]["glooAuth"]["configs"] = [wrong]
        assert not validator.is_valid(policy), wrong


def test_the_examples_are_found() -> None:
    assert {file.relative_to(ROOT / "examples").parts[0] for file in MANIFESTS} == {"s3", "s3-signer-node"}
