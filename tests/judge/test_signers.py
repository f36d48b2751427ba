"""The example signers: judged by a bucket that is not ours, held to their contract and to each other's answers."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
import yaml

from apostille.base.secrets import SecretText
from apostille.demo.signer import Credentials, Signer, node_command, python_command, start_signer
from tests.judge.conftest import BUCKET, CAKE, EXAMPLES, Judge, Sent

NODE = EXAMPLES / "s3-signer-node" / "signer.mjs"
COMMANDS = {"node": node_command(NODE), "python": python_command(EXAMPLES / "s3-signer-python" / "signer.py")}
HOST = f"{BUCKET}.s3.eu-west-1.amazonaws.com"
CONFIG = {"method": "GET", "path": "/cake.json", "host": HOST, "region": "eu-west-1", "service": "s3"}
CANARY = Credentials(
    access_key="AKIAIOSFODNN7EXAMPLE",
    secret_key=SecretText("canary+secret/1"),
    session_token=SecretText("canary-token"),
)
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

language = pytest.mark.parametrize("language", COMMANDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    status: int
    headers: dict[str, str]


@asynccontextmanager
async def running(language: str, folder: Path, credentials: Credentials | None, **env: str) -> AsyncIterator[Signer]:
    signer = await start_signer(COMMANDS[language], folder=folder, credentials=credentials, env=env)
    try:
        yield signer
    finally:
        await signer.stop()


async def ask(signer: Signer, body: object, *, method: str = "POST", path: str = "/sign") -> Asked:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    url = f"http://127.0.0.1:{signer.port}{path}"
    async with aiohttp.ClientSession() as http, http.request(method, url, data=data) as answer:
        return Asked(status=answer.status, headers={name.lower(): value for name, value in answer.headers.items()})


def signature(asked: Asked) -> dict[str, str]:
    return {
        name: value for name, value in asked.headers.items() if name == "authorization" or name.startswith("x-amz-")
    }


def node_sign(cases: list[dict[str, Any]]) -> list[dict[str, str]]:
    """The pure function of the Node.js signer, for many cases at once."""
    script = (
        f"import {{ sign }} from {json.dumps(NODE.as_uri())};"
        "import { readFileSync } from 'node:fs';"
        "const cases = JSON.parse(readFileSync(0));"
        "console.log(JSON.stringify(cases.map((c) => sign(c.config, c.credentials, new Date(c.now)))));"
    )
    done = subprocess.run(
        [COMMANDS["node"][0], "--input-type=module", "-e", script],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        check=True,
    )
    signed: list[dict[str, str]] = json.loads(done.stdout)
    return signed


def python_sign(module: ModuleType, cases: list[dict[str, Any]]) -> list[dict[str, str]]:
    return [
        module.sign(
            module.Config(**case["config"]),
            module.Credentials(
                key_id=case["credentials"]["keyId"],
                secret=case["credentials"]["secret"],
                token=case["credentials"].get("token", ""),
            ),
            datetime.fromisoformat(case["now"]).astimezone(UTC),
        )
        for case in cases
    ]


@language
def test_the_vector_of_the_contract_comes_out(language: str, python_signer: ModuleType) -> None:
    case = {
        "config": CONFIG,
        "credentials": {"keyId": "AKIAIOSFODNN7EXAMPLE", "secret": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"},
        "now": "2024-04-25T12:00:00+00:00",
    }
    signed = node_sign([case]) if language == "node" else python_sign(python_signer, [case])
    assert signed == [
        {
            "authorization": (
                "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20240425/eu-west-1/s3/aws4_request, "
                "SignedHeaders=host;x-amz-content-sha256;x-amz-date, "
                "Signature=068077c4c34d95ce29127f9cc6c3e2189fca62f823fe07997cb65c8de8c9319b"
            ),
            "x-amz-content-sha256": EMPTY,
            "x-amz-date": "20240425T120000Z",
        }
    ]


def test_both_signers_sign_alike(python_signer: ModuleType) -> None:
    pick = random.Random(1)  # noqa: S311 - the same cases on every run
    alphabet = "abzAZ09-._~!*'()$&+,;=:@/ %éß🍰"

    def text(longest: int) -> str:
        return "".join(pick.choices(alphabet, k=pick.randrange(longest)))

    def case() -> dict[str, Any]:
        pairs = [f"{quote(text(5))}={quote(text(5))}" for _ in range(pick.randrange(4))]
        return {
            "config": {
                **CONFIG,
                "method": pick.choice(["GET", "HEAD", "PUT", "DELETE"]),
                "path": "/" + quote(text(12), safe="/!*'()$+,;=:@~") + "?" + "&".join(pairs),
            },
            "credentials": {"keyId": "AKIAIOSFODNN7EXAMPLE", "secret": "abc/+", "token": pick.choice(["", "t0ken=="])},
            "now": f"20{pick.randrange(10, 99)}-02-28T23:59:{pick.randrange(10, 60)}+00:00",
        }

    cases = [case() for _ in range(500)]
    assert node_sign(cases) == python_sign(python_signer, cases)


@language
async def test_the_judge_accepts_what_a_signer_signs(language: str, judge: Judge, tmp_path: Path) -> None:
    async with running(language, tmp_path, credentials_of(judge)) as signer:
        asked = await ask(signer, {"config": CONFIG})
        assert asked.status == 200
        assert asked.headers["x-amz-content-sha256"] == EMPTY
        assert "x-amz-security-token" not in asked.headers
        judgement = await judge.ask(Sent(headers=signature(asked)))
        assert (judgement.status, judgement.body) == (200, CAKE)


def credentials_of(judge: Judge, token: str | None = None) -> Credentials:
    return Credentials(
        access_key=judge.bucket.access_key,
        secret_key=judge.bucket.secret_key,
        session_token=None if token is None else SecretText(token),
    )


@language
async def test_temporary_credentials_sign_their_token_too(language: str, judge: Judge, tmp_path: Path) -> None:
    async with running(language, tmp_path, credentials_of(judge, token="session+token/==")) as signer:
        asked = await ask(signer, {"config": CONFIG})
        assert asked.headers["x-amz-security-token"] == "session+token/=="
        assert "host;x-amz-content-sha256;x-amz-date;x-amz-security-token" in asked.headers["authorization"]
        sent = Sent(headers=signature(asked))
        assert (await judge.ask(sent)).body == CAKE
        assert (await judge.ask(sent.with_header("x-amz-security-token", "another"))).status == 403


@language
async def test_other_methods_are_signed_with_an_unsigned_payload(language: str, judge: Judge, tmp_path: Path) -> None:
    path = f"/{language}/written.bin"
    async with running(language, tmp_path, credentials_of(judge)) as signer:
        for method, status in (("PUT", 200), ("HEAD", 200), ("DELETE", 204), ("HEAD", 404)):
            asked = await ask(signer, {"config": {**CONFIG, "method": method, "path": path}})
            assert (asked.headers["x-amz-content-sha256"] == EMPTY) == (method == "HEAD")
            body = b"written" if method == "PUT" else b""
            judgement = await judge.ask(Sent(method=method, target=path, headers=signature(asked), body=body))
            assert (method, judgement.status) == (method, status)


@language
@pytest.mark.parametrize(
    "key",
    ["a b", "a+b", "100%", "%41", "~tilde", "é🍰", "a//b", "!*'()", "$&,;=:@", "q?q#q", "dir/"],
)
async def test_odd_keys_are_signed_as_the_judge_reads_them(
    language: str, key: str, judge: Judge, tmp_path: Path
) -> None:
    body = key.encode()
    await judge.bucket.put_object(BUCKET, key, body)
    async with running(language, tmp_path, credentials_of(judge)) as signer:
        # Two spellings of one path: everything escaped, and as little as possible.
        for target in ("/" + quote(key, safe="/"), "/" + quote(key, safe="/!*'()$&+,;=:@~")):
            asked = await ask(signer, {"config": {**CONFIG, "path": target}})
            judgement = await judge.ask(Sent(target=target, headers=signature(asked)))
            assert (target, judgement.status, judgement.body) == (target, 200, body)


@language
async def test_a_query_is_signed(language: str, judge: Judge, tmp_path: Path) -> None:
    # Names in ASCII: AWS orders them after escaping, the judge before it.
    target = "/cake.json?b=2&a=%20x&flag&c=1+2&d=%C3%A9~"
    async with running(language, tmp_path, credentials_of(judge)) as signer:
        asked = await ask(signer, {"config": {**CONFIG, "path": target}})
        judgement = await judge.ask(Sent(target=target, headers=signature(asked)))
        assert judgement.body == CAKE, judgement.body.decode()


REFUSED: dict[str, object] = {
    "not JSON": b"{",
    "not UTF-8": b'{"config": "\xff"}',
    "nothing": b"",
    "a list": [],
    "null": None,
    "no config": {},
    "config is text": {"config": "canary-input"},
    "too large": b'{"config": "' + b"x" * 70_000 + b'"}',
    **{f"no {name}": {"config": {k: v for k, v in CONFIG.items() if k != name}} for name in CONFIG},
    **{f"{name} is a number": {"config": {**CONFIG, name: 1}} for name in CONFIG},
    "method in small letters": {"config": {**CONFIG, "method": "get"}},
    "line break in method": {"config": {**CONFIG, "method": "GET\n"}},
    "path without slash": {"config": {**CONFIG, "path": "canary-input"}},
    "path with a space": {"config": {**CONFIG, "path": "/canary-input x"}},
    "path with a lone percent sign": {"config": {**CONFIG, "path": "/canary-input%4"}},
    "path with escaped garbage": {"config": {**CONFIG, "path": "/canary-input%FF"}},
    "query with a lone percent sign": {"config": {**CONFIG, "path": "/cake.json?canary-input=%"}},
    "host with a line break": {"config": {**CONFIG, "host": f"{HOST}\nx-canary-input: 1"}},
    "host with a path": {"config": {**CONFIG, "host": f"{HOST}/canary-input"}},
    "region with a slash": {"config": {**CONFIG, "region": "canary/input"}},
    "another service": {"config": {**CONFIG, "service": "iam"}},
}


@language
async def test_what_cannot_be_signed_is_refused_with_a_reason(language: str, tmp_path: Path) -> None:
    async with running(language, tmp_path, CANARY) as signer:
        for name, body in REFUSED.items():
            asked = await ask(signer, body)
            assert (name, asked.status) == (name, 403)
            assert asked.headers["x-sign-error"]
            assert signature(asked) == {}, name
            assert "canary" not in str(asked), name
        assert (await ask(signer, {"config": CONFIG})).status == 200
    assert "canary" not in signer.child.log.read_text()


@language
async def test_another_url_is_refused(language: str, tmp_path: Path) -> None:
    async with running(language, tmp_path, CANARY) as signer:
        for method, path in (("POST", "/"), ("POST", "/sign/"), ("GET", "/sign"), ("POST", "/healthz")):
            asked = await ask(signer, {"config": CONFIG}, method=method, path=path)
            assert (method, path, asked.status) == (method, path, 403)
            assert signature(asked) == {}


@language
async def test_only_allowed_paths_are_signed(language: str, tmp_path: Path) -> None:
    async with running(language, tmp_path, CANARY, ALLOWED_PATHS="/cake.json,/a b") as signer:
        for path, status in (
            ("/cake.json", 200),
            ("/cake.json?a=b", 200),
            ("/%63ake.json", 200),
            ("/a%20b", 200),
            ("/cake.json/", 403),
            ("/x/../cake.json", 403),
            ("/other", 403),
            ("/", 403),
        ):
            asked = await ask(signer, {"config": {**CONFIG, "path": path}})
            assert (path, asked.status) == (path, status)
            if status == 403:
                assert asked.headers["x-sign-error"] == "config.path is not allowed"


@language
@pytest.mark.parametrize(
    "env",
    [
        {},
        {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE"},
        {"AWS_SECRET_ACCESS_KEY": "canary"},
        {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": " "},
        {"AWS_ACCESS_KEY_ID": "AKIA\nx: y", "AWS_SECRET_ACCESS_KEY": "canary"},
    ],
    ids=["none", "no secret", "no id", "blank secret", "line break"],
)
async def test_without_credentials_nothing_is_signed(language: str, env: dict[str, str], tmp_path: Path) -> None:
    async with running(language, tmp_path, None, **env) as signer:
        asked = await ask(signer, {"config": CONFIG})
        assert asked.status == 500
        assert asked.headers["x-sign-error"]
        assert signature(asked) == {}
        assert "canary" not in str(asked)
        assert (await ask(signer, b"", method="GET", path="/healthz")).status == 200
    assert "canary" not in signer.child.log.read_text()


@language
async def test_the_secret_is_in_no_answer_and_no_log(language: str, tmp_path: Path) -> None:
    async with running(language, tmp_path, CANARY) as signer:
        bodies = [{"config": CONFIG}, *REFUSED.values()]
        answers = [str((await ask(signer, body)).headers) for body in bodies]
    # The token is part of a signed answer: S3 has to see it.
    assert sum("canary-token" in answer for answer in answers) == 1
    assert not any("canary+secret/1" in answer for answer in answers)
    log = signer.child.log.read_text()
    assert "canary+secret/1" not in log
    assert "canary-token" not in log


@language
async def test_one_connection_serves_many_requests(language: str, tmp_path: Path) -> None:
    opened = []

    async def count(*_: object) -> None:
        opened.append(1)

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_end.append(count)
    async with running(language, tmp_path, CANARY) as signer, aiohttp.ClientSession(trace_configs=[trace]) as http:
        for config, status in ((CONFIG, 200), ({**CONFIG, "method": "no"}, 403), (CONFIG, 200)):
            async with http.post(f"http://127.0.0.1:{signer.port}/sign", json={"config": config}) as answer:
                assert answer.status == status
    assert len(opened) == 1


@language
async def test_sigterm_ends_a_signer_well_though_connections_are_open(language: str, tmp_path: Path) -> None:
    async with running(language, tmp_path, CANARY) as signer, aiohttp.ClientSession() as http:
        async with http.post(f"http://127.0.0.1:{signer.port}/sign", json={"config": CONFIG}) as answer:
            assert answer.status == 200
        os.kill(signer.child.pid, signal.SIGTERM)
        assert await asyncio.wait_for(signer.child.process.wait(), 10) == 0


def test_the_manifests_name_one_bucket_and_a_config_that_is_signed(python_signer: ModuleType) -> None:
    documents = [
        document
        for path in sorted((EXAMPLES / "s3-signer-node" / "manifests").glob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text())
    ]
    by_kind = {document["kind"]: document["spec"] for document in documents if "spec" in document}
    steps = by_kind["ExtAuthPolicy"]["config"]["glooAuth"]["configs"]
    config = steps[1]["passThroughAuth"]["config"]
    forward = by_kind["RouteTable"]["http"][1]["forwardTo"]
    assert by_kind["ExternalService"]["hosts"] == [config["host"]] == [forward["hostRewrite"]]
    assert python_signer.parse_config(json.dumps({"config": config}).encode()).path == "/cake.json"
