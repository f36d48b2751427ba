"""JSON Schemas of the manifests, from the very classes that read them: for editors and custom resource definitions."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from apostille.resources.ext_auth import StepEntry
from apostille.resources.kinds import KINDS, Kind, Support
from apostille.resources.outbound import OutboundConfig
from apostille.resources.resource import Spec

Json = dict[str, Any]  # Any: a JSON Schema
Plugins = Mapping[str, type[Spec]]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_POINTER = "#/$defs/"
_NONE: Plugins = MappingProxyType({})
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


def json_schemas(steps: Plugins = _NONE, integrations: Plugins = _NONE) -> Mapping[str, Json]:
    """The schema of a whole manifest for every kind that is built, by ``apiVersion/kind``.

    `steps`, `integrations`: what people write for each kind of plug-in, by the field that selects it. Without them
    any field is right there, since only the plug-ins know.
    """
    plugins = {StepEntry.__name__: steps, OutboundConfig.__name__: integrations}
    return {
        f"{kind.api_version}/{kind.name}": _schema(kind, plugins) for kind in KINDS if kind.support is Support.BUILT
    }


def joined_schema(schemas: Mapping[str, Json]) -> Json:
    """One schema for a manifest of any of these kinds."""
    definitions: Json = {}
    for schema in schemas.values():
        _define(definitions, schema["$defs"])
    kinds = [{k: part for k, part in schema.items() if k not in ("$schema", "$defs")} for schema in schemas.values()]
    return {"$schema": _DIALECT, "title": "A manifest that Apostille acts on", "oneOf": kinds, "$defs": definitions}


def _schema(kind: Kind, plugins: Mapping[str, Plugins]) -> Json:
    if kind.spec is None:
        raise TypeError(f"{kind.name} has no spec class")
    spec, definitions = _parts(kind.spec)
    for name in plugins.keys() & definitions.keys():
        definitions[name] = _closed(definitions[name], plugins[name], definitions)
    envelope: Json = {
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
        "$schema": _DIALECT,
        "title": kind.name,
        "type": "object",
        "required": required,
        "properties": envelope,
        "$defs": definitions,
    }


def _parts(spec: type[Spec]) -> tuple[Json, Json]:
    schema = spec.model_json_schema(by_alias=True)
    return schema, schema.pop("$defs", {})


def _closed(entry: Json, plugins: Plugins, definitions: Json) -> Json:
    """An open entry with the kinds that exist, exactly one of them; what they refer to goes into `definitions`."""
    if not plugins:
        return entry
    kinds: Json = {}
    for field, spec in plugins.items():
        schema, inner = _parts(spec)
        _define(definitions, {**inner, spec.__name__: schema})
        kinds[field] = {"$ref": f"{_POINTER}{spec.__name__}"}
    return {
        **entry,
        "properties": {**entry["properties"], **kinds},
        "oneOf": [{"required": [field]} for field in kinds],
        "additionalProperties": False,
    }


def _define(definitions: Json, more: Json) -> None:
    for name, definition in more.items():
        # Definitions are named for their class, so what has one name has to be one thing.
        if definitions.setdefault(name, definition) != definition:
            raise ValueError(f"two different messages are called {name}")
