from __future__ import annotations

import json

from apostille.resources.kinds import KINDS, Support
from apostille.resources.schema import json_schemas


def test_every_built_kind_has_a_schema_in_the_spelling_of_manifests() -> None:
    schemas = json_schemas()
    assert set(schemas) == {f"{kind.api_version}/{kind.name}" for kind in KINDS if kind.support is Support.BUILT}
    table = schemas["networking.gloo.solo.io/v2/RouteTable"]
    assert table["properties"]["kind"] == {"const": "RouteTable"}
    assert "virtualGateways" in table["properties"]["spec"]["properties"]
    forward = table["$defs"]["ForwardTo"]["properties"]
    assert {"hostRewrite", "autoHostRewrite", "pathRewrite", "regexRewrite"} <= set(forward)


def test_a_secret_has_its_fields_at_the_top() -> None:
    secret = json_schemas()["v1/Secret"]
    assert {"apiVersion", "kind", "metadata", "data", "stringData", "type"} <= set(secret["properties"])


def test_the_schemas_are_plain_json_and_every_reference_in_them_resolves() -> None:
    for schema in json_schemas().values():
        text = json.dumps(schema)
        for part in text.split('"#/$defs/')[1:]:
            assert part.split('"')[0] in schema["$defs"]
