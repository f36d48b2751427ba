"""The OpenAPI document, made of the operations themselves, so that it cannot say anything else than they do."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from apostille.admin.operations import JSON, Content, Operation, Parameter
from apostille.admin.problems import MEDIA, STATUSES, Reason
from apostille.admin.shapes import ProblemDetails

# Any: JSON.
Json = dict[str, Any]
References = Mapping[tuple[type[Any], JsonSchemaMode], Any]

_REFERENCE = "#/components/schemas/{model}"
# What any operation may answer.
_EVERYWHERE = (Reason.FOREIGN_HOST, Reason.FOREIGN_PAGE)


def compile_document(operations: Sequence[Operation], *, version: str, has_token: bool) -> Json:
    """`has_token`: a token is asked for."""
    references, schemas = _schemas(operations)
    paths: defaultdict[str, Json] = defaultdict(dict)
    for operation in operations:
        paths[operation.path][operation.method.lower()] = _operation(operation, references, has_token)
    components: Json = {"schemas": {name: schemas[name] for name in sorted(schemas)}}
    if has_token:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Apostille admin API",
            "version": version,
            "description": "API keys, and how the gateway is. Problems are told as RFC 9457 says.",
        },
        "paths": dict(paths),
        "components": components,
    }


def _schemas(operations: Iterable[Operation]) -> tuple[References, Json]:
    shapes: set[tuple[type[BaseModel], JsonSchemaMode]] = {(ProblemDetails, "serialization")}
    for operation in operations:
        if operation.body is not None and operation.body.shape is not None:
            shapes.add((operation.body.shape, "validation"))
        shapes |= {
            (answer.shape, "serialization")
            for answer in operation.answers.values()
            if answer is not None and answer.shape is not None
        }
    ordered = sorted(shapes, key=lambda each: each[0].__name__)
    references, found = models_json_schema(ordered, by_alias=True, ref_template=_REFERENCE)
    return dict(references.items()), {name: _untitled(schema) for name, schema in found["$defs"].items()}


def _operation(operation: Operation, references: References, has_token: bool) -> Json:
    reasons: defaultdict[int, list[Reason]] = defaultdict(list)
    for reason in (*_reasons(operation), *((Reason.TOKEN,) if has_token and not operation.is_open else ())):
        reasons[STATUSES[reason]].append(reason)
    if any(parameter.name == "if-match" for parameter in operation.parameters):
        reasons[412].append(Reason.KEY_CHANGED)
    summary, _, description = operation.text.partition("\n")
    described: Json = {
        "operationId": operation.name,
        "summary": summary,
        **({"description": description.strip()} if description else {}),
        "parameters": [*map(_parameter, operation.parameters), *_query(operation)],
        "responses": {
            **{str(status): _answer(status, content, references) for status, content in operation.answers.items()},
            **{str(status): _problem(found, references) for status, found in sorted(reasons.items())},
        },
    }
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": _content(operation.body, "validation", references)}
    if has_token and not operation.is_open:
        described["security"] = [{"token": []}]
    return described


def _reasons(operation: Operation) -> Iterable[Reason]:
    yield from _EVERYWHERE
    yield from operation.reasons
    yield Reason.MALFORMED
    if operation.body is not None:
        yield Reason.MEDIA_TYPE
        if operation.body.shape is not None:
            yield Reason.TOO_LARGE


def _parameter(parameter: Parameter) -> Json:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.place == "path",
        "description": parameter.text,
        "schema": {"type": "string", "pattern": parameter.pattern, "examples": [parameter.example]},
    }


def _query(operation: Operation) -> Iterable[Json]:
    if operation.query is None:
        return
    for name, schema in _untitled(operation.query.model_json_schema(by_alias=True))["properties"].items():
        # A parameter of a query is left out and never null.
        plain = next((each for each in schema.get("anyOf", ()) if each.get("type") != "null"), schema)
        plain = {key: value for key, value in plain.items() if key != "description"}
        yield {
            "name": name,
            "in": "query",
            "required": False,
            "description": schema["description"],
            "schema": plain,
        }


def _answer(status: int, content: Content | None, references: References) -> Json:
    described: Json = {"description": HTTPStatus(status).phrase}
    if content is not None:
        described["content"] = _content(content, "serialization", references)
        if content.headers:
            described["headers"] = {
                name: {"description": text, "schema": {"type": "string"}} for name, text in content.headers.items()
            }
    return described


def _content(content: Content, mode: JsonSchemaMode, references: References) -> Json:
    schema: Any = {"type": "object"} if content.media == JSON else {"type": "string"}
    if content.shape is not None:
        schema = references[content.shape, mode]
    return {content.media: {"schema": schema}}


def _problem(reasons: Iterable[Reason], references: References) -> Json:
    words = ", ".join(f"`{reason}`" for reason in reasons)
    content = Content(media=MEDIA, shape=ProblemDetails)
    return {"description": f"No: {words}.", "content": _content(content, "serialization", references)}


def _untitled(schema: Any) -> Any:
    """Without the titles that pydantic makes of the names."""
    if isinstance(schema, dict):
        return {
            name: _untitled(part)
            for name, part in schema.items()
            if not (name == "title" and isinstance(part, str) and re.fullmatch(r"[\w ]+", part))
        }
    if isinstance(schema, list):
        return [_untitled(each) for each in schema]
    return schema
