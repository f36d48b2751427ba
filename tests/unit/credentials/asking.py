"""Fetching credentials in a test, and a look for secrets at whatever goes wrong."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from apostille.base.secrets import SecretText
from apostille.credentials import aws
from apostille.credentials.fetched import Fetched, FetchError
from apostille.model.caller import NOBODY, Caller
from apostille.model.credentials import AssumeRoleSource, Source, StaticSource
from tests.unit.credentials.stand_ins import CANARY

ROLE = "arn:aws:iam::123456789012:role/reader"
STATIC = StaticSource(
    access_key="AKIABASE", secret_key=SecretText(f"base-{CANARY}"), session_token=SecretText(f"base-token-{CANARY}")
)
SIX_PM = datetime(2026, 5, 1, 18, 0, tzinfo=UTC)


async def fetch(source: Source, environ: Mapping[str, str] | None = None, caller: Caller = NOBODY) -> Fetched:
    """In a thread, as in life: the servers of the tests run in this loop."""
    return await asyncio.to_thread(aws.fetch, source, environ or {}, caller)


async def refusal(source: Source, environ: Mapping[str, str] | None = None, caller: Caller = NOBODY) -> str:
    """The text of the error, after a look for secrets at all that comes with it."""
    with pytest.raises(FetchError) as caught:
        await fetch(source, environ, caller)
    error: BaseException = caught.value
    assert error.__cause__ is None
    assert error.__context__ is None
    for text in (str(error), repr(error), "".join(traceback.format_exception(error))):
        assert CANARY not in text
    return str(error)


def role(url: str, **changes: object) -> AssumeRoleSource:
    settings: dict[str, object] = {"base": STATIC, "role_arn": ROLE, "region": "eu-west-1", "sts_endpoint": url}
    return AssumeRoleSource(**{**settings, **changes})  # type: ignore[arg-type]
