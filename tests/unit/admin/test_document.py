"""The OpenAPI document is true: schemathesis asks what it allows and what it forbids, and compares."""

from __future__ import annotations

import asyncio
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from schemathesis.schemas import APIOperation

from apostille.admin.lines import MEDIA
from apostille.keys.store import KeyStore
from tests.unit.admin.serving import TOKEN, Serving, serving

# 409, 412 and 422: what no schema can say, such as a time that is over.
_CONFIG = {"checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", 404, 409, 412, 422]}}}

Operation = APIOperation[Any, Any, Any, Any]


@schemathesis.serializer(MEDIA)
def serialize(_context: schemathesis.SerializationContext, value: object) -> bytes:
    return str(value).encode("utf-8", "replace")


def ask(
    operation: Operation,
    url: str,
    mode: GenerationMode,
    examples: int,
    *,
    key: str | None = None,
    headers: dict[str, str] | None = None,
) -> None:
    """Some requests, and on each answer all checks that schemathesis knows. `key`: the one that they are about."""
    fixed: dict[str, Any] = {} if key is None else {"path_parameters": {"id": key}}
    with requests.Session() as session:
        session.trust_env = False

        # Without shrinking: what was asked stands in the failure, and an answer may depend on what was asked before.
        @settings(
            max_examples=examples,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(mode, **fixed))
        def check(case: schemathesis.Case[Any]) -> None:
            case.call_and_validate(base_url=url, session=session, headers=headers)

        check()


async def operations_of(it: Serving, **headers: str) -> list[Operation]:
    document = (await it.ask("GET", "/openapi.json", **headers)).json
    schema = schemathesis.openapi.from_dict(document, config=schemathesis.Config.from_dict(_CONFIG))
    found = [each.ok() for each in schema.get_all_operations() if isinstance(each, Ok)]
    assert len(found) == 13
    return found


def can_be_wrong(operation: Operation) -> bool:
    return bool([*operation.iter_parameters(), *operation.body])


async def test_answers_are_as_the_document_says(store: KeyStore) -> None:
    async with serving(store) as it:
        for operation in await operations_of(it):
            await asyncio.to_thread(ask, operation, it.url, GenerationMode.POSITIVE, 10)
            if can_be_wrong(operation):
                await asyncio.to_thread(ask, operation, it.url, GenerationMode.NEGATIVE, 10)
            if "{id}" in operation.path:
                key = (await it.create())["record"]["id"]
                await asyncio.to_thread(ask, operation, it.url, GenerationMode.POSITIVE, 10, key=key)


async def test_the_document_says_where_a_token_is_asked_for(store: KeyStore) -> None:
    async with serving(store, token=TOKEN) as it:
        # schemathesis looks for this very spelling when it asks again without a token.
        shown = {"Authorization": f"Bearer {TOKEN}"}
        for operation in await operations_of(it, **shown):
            await asyncio.to_thread(ask, operation, it.url, GenerationMode.POSITIVE, 2, headers=shown)


async def test_every_operation_is_described_and_every_shape_is_there(store: KeyStore) -> None:
    async with serving(store, token=TOKEN) as it:
        answer = await it.ask("GET", "/openapi.json", authorization=f"Bearer {TOKEN}")
        document = answer.json
        names = set(document["components"]["schemas"])
        assert document["openapi"] == "3.1.0"
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                assert operation["summary"].endswith("."), (method, path)
                is_open = path in ("/healthz", "/readyz")
                assert ("security" in operation) is not is_open
                assert ("401" in operation["responses"]) is not is_open
        references = {part.partition('"')[0] for part in answer.text.split('"#/components/schemas/')[1:]}
        assert references == names
