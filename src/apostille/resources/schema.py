"""JSON Schemas of the manifests, from the very classes that read them: for editors and custom resource definitions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apostille.resources.kinds import KINDS, Kind, Support

_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
_METADATA = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string"},
        "namespace": {"type": "string"},
        "labels": _TEXTS,
        "annotations": _TEXTS,
    },
}


def json_schemas() -> Mapping[str, dict[str, Any]]:  # Any: a JSON Schema
    """The schema of a whole manifest for every kind that is built, by ``apiVersion/kind``."""
    return {f"{kind.api_version}/{kind.name}": _schema(kind) for kind in KINDS if kind.support is Support.BUILT}


def _schema(kind: Kind) -> dict[str, Any]:
    if kind.spec is None:
        raise TypeError(f"{kind.name} has no spec class")
    spec = kind.spec.model_json_schema(by_alias=True)
    definitions = spec.pop("$defs", {})
    envelope: dict[str, Any] = {
        "apiVersion": {"const": kind.api_version},
        "kind": {"const": kind.name},
        "metadata": _METADATA,
    }
    required = ["apiVersion", "kind", "metadata"]
    if kind.top_level:
        envelope |= spec["properties"]
        required += spec.get("required", [])
    else:
        envelope["spec"] = spec
        required.append("spec")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": kind.name,
        "type": "object",
        "required": required,
        "properties": envelope,
        "$defs": definitions,
    }
