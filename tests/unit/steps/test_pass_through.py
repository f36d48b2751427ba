"""The exchange with the user's own service, seen as bytes by a server that understands just enough HTTP."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest
import trustme

from apostille.auth.client import open_session
from apostille.auth.keyrings import KeyRingStore
from apostille.base.clock import SystemClock
from apostille.sdk import Allow, AuthRequest, AuthStep, Deny, Endpoint, SecretText, StepTools
from apostille.steps.pass_through import KIND
from apostille.steps.pass_through_spec import PassThroughConfig

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
FAILED = "pass_through_failed"

CONFIG = PassThroughConfig(
    scheme="http",
    authority="signer.test:3000",
    path="/sign",
    endpoints=(),
    server_name=None,
    timeout_ms=30_000,
    header_timeout_ms=None,
    max_connections=None,
    copy=(),
    add=(),
    send_body=False,
    send_state=False,
    send_filter_metadata=False,
    custom=None,
    append=(),
    overwrite=(),
    on_denied=(),
    read_state=False,
    allow_on_failure=False,
)
REQUEST = AuthRequest(
    method="DELETE",
    path="/secret-path?q=1",
    headers={"x-request-id": "id-1", "cookie": "canary", "content-type": "text/plain", "user-agent": "curl"},
    body=b"caf\xc3\xa9 \xff",
    state={"api_key_value": "key-1"},
)


@dataclass
class Signer:
    """Answers every request with `answer`; None: it never answers. `requests` are the bytes it got."""

    answer: bytes | None = OK
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line.partition(b":")[2])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length")
                )
                self.requests.append(head + await reader.readexactly(length))
                self.asked.set()
                if self.answer is not None:
                    writer.write(self.answer)
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            self.hung_up.set()
        finally:
            writer.close()

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(host="127.0.0.1", port=self.port)


@asynccontextmanager
async def running(signer: Signer, tls: ssl.SSLContext | None = None) -> AsyncIterator[Signer]:
    server = await asyncio.start_server(signer.serve, "127.0.0.1", 0, ssl=tls)
    signer.port = server.sockets[0].getsockname()[1]
    try:
        yield signer
    finally:
        server.close()
        await server.wait_closed()


@pytest.fixture
async def signer() -> AsyncIterator[Signer]:
    async with running(Signer()) as signer:
        yield signer


Start = Callable[[PassThroughConfig], AuthStep]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    async with open_session() as http:
        tools = StepTools(clock=SystemClock(), keyrings=KeyRingStore(), http=http)
        yield lambda config: KIND.start(config, tools)


def to(signer: Signer, config: PassThroughConfig = CONFIG) -> PassThroughConfig:
    return replace(config, endpoints=(signer.endpoint,))


class TestTheRequest:
    async def test_nothing_of_the_client_goes_along_unless_it_is_named(self, signer: Signer, start: Start) -> None:
        assert await start(to(signer)).check(REQUEST) == Allow()
        assert signer.requests == [b"POST /sign HTTP/1.1\r\nhost: signer.test:3000\r\nContent-Length: 0\r\n\r\n"]

    async def test_named_headers_are_copied_and_added_ones_win(self, signer: Signer, start: Start) -> None:
        config = replace(
            to(signer),
            copy=("x-request-id", "user-agent", "x-absent"),
            add=(("user-agent", SecretText("apostille")), ("x-token", SecretText("t"))),
        )
        await start(config).check(REQUEST)
        assert signer.requests == [
            (
                b"POST /sign HTTP/1.1\r\nhost: signer.test:3000\r\nx-request-id: id-1\r\nuser-agent: apostille\r\n"
                b"x-token: t\r\nContent-Length: 0\r\n\r\n"
            )
        ]

    async def test_the_body_holds_just_the_parts_that_were_asked_for(self, signer: Signer, start: Start) -> None:
        config = replace(to(signer), custom=SecretText('{"method":"GET","path":"/é"}'))
        await start(config).check(REQUEST)
        body = '{"config":{"method":"GET","path":"/é"}}'.encode()
        assert signer.requests == [
            b"POST /sign HTTP/1.1\r\nhost: signer.test:3000\r\ncontent-type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        ]

    async def test_all_parts_can_be_asked_for(self, signer: Signer, start: Start) -> None:
        config = replace(
            to(signer), custom=SecretText("{}"), send_body=True, send_state=True, send_filter_metadata=True
        )
        await start(config).check(REQUEST)
        _, _, body = signer.requests[0].partition(b"\r\n\r\n")
        assert json.loads(body) == {
            "body": "café \N{REPLACEMENT CHARACTER}",
            "state": {"api_key_value": "key-1"},
            "filterMetadata": {},
            "config": {},
        }

    async def test_a_copied_content_type_does_not_lie_about_our_json(self, signer: Signer, start: Start) -> None:
        config = replace(to(signer), copy=("content-type",))
        await start(replace(config, send_state=True)).check(REQUEST)
        await start(config).check(REQUEST)
        assert b"content-type: application/json\r\n" in signer.requests[0]
        assert b"content-type: text/plain\r\n" in signer.requests[1]

    async def test_the_path_goes_out_as_it_was_written(self, signer: Signer, start: Start) -> None:
        await start(replace(to(signer), path="/a/../b%2F%7e//c?x=%20&y=+")).check(REQUEST)
        assert signer.requests[0].startswith(b"POST /a/../b%2F%7e//c?x=%20&y=+ HTTP/1.1\r\n")

    async def test_without_addresses_the_name_is_resolved(self, signer: Signer, start: Start) -> None:
        config = replace(CONFIG, endpoints=None, authority=f"localhost:{signer.port}")
        assert await start(config).check(REQUEST) == Allow()
        assert f"host: localhost:{signer.port}\r\n".encode() in signer.requests[0]

    async def test_one_connection_serves_many_checks(self, signer: Signer, start: Start) -> None:
        signer.answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nset-cookie: a=b\r\n\r\nhello"
        step = start(to(signer))
        for _ in range(3):
            await step.check(REQUEST)
        assert signer.connections == 1
        assert len(set(signer.requests)) == 1


class TestTheAnswer:
    async def test_only_named_headers_come_back(self, signer: Signer, start: Start) -> None:
        signer.answer = (
            b"HTTP/1.1 200 OK\r\nAuthorization: sig\r\nX-Set: 1\r\nx-set: 2\r\nx-add: 3\r\nX-Add: 4\r\n"
            b"x-other: no\r\ncontent-length: 0\r\n\r\n"
        )
        config = replace(to(signer), append=("authorization", "x-add", "x-absent"), overwrite=("x-set",))
        assert await start(config).check(REQUEST) == Allow(
            set_headers=(("x-set", "1,2"),),
            append_headers=(("authorization", "sig"), ("x-add", "3"), ("x-add", "4")),
        )

    @pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 403, 404, 429, 499])
    @pytest.mark.parametrize("allow_on_failure", [False, True])
    async def test_a_refusal_keeps_its_status_and_its_named_headers(
        self, signer: Signer, start: Start, status: int, allow_on_failure: bool
    ) -> None:
        signer.answer = (
            f"HTTP/1.1 {status} No\r\nlocation: http://127.0.0.1:{signer.port}/elsewhere\r\nx-sign-error: why\r\n"
            "content-length: 6\r\n\r\ncanary"
        ).encode()
        config = replace(to(signer), on_denied=("x-sign-error",), allow_on_failure=allow_on_failure)
        verdict = await start(config).check(REQUEST)
        assert verdict == Deny(status=status, reason="pass_through_refused", headers=(("x-sign-error", "why"),))
        assert len(signer.requests) == 1

    async def test_a_redirect_shows_its_location_only_when_that_is_named(self, signer: Signer, start: Start) -> None:
        signer.answer = b"HTTP/1.1 302 Found\r\nlocation: https://login.test/\r\ncontent-length: 0\r\n\r\n"
        verdict = await start(replace(to(signer), on_denied=("location",))).check(REQUEST)
        assert isinstance(verdict, Deny)
        assert verdict.headers == (("location", "https://login.test/"),)

    @pytest.mark.parametrize("status", [201, 202, 299])
    async def test_a_success_that_is_not_200_denies_in_any_mode(
        self, signer: Signer, start: Start, status: int
    ) -> None:
        signer.answer = f"HTTP/1.1 {status} Fine\r\ncontent-length: 0\r\n\r\n".encode()
        verdict = await start(replace(to(signer), allow_on_failure=True)).check(REQUEST)
        assert verdict == Deny(status=500, reason=FAILED, broken=True, cause=f"status {status}")

    async def test_a_server_error_denies_with_500_and_the_named_headers(self, signer: Signer, start: Start) -> None:
        signer.answer = b"HTTP/1.1 503 Busy\r\nx-sign-error: none\r\ncontent-length: 0\r\n\r\n"
        config = replace(to(signer), on_denied=("x-sign-error",))
        assert await start(config).check(REQUEST) == Deny(
            status=500, reason=FAILED, headers=(("x-sign-error", "none"),), broken=True, cause="status 503"
        )
        assert await start(replace(config, allow_on_failure=True)).check(REQUEST) == Allow(
            bypassed=True, cause="status 503"
        )

    async def test_the_new_state_is_read_when_asked_for(self, signer: Signer, start: Start) -> None:
        body = b'{"state": {"a": [1]}, "other": 2}'
        signer.answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        assert await start(to(signer)).check(REQUEST) == Allow()
        assert await start(replace(to(signer), read_state=True)).check(REQUEST) == Allow(state={"a": [1]})

    @pytest.mark.parametrize(
        "body",
        [b"", b"canary", b"[]", b"{}", b'{"state": null}', b'{"state": []}', b"\xff", b"[" * 100_000, b" " * 1_100_000],
        ids=range(9),
    )
    async def test_a_state_that_cannot_be_read_denies_in_any_mode(
        self, signer: Signer, start: Start, body: bytes
    ) -> None:
        signer.answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        verdict = await start(replace(to(signer), read_state=True, allow_on_failure=True)).check(REQUEST)
        assert isinstance(verdict, Deny)
        assert (verdict.status, verdict.reason, verdict.broken) == (500, "state_unreadable", True)
        assert "canary" not in repr(verdict)

    async def test_a_long_body_nobody_reads_is_not_taken_in(self, signer: Signer, start: Start) -> None:
        signer.answer = b"HTTP/1.1 200 OK\r\ncontent-length: 999999999\r\n\r\n" + b"x" * 200_000
        assert await start(to(signer)).check(REQUEST) == Allow()
        await signer.hung_up.wait()


class TestFailure:
    """Each way to fail, closed by default and open at the author's word."""

    async def both(self, start: Start, config: PassThroughConfig, cause: str) -> None:
        closed = await start(config).check(REQUEST)
        assert closed == Deny(status=500, reason=FAILED, broken=True, cause=cause)
        opened = await start(replace(config, allow_on_failure=True)).check(REQUEST)
        assert opened == Allow(bypassed=True, cause=cause)

    async def test_nobody_listens(self, start: Start) -> None:
        async with running(Signer()) as gone:
            config = to(gone)
        await self.both(start, config, "ClientConnectorError")

    async def test_the_service_has_no_endpoint(self, start: Start) -> None:
        await self.both(start, CONFIG, "the Service has no ready endpoint")

    async def test_the_service_does_not_answer_in_time(self, signer: Signer, start: Start) -> None:
        signer.answer = None
        await self.both(start, replace(to(signer), timeout_ms=20), "timeout")
        assert len(signer.requests) == 2

    async def test_the_headers_do_not_come_in_time(self, signer: Signer, start: Start) -> None:
        signer.answer = None
        await self.both(start, replace(to(signer), header_timeout_ms=20), "timeout")

    async def test_the_body_does_not_end_in_time(self, signer: Signer, start: Start) -> None:
        signer.answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe"
        await self.both(start, replace(to(signer), timeout_ms=50), "timeout")

    async def test_the_service_talks_no_http(self, signer: Signer, start: Start) -> None:
        signer.answer = b"SSH-2.0-canary\r\n\r\n"
        await self.both(start, to(signer), "ClientResponseError")

    async def test_a_header_is_longer_than_any_signature(self, signer: Signer, start: Start) -> None:
        signer.answer = b"HTTP/1.1 200 OK\r\nx-a: " + b"a" * 40_000 + b"\r\ncontent-length: 0\r\n\r\n"
        await self.both(start, to(signer), "ClientResponseError")

    async def test_a_dead_endpoint_is_passed_over(self, signer: Signer, start: Start) -> None:
        async with running(Signer()) as gone:
            dead = gone.endpoint
        step = start(replace(CONFIG, endpoints=(dead, signer.endpoint)))
        assert [await step.check(REQUEST) for _ in range(4)] == [Allow()] * 4
        assert len(signer.requests) == 4

    async def test_the_chains_deadline_is_not_swallowed(self, signer: Signer, start: Start) -> None:
        signer.answer = None
        step = start(replace(to(signer), allow_on_failure=True))
        task = asyncio.create_task(_check(step))
        await signer.asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def test_no_more_connections_are_made_than_allowed(self, signer: Signer, start: Start) -> None:
        step = start(replace(to(signer), max_connections=1))
        assert await asyncio.gather(*(step.check(REQUEST) for _ in range(5))) == [Allow()] * 5
        assert signer.connections == 1


async def _check(step: AuthStep) -> None:
    await step.check(REQUEST)


async def test_an_https_service_must_prove_the_name_of_its_url(start: Start) -> None:
    authority = trustme.CA()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    names: list[str | None] = []
    # The parameters are the ssl module's.
    tls.sni_callback = lambda _socket, name, _context: names.append(name)
    authority.issue_cert("signer.test").configure_cert(tls)
    async with running(Signer(), tls) as signer:
        config = replace(to(signer), scheme="https", server_name="signer.test")
        verdict = await start(config).check(REQUEST)
    assert verdict == Deny(status=500, reason=FAILED, broken=True, cause="ClientConnectorCertificateError")
    assert names == ["signer.test"]
    assert signer.requests == []
