"""What is shown when something goes wrong: texts, representations, and tracebacks with every local variable."""

from __future__ import annotations

import asyncio
import io
import json
import traceback
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import TestServer
from prometheus_client import CollectorRegistry, generate_latest
from rich.console import Console
from rich.traceback import Traceback

from apostille.base.secrets import SecretText
from apostille.credentials import aws
from apostille.credentials.environment import Environment
from apostille.credentials.fetched import CredentialsUnavailable, Fetched
from apostille.credentials.keepers import Keepers
from apostille.model.caller import NOBODY, Caller
from apostille.model.credentials import (
    AssumeRoleSource,
    ContainerSource,
    EnvironmentSource,
    ProfileSource,
    Source,
    StaticSource,
    WebIdentitySource,
)
from apostille.signing.sigv4 import Credentials, Request, SigningKeys, sign
from tests.unit.credentials.asking import ROLE, STATIC
from tests.unit.credentials.stand_ins import CANARY, FakeClock

# Whatever a source may be told, and by whom: name → status and body of the answer.
GARBAGE: dict[str, tuple[int, str]] = {
    "refused": (403, CANARY),
    "broken": (500, CANARY),
    "no JSON": (200, f"<html>{CANARY}"),
    "a list": (200, json.dumps([CANARY])),
    "text": (200, json.dumps(CANARY)),
    "nothing": (200, ""),
    "half": (200, json.dumps({"AccessKeyId": "ASIA", "SecretAccessKey": CANARY})),
    "wrong types": (200, json.dumps({"AccessKeyId": "ASIA", "SecretAccessKey": [CANARY], "Token": {"x": CANARY}})),
    "key with a blank": (200, json.dumps({"AccessKeyId": "ASIA", "SecretAccessKey": f"{CANARY} ", "Token": CANARY})),
    "token with a line": (200, json.dumps({"AccessKeyId": "A", "SecretAccessKey": "s", "Token": f"{CANARY}\r\nx: y"})),
    "id with a comma": (200, json.dumps({"AccessKeyId": f"{CANARY},", "SecretAccessKey": CANARY, "Token": CANARY})),
    "no end": (200, json.dumps({"AccessKeyId": "A", "SecretAccessKey": CANARY, "Token": CANARY, "Expiration": CANARY})),
}


def shown(error: BaseException) -> Iterator[str]:
    """Everything that a tool can make of an error that leaves our code, the local variables of all frames included."""
    # A test's own variables are no product's affair.
    place = error.__traceback__
    while place is not None and "/apostille/" not in place.tb_frame.f_code.co_filename:
        place = place.tb_next
    assert place is not None
    error = error.with_traceback(place)
    yield from (str(error), repr(error), str(error.args))
    yield "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    console = Console(file=io.StringIO(), width=400, no_color=True)
    console.print(
        Traceback.from_exception(
            type(error), error, place, show_locals=True, locals_max_length=1000, locals_max_string=10_000
        )
    )
    assert isinstance(console.file, io.StringIO)
    yield console.file.getvalue()
    for use_rich in (True, False):
        transform = structlog.tracebacks.ExceptionDictTransformer(
            show_locals=True, locals_max_length=1000, locals_max_string=10_000, use_rich=use_rich
        )
        yield json.dumps(transform((type(error), error, place)), default=repr)


def check(error: BaseException) -> None:
    texts = list(shown(error))
    # Locals are shown at all, so that silence proves something.
    assert all("locals" in text for text in texts[3:] if not text.lstrip().startswith("Traceback"))
    assert [text for text in texts if CANARY in text] == []


def test_a_secret_in_a_local_variable_would_be_found() -> None:
    def leak(secret: str) -> None:
        Credentials(access_key="", secret_key=SecretText(secret))

    with pytest.raises(ValueError, match="access key") as caught:
        leak(CANARY)
    assert sum(CANARY in text for text in _all_frames(caught.value)) >= 3


def _all_frames(error: BaseException) -> list[str]:
    frames = traceback.TracebackException.from_exception(error, capture_locals=True)
    transform = structlog.tracebacks.ExceptionDictTransformer(show_locals=True)
    described = json.dumps(transform((type(error), error, error.__traceback__)), default=repr)
    rich = Console(file=io.StringIO(), width=200)
    rich.print(Traceback.from_exception(type(error), error, error.__traceback__, show_locals=True))
    assert isinstance(rich.file, io.StringIO)
    return ["".join(frames.format()), described, rich.file.getvalue()]


def raised(work: Callable[[], object]) -> BaseException:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever it is, it is looked at
        work()
    return caught.value


KEYS = Credentials(access_key="AKIA", secret_key=SecretText(CANARY))


@pytest.mark.parametrize(
    "work",
    [
        lambda: Credentials(access_key="no id", secret_key=SecretText(CANARY)),
        lambda: Credentials(access_key="AKIA", secret_key=SecretText(f" {CANARY}")),
        lambda: Credentials(access_key="AKIA", secret_key=SecretText("s"), session_token=SecretText(f"{CANARY} x")),
        lambda: sign(Request(method="GET", host="h", path="/"), KEYS, region="no region", service="s3", now=_now()),
        lambda: sign(Request(method="GET", host="h", path="/"), KEYS, region="r", service="s/3", now=_now()),
        lambda: sign(_with_header("line\nfeed"), KEYS, region="r", service="s3", now=_now()),
        lambda: sign(
            Request(method="GET", host="h", path="/"), KEYS, region="r", service="s3", now=_now().replace(tzinfo=None)
        ),
        lambda: Request(method="G T", host="h", path="/", headers=(("authorization", CANARY),)),
    ],
    ids=["id", "key", "token", "region", "service", "header", "time", "method"],
)
def test_a_signature_that_cannot_be_made_shows_no_secret(work: Callable[[], object]) -> None:
    check(raised(work))


def _now() -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC)


def _with_header(value: str) -> Request:
    return Request(method="GET", host="h", path="/", headers=(("x-amz-meta-a", value),))


class Endpoint:
    """Says the same to whoever asks: a container's endpoint and an STS at once."""

    def __init__(self) -> None:
        self.says: tuple[int, str] = (500, "")
        self.url = ""

    async def answer(self, _request: web.Request) -> web.Response:
        return web.Response(status=self.says[0], text=self.says[1], content_type="text/xml")


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    found = Endpoint()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", found.answer)
    async with TestServer(app) as server:
        found.url = f"http://127.0.0.1:{server.port}"
        yield found


def environment(url: str) -> Environment:
    """As the process of a worker has it, with secrets that are none of a source's business as well."""
    return Environment(
        {
            "AWS_ACCESS_KEY_ID": "AKIA",
            "AWS_SECRET_ACCESS_KEY": f"{CANARY} ",
            "AWS_SESSION_TOKEN": CANARY,
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{url}/credentials",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": CANARY,
        }
    )


def sources(url: str, folder: Path) -> dict[str, Source]:
    token = folder / "token"
    token.write_text(CANARY)
    program = folder / "program"
    program.write_text(f"#!/bin/sh\necho {CANARY}\necho {CANARY} >&2\nexit 1\n")
    program.chmod(0o700)
    config = folder / "config"
    config.write_text(
        f"[profile program]\ncredential_process = {program}\n[profile half]\naws_secret_access_key={CANARY}\n"
    )
    role = partial(AssumeRoleSource, role_arn=ROLE, region="eu-west-1", sts_endpoint=url)
    return {
        "container": ContainerSource(),
        "role": role(base=STATIC, session_policy=json.dumps({"x": "y"})),
        "role of a consumer": role(base=STATIC, tags=(("user", "{consumer}"),)),
        "role with a broken base": role(base=EnvironmentSource()),
        "web identity": WebIdentitySource(role_arn=ROLE, token_file=str(token), region="eu-west-1", sts_endpoint=url),
        "environment": EnvironmentSource(),
        "static": StaticSource(access_key="A", secret_key=SecretText(f"{CANARY}\n")),
        "program": ProfileSource(profile="program", config_file=str(config), credentials_file="/dev/null"),
        "half a profile": ProfileSource(profile="half", config_file=str(config), credentials_file="/dev/null"),
    }


@pytest.mark.parametrize("said", GARBAGE)
async def test_whatever_a_source_answers_no_error_shows_it(endpoint: Endpoint, tmp_path: Path, said: str) -> None:
    endpoint.says = GARBAGE[said]
    found = sources(endpoint.url, tmp_path)
    asked = ("container", "role", "web identity")
    # The others are asked nothing over the network: once is enough.
    for name in found if said == "refused" else asked:
        caller = Caller(consumer="alice") if name == "role of a consumer" else NOBODY
        with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever it is, it is looked at
            await asyncio.to_thread(aws.fetch, found[name], environment(endpoint.url), caller)
        check(caught.value)


@pytest.mark.parametrize("said", ["refused", "no end", "wrong types"])
async def test_keepers_tell_nothing_of_what_they_hold_or_failed_to_get(
    endpoint: Endpoint, tmp_path: Path, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    endpoint.says = GARBAGE[said]
    registry = CollectorRegistry()
    keepers = Keepers(clock=FakeClock(), environ=dict(environment(endpoint.url)), registry=registry)
    leases = {name: keepers.lease(source) for name, source in sources(endpoint.url, tmp_path).items()}
    held = keepers.lease(STATIC)
    try:
        for name, lease in leases.items():
            with pytest.raises(CredentialsUnavailable) as caught:
                await lease.get(Caller(consumer="alice") if name == "role of a consumer" else NOBODY)
            check(caught.value)
        credentials = await held.get()
        texts = [repr(each) for each in (keepers, held, credentials, *leases.values())]
        texts += [repr(keepers.reports()), str(credentials), generate_latest(registry).decode(), caplog.text]
    finally:
        await keepers.close()
    assert "refresh_failures_total" in "".join(texts)
    assert [text for text in texts if CANARY in text] == []


def test_what_is_held_in_memory_has_no_telling_representation() -> None:
    keys = SigningKeys()
    token = SecretText(CANARY)
    credentials = Credentials(access_key="AKIA", secret_key=SecretText(CANARY), session_token=token)
    request = Request(
        method="GET", host="h", path="/", query=f"X-Amz-Signature={CANARY}", headers=(("api-key", CANARY),)
    )
    signed = sign(request, credentials, region="eu-west-1", service="s3", now=_now(), keys=keys)
    sources_: tuple[Source, ...] = (
        StaticSource(access_key="A", secret_key=SecretText(CANARY), session_token=token),
        AssumeRoleSource(base=STATIC, role_arn=ROLE),
    )
    variables: Mapping[str, str] = Environment({"AWS_SECRET_ACCESS_KEY": CANARY})
    for value in (credentials, request, signed, keys, Fetched(credentials=credentials), sources_, variables):
        for text in (repr(value), str(value), f"{value}", repr([value]), repr({"k": value})):
            assert CANARY not in text
            assert signed.signature not in text
    assert variables["AWS_SECRET_ACCESS_KEY"] == CANARY
