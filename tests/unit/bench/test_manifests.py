"""The manifests that are measured with: what they say is what the gateway makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from apostille.control.reading import Reader, Reading
from apostille.integrations import INTEGRATIONS
from apostille.model.gateway import Gateway
from apostille.resources.routes import RouteTable
from apostille.sources.files import FilesSource
from apostille.steps import STEPS
from apostille.translate.pipeline import translate
from bench.manifests import api_key, manifests, object_path, route_table, table_file


def read(folder: Path, files: Mapping[str, str]) -> Reading:
    for name, text in files.items():
        (folder / name).write_text(text)
    return Reader().read(FilesSource(folder).read())


def compile_gateway(reading: Reading) -> Gateway:
    kinds = {kind.name: kind for kind in STEPS}
    found = translate(reading.snapshot, kinds, {kind.name: kind for kind in INTEGRATIONS}, {})
    assert [str(finding) for finding in (*reading.findings, *found.findings)] == []
    return found.gateway


@pytest.mark.parametrize(
    "files",
    [manifests(9), manifests(9, routes=250, keys=3), manifests(9, signer=3000), manifests(9, streaming=True)],
    ids=["one", "many", "signer", "streaming"],
)
def test_there_is_nothing_wrong_with_them(files: Mapping[str, str], tmp_path: Path) -> None:
    compile_gateway(read(tmp_path, files))


def test_there_are_as_many_routes_as_asked_for_and_the_last_leads_to_the_object(tmp_path: Path) -> None:
    reading = read(tmp_path, manifests(9, routes=250))
    specs = [table.spec for table in reading.snapshot.of(RouteTable)]
    assert sum(len(spec.http) for spec in specs if spec is not None) == 250
    assert object_path(250) == "/r00249/cake.json"
    assert "/r00249/" in (tmp_path / table_file(200)).read_text()


def test_there_are_as_many_keys_as_asked_for(tmp_path: Path) -> None:
    texts = manifests(9, keys=1001)
    documents = [each for text in texts.values() for each in yaml.safe_load_all(text)]
    keys = {each["stringData"]["api-key"] for each in documents if each.get("type") == "extauth.solo.io/apikey"}
    assert len(keys) == 1001
    assert api_key(1000) in keys


def test_a_route_that_says_something_takes_the_place_of_one_that_leads_on() -> None:
    said = yaml.safe_load(route_table(range(100, 103), says={101: "word"}))["spec"]["http"]
    assert [route["matchers"][0]["uri"]["prefix"] for route in said] == ["/r00100/", "/r00101/", "/r00102/"]
    assert ["directResponse" in route for route in said] == [False, True, False]
