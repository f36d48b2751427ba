"""The whole auth service on its socket: real web server, real steps, a real signer."""

from __future__ import annotations

import asyncio
import hashlib
import json
import stat
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from apostille.auth.check import UNREADABLE
from apostille.auth.client import open_session
from apostille.auth.codec import emit_keyring, emit_program
from apostille.auth.contract import Allow, AuthRequest, AuthStep, Deny, StepRunner, StepTools, Verdict
from apostille.auth.decisions import DecisionLog, DecisionMetrics, json_logger
from apostille.auth.keyrings import KeyRingStore
from apostille.auth.programs import Programs
from apostille.auth.server import AuthService, serve_auth
from apostille.base.clock import SystemClock
from apostille.base.refs import Ref
from apostille.base.secrets import SecretText
from apostille.model.auth import HeaderUse, Key, KeyRing, Program, Step
from apostille.model.destination import Endpoint
from apostille.steps import STEPS
from apostille.steps.api_key.spec import ApiKeyConfig, MetadataHeader
from apostille.steps.pass_through_spec import PassThroughConfig

KEY = "canary-key"
SIGNATURE = "canary-signature"
PROGRAM = "gateway/keys@1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptConfig:
    pass


@dataclass
class Script:
    """A step kind that does what a test tells it."""

    check: Callable[[AuthRequest], Coroutine[None, None, Verdict]]
    name: str = "script"
    config: type = ScriptConfig

    def start(self, config: object, tools: StepTools, /) -> AuthStep:
        return self


@dataclass
class Service:
    """The running service, and what a test sees of it."""

    socket: Path
    programs: Programs
    registry: CollectorRegistry
    stop: asyncio.Event
    serving: asyncio.Task[None]
    http: aiohttp.ClientSession
    script: Script
    log: StringIO = field(default_factory=StringIO)

    async def check(self, method: str = "GET", path: str = "/", body: bytes | None = None, **headers: str) -> Answer:
        sent = {"x-apostille-program": PROGRAM, "x-apostille-route": "table/0", "x-request-id": "id-1"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.http.request(
            method, f"http://auth/check{path}", headers=sent, data=body, allow_redirects=False
        ) as response:
            return Answer(
                response.status, {name.lower(): text for name, text in response.headers.items()}, await response.text()
            )

    @property
    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.log.getvalue().splitlines()]


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: str


async def _allow(request: AuthRequest) -> Verdict:
    return Allow()


@pytest.fixture
async def service(socket_dir: Path) -> AsyncIterator[Service]:
    socket, log, registry, clock = socket_dir / "auth.sock", StringIO(), CollectorRegistry(), SystemClock()
    keyrings, script = KeyRingStore(), Script(_allow)
    kinds: dict[str, StepRunner] = {kind.name: kind for kind in STEPS} | {"script": script}
    async with (
        open_session() as outbound,
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket))) as http,
    ):
        programs = Programs(kinds, StepTools(clock=clock, keyrings=keyrings, http=outbound), keyrings)
        app = AuthService(
            programs=programs,
            log=DecisionLog(json_logger(log), clock),
            metrics=DecisionMetrics(registry),
            registry=registry,
            clock=clock,
            credentials=lambda: [{"source": "instance", "state": "fresh"}],
        )
        stop = asyncio.Event()
        serving = asyncio.create_task(serve_auth(socket, app, stop))
        await app.ready.wait()
        yield Service(socket, programs, registry, stop, serving, http, script, log)
        stop.set()
        await serving


def put(service: Service, *steps: Step) -> None:
    program = Program(id=PROGRAM, policy=Ref("ExtAuthPolicy", "gateway", "keys"), steps=steps, deadline_ms=30_000)
    service.programs.put_program(PROGRAM, emit_program(program))


def put_ring(service: Service, *keys: Key) -> None:
    service.programs.put_keyring("gateway/keys/key", emit_keyring(KeyRing(id="gateway/keys/key", keys=keys)))


KEY_STEP = Step(
    name="key",
    kind="apiKeyAuth",
    config=ApiKeyConfig(
        header="api-key",
        ring="gateway/keys/key",
        metadata=(MetadataHeader(header="x-user-email", entry="user-email"),),
    ),
    headers=HeaderUse(reads=("api-key",), credentials=("api-key",), writes=("x-user-email",)),
)
ALICE = Key(
    digest=hashlib.sha256(KEY.encode()).hexdigest(),
    consumer="alice",
    metadata={"user-email": SecretText("canary@example.com")},
)


def sign_step(port: int) -> Step:
    return Step(
        name="sign",
        kind="passThroughAuth",
        config=PassThroughConfig(
            scheme="http",
            authority="signer.test",
            path="/sign",
            endpoints=(Endpoint(host="127.0.0.1", port=port),),
            server_name=None,
            timeout_ms=30_000,
            header_timeout_ms=None,
            max_connections=None,
            copy=(),
            add=(("x-token", SecretText("canary-token")),),
            send_body=True,
            send_state=True,
            send_filter_metadata=False,
            custom=SecretText('{"key":"canary-config"}'),
            append=("authorization",),
            overwrite=(),
            on_denied=("x-sign-error",),
            read_state=False,
            allow_on_failure=False,
        ),
        headers=HeaderUse(writes=("authorization",), body=True),
    )


@dataclass
class Signer:
    answer: bytes
    port: int = 0
    bodies: list[object] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r")[0])
        self.bodies.append(json.loads(await reader.readexactly(length)))
        writer.write(self.answer)
        await writer.drain()
        writer.close()


@pytest.fixture
async def signer() -> AsyncIterator[Signer]:
    signer = Signer(f"HTTP/1.1 200 OK\r\nauthorization: {SIGNATURE}\r\ncontent-length: 0\r\n\r\n".encode())
    server = await asyncio.start_server(signer.serve, "127.0.0.1", 0)
    signer.port = server.sockets[0].getsockname()[1]
    yield signer
    server.close()
    await server.wait_closed()


async def test_the_worked_example_key_then_signature(service: Service, signer: Signer) -> None:
    put(service, KEY_STEP, sign_step(signer.port))
    put_ring(service, ALICE)
    answer = await service.check("PUT", "/cake.json", body=b"cake", api_key=KEY)
    assert answer.status == 200
    transport = {name: answer.headers.pop(name) for name in ("date", "server", "content-length")}
    assert transport["content-length"] == "0"
    assert answer.headers == {
        "x-user-email": "canary@example.com",
        "authorization": SIGNATURE,
        "x-envoy-auth-headers-to-remove": "api-key",
        "x-apostille-consumer": "alice",
    }
    assert signer.bodies == [
        {
            "body": "cake",
            "state": {"api_key_value": KEY, "x-user-email": "canary@example.com"},
            "config": {"key": "canary-config"},
        }
    ]


async def test_a_missing_and_a_wrong_key_look_the_same_and_reach_no_signer(service: Service, signer: Signer) -> None:
    put(service, KEY_STEP, sign_step(signer.port))
    put_ring(service, ALICE)
    missing, wrong = await service.check(), await service.check(api_key="canary-wrong")
    for answer in (missing, wrong):
        answer.headers.pop("date")
    assert missing == wrong
    assert (missing.status, missing.body) == (401, "")
    assert missing.headers["www-authenticate"] == "API key is missing or invalid"
    assert missing.headers["x-apostille-reason"] == "api_key_missing_or_invalid"
    assert signer.bodies == []


async def test_a_new_key_ring_counts_at_once(service: Service) -> None:
    put(service, KEY_STEP)
    put_ring(service)
    assert (await service.check(api_key=KEY)).status == 401
    put_ring(service, ALICE)
    assert (await service.check(api_key=KEY)).status == 200
    service.programs.drop_keyring("gateway/keys/key")
    assert (await service.check(api_key=KEY)).headers["x-apostille-reason"] == "step_failed"


async def test_what_the_signer_says_of_a_refusal_reaches_the_client(service: Service, signer: Signer) -> None:
    signer.answer = b"HTTP/1.1 403 No\r\nx-sign-error: bad path\r\nx-other: canary\r\ncontent-length: 0\r\n\r\n"
    put(service, sign_step(signer.port))
    answer = await service.check()
    assert (answer.status, answer.headers["x-sign-error"]) == (403, "bad path")
    assert answer.headers["x-apostille-reason"] == "pass_through_refused"
    assert "x-other" not in answer.headers


async def test_a_header_of_the_signer_that_must_not_go_out_ends_the_request(service: Service, signer: Signer) -> None:
    signer.answer = b"HTTP/1.1 200 OK\r\nauthorization: \xff\xfe\r\ncontent-length: 0\r\n\r\n"
    put(service, sign_step(signer.port))
    answer = await service.check()
    assert answer.headers["x-apostille-reason"] == "invalid_header"
    assert answer.headers["x-apostille-status"] == "500"
    assert "authorization" not in answer.headers


async def test_an_unknown_program_shuts_the_door(service: Service) -> None:
    answer = await service.check()
    assert answer.status == 403
    assert answer.headers["x-apostille-status"] == "503"
    assert answer.headers["x-apostille-reason"] == "program_unknown"
    assert (
        service.registry.get_sample_value(
            "apostille_auth_decisions_total", {"policy": "", "verdict": "broken", "reason": "program_unknown"}
        )
        == 1
    )


async def test_the_steps_see_the_request_as_the_client_sent_it(service: Service) -> None:
    seen: list[AuthRequest] = []

    async def keep(request: AuthRequest) -> Verdict:
        seen.append(request)
        return Allow()

    service.script.check = keep
    put(service, Step(name="s", kind="script", config=ScriptConfig()))
    await service.check("PATCH", "/a", body=b"unasked", x_apostille_path="/%61?b=%20", x_a="1")
    (request,) = seen
    assert (request.method, request.path, request.body) == ("PATCH", "/%61?b=%20", None)
    assert request.headers["x-a"] == "1"
    assert not any(name.startswith("x-apostille-") for name in request.headers)


async def test_the_steps_see_that_there_is_a_header_that_the_web_server_cannot_read(service: Service) -> None:
    seen: list[str | None] = []

    async def keep(request: AuthRequest) -> Verdict:
        seen.append(request.headers.get("x-amz-acl"))
        return Allow()

    service.script.check = keep
    put(service, Step(name="s", kind="script", config=ScriptConfig()))
    await service.check(x_amz_acl="public-\u00e9")
    await service.check(x_amz_acl="public")
    await service.check()
    assert seen == [UNREADABLE, "public", None]


async def test_the_answer_to_a_head_request_is_whole(service: Service) -> None:
    put(service, KEY_STEP)
    put_ring(service, ALICE)
    assert (await service.check("HEAD", api_key=KEY)).headers["x-apostille-consumer"] == "alice"
    assert (await service.check("HEAD")).status == 401


async def test_a_denial_of_a_head_request_announces_no_text(service: Service) -> None:
    """Envoy would wait for it, and take the answer for none."""

    async def refuse(request: AuthRequest) -> Verdict:
        return Deny(status=400, reason="a_reason", body="in words\n")

    service.script.check = refuse
    put(service, Step(name="s", kind="script", config=ScriptConfig()))
    head, get = await service.check("HEAD"), await service.check("GET")
    assert (get.status, get.headers["content-length"], get.body) == (400, "9", "in words\n")
    assert (head.status, head.headers["x-apostille-reason"]) == (400, "a_reason")
    assert head.headers.get("content-length", "0") == "0"


async def test_health_and_metrics_are_pages_of_their_own(service: Service) -> None:
    put(service, KEY_STEP)
    put_ring(service, ALICE)
    await service.check(api_key=KEY)
    async with service.http.get("http://auth/healthz") as response:
        assert (response.status, await response.text()) == (200, "ok\n")
    async with service.http.get("http://auth/metrics") as response:
        text = await response.text()
        assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'apostille_auth_decisions_total{policy="gateway/keys",reason="",verdict="allow"} 1.0' in text
    for method, path in (("GET", "/"), ("POST", "/healthz"), ("GET", "/metrics/x")):
        async with service.http.request(method, f"http://auth{path}") as response:
            assert response.status == 404


async def test_a_denial_leaves_one_line_that_says_what_was_decided(service: Service) -> None:
    put(service, KEY_STEP)
    put_ring(service, ALICE)
    await service.check()
    (line,) = service.lines
    assert line.pop("time")
    assert float(str(line.pop("duration_ms"))) >= 0
    assert line == {
        "event": "auth_decision",
        "level": "info",
        "program": PROGRAM,
        "policy": "gateway/keys",
        "route": "table/0",
        "request_id": "id-1",
        "verdict": "deny",
        "status": 401,
        "step": "key",
        "reason": "api_key_missing_or_invalid",
    }


async def test_an_approval_is_counted_and_leaves_a_line_only_when_a_step_was_passed_over(service: Service) -> None:
    put(service, Step(name="s", kind="script", config=ScriptConfig()))
    await service.check()
    assert service.lines == []

    async def pass_over(request: AuthRequest) -> Verdict:
        return Allow(bypassed=True, cause="timeout", consumer="alice")

    service.script.check = pass_over
    await service.check()
    (line,) = service.lines
    assert (line["verdict"], line["status"], line["level"]) == ("allow", 200, "warning")
    assert (line["bypassed"], line["cause"], line["consumer"]) == (["s"], "timeout", "alice")
    counted = {"policy": "gateway/keys", "verdict": "allow", "reason": ""}
    assert service.registry.get_sample_value("apostille_auth_decisions_total", counted) == 2


async def test_a_program_that_wants_the_body_sees_it_whether_there_is_one_or_not(service: Service) -> None:
    seen: list[bytes | None] = []

    async def keep(request: AuthRequest) -> Verdict:
        seen.append(request.body)
        return Allow()

    service.script.check = keep
    put(service, Step(name="s", kind="script", config=ScriptConfig(), headers=HeaderUse(body=True)))
    for body in (None, b"", b"cake", bytes(200_000)):
        await service.check("PUT", body=body)
    assert seen == [b"", b"", b"cake", bytes(200_000)]


async def test_no_secret_is_in_the_log_the_metrics_or_a_denial(
    service: Service, signer: Signer, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    async def fail(request: AuthRequest) -> Verdict:
        raise RuntimeError(f"canary {request.headers}")

    put(service, KEY_STEP, sign_step(signer.port))
    put_ring(service, ALICE)
    answers = [await service.check(api_key=KEY, path="/canary?canary"), await service.check(api_key="canary-wrong")]
    for reply in (b"HTTP/1.1 500 canary\r\nx: canary\r\ncontent-length: 6\r\n\r\ncanary", b"canary\r\n\r\n"):
        signer.answer = reply
        answers.append(await service.check(api_key=KEY))
    service.script.check = fail
    put(service, KEY_STEP, Step(name="s", kind="script", config=ScriptConfig()))
    answers.append(await service.check(api_key=KEY))
    assert [answer.status for answer in answers] == [200, 401, 403, 403, 403]
    assert [line["status"] for line in service.lines] == [401, 500, 500, 503]
    assert service.lines[-1]["cause"] == "RuntimeError"
    async with service.http.get("http://auth/metrics") as response:
        metrics = await response.text()
    captured = capfd.readouterr()
    for text in (service.log.getvalue(), metrics, repr(answers[1:]), caplog.text, captured.out, captured.err):
        assert "canary" not in text
    assert "canary" not in repr(service.programs.find(PROGRAM))


async def test_the_socket_is_for_our_user_only(service: Service) -> None:
    assert stat.S_IMODE(service.socket.stat().st_mode) == 0o600


async def test_stopping_answers_what_is_under_way_and_takes_the_socket_away(service: Service) -> None:
    asked, release = asyncio.Event(), asyncio.Event()

    async def wait(request: AuthRequest) -> Verdict:
        asked.set()
        await release.wait()
        return Allow()

    service.script.check = wait
    put(service, Step(name="s", kind="script", config=ScriptConfig()))
    check = asyncio.create_task(service.check())
    await asked.wait()
    service.stop.set()
    for _ in range(20):
        # Turns of the loop, so that the stop has begun before the answer is there.
        await asyncio.sleep(0)
    assert not service.serving.done()
    release.set()
    assert (await check).status == 200
    await service.serving
    assert not service.socket.exists()


async def test_a_program_is_replaced_under_load_and_no_request_fails(service: Service) -> None:
    put(service, KEY_STEP)
    put_ring(service, ALICE)
    stop = asyncio.Event()

    async def ask() -> set[int]:
        statuses = set()
        while not stop.is_set():
            statuses.add((await service.check(api_key=KEY)).status)
        return statuses

    askers = [asyncio.create_task(ask()) for _ in range(4)]
    for _ in range(50):
        put(service, KEY_STEP)
        put_ring(service, ALICE)
        await service.check(api_key=KEY)
    stop.set()
    assert await asyncio.gather(*askers) == [{200}] * 4
