"""The generated parts of docs/reference/admin-api.md."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from docs_tables import Notes, noted, table

from apostille.admin.app import AdminViews, page_operations
from apostille.admin.keys import key_operations
from apostille.admin.openapi import compile_document
from apostille.admin.operations import Content, Operation
from apostille.admin.problems import STATUSES
from apostille.base.clock import SystemClock

Json = Mapping[str, Any]  # Any: a JSON Schema


def emit_admin_operations(_notes: Notes) -> str:
    """What the admin API does, path by path."""
    rows = [
        (
            f"`{operation.method} {operation.path}`",
            operation.text.replace("\n", " "),
            "none" if operation.body is None else _shape_text(operation.body),
            ", ".join(f"{status} {_shape_text(content)}" for status, content in operation.answers.items()),
        )
        for operation in _admin_operations()
    ]
    return table(("operation", "what it does", "takes", "gives"), rows)


def emit_admin_shapes(_notes: Notes) -> str:
    """Every JSON object of the admin API, field by field."""
    document = compile_document(_admin_operations(), version="", has_token=True)
    text = ""
    for name, schema in document["components"]["schemas"].items():
        if "properties" not in schema:
            continue
        required = schema.get("required", ())
        rows = [
            (
                f"`{field}`",
                _json_type(described),
                "required" if field in required else _json_default(described),
                described.get("description", ""),
            )
            for field, described in schema["properties"].items()
        ]
        text += f"### {name}\n\n{schema['description']}\n\n{table(('field', 'type', 'default', 'meaning'), rows)}\n"
    return text


def emit_admin_reasons(notes: Notes) -> str:
    """The words in problems."""
    statuses = {reason.value: status for reason, status in STATUSES.items()}
    rows = [(f"`{name}`", statuses[name], meaning) for name, meaning in noted(notes, "admin_reasons", statuses).items()]
    return table(("reason", "status", "meaning"), rows)


def _admin_operations() -> list[Operation]:
    async def nothing() -> Any:
        raise NotImplementedError

    views = AdminViews(readiness=nothing, status=nothing, metrics=nothing)
    return [*page_operations(views), *key_operations(nothing, SystemClock(), lambda _: None)]


def _shape_text(content: Content | None) -> str:
    if content is None:
        return ""
    if content.shape is None:
        return f"`{content.media}`"
    name = content.shape.__name__
    return f"[{name}](#{name.lower()})"


def _json_type(schema: Json) -> str:
    if "anyOf" in schema:
        return " or ".join(_json_type(part) for part in schema["anyOf"])
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return {"KeyState": "state", "Period": "`hour`, `day`, `month`", "Share": "`key`, `consumer`"}.get(
            name, f"[{name}](#{name.lower()})"
        )
    if schema.get("format") == "date-time":
        return "time"
    match schema["type"]:
        case "array":
            return f"list of {_json_type(schema['items'])}"
        case "object":
            return "text by name"
        case "string":
            return "text"
        case one:
            return str(one)


def _json_default(schema: Json) -> str:
    default = schema.get("default")
    return f"`{json.dumps(default)}`" if default not in (None, [], {}) and not isinstance(default, dict) else ""
