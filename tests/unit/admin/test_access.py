"""Who comes in: with a token its holders, without one nobody's web page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from apostille.keys.store import KeyStore
from tests.unit.admin.serving import TOKEN, Answer, Serving, serving

EVERY = ("/v1/keys", "/v1/keys/export", "/status", "/metrics", "/openapi.json", "/nothing")
PROBES = ("/healthz", "/readyz")


@pytest.fixture
async def it(store: KeyStore) -> AsyncIterator[Serving]:
    async with serving(store) as it:
        yield it


@asynccontextmanager
async def raw(it: Serving, head: bytes) -> AsyncIterator[bytes]:
    """The answer to a head that no client would write."""
    host, _, port = it.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(head)
        yield await reader.readline()
    finally:
        writer.close()
        await writer.wait_closed()


def is_refused(answer: Answer, reason: str) -> bool:
    return (answer.status, answer.json["reason"]) == ({"token_missing_or_wrong": 401}.get(reason, 403), reason)


async def test_with_a_token_only_its_holder_comes_in(store: KeyStore) -> None:
    async with serving(store, token=TOKEN) as it:
        for path in EVERY:
            for shown in (
                None,
                "",
                TOKEN,
                f"Basic {TOKEN}",
                f"Bearer {TOKEN}x",
                f"Bearer {TOKEN[:-1]}",
                f"Bearer {TOKEN.upper()}",
                "Bearer ",
                "Bearer é",
                f"Bearer {TOKEN},Bearer {TOKEN}",
            ):
                answer = await it.ask("GET", path, **({} if shown is None else {"authorization": shown}))
                assert is_refused(answer, "token_missing_or_wrong"), (path, shown)
                assert answer.headers["www-authenticate"].startswith("Bearer")
                assert TOKEN not in answer.text + str(answer.headers)
        refused = await it.ask("POST", "/v1/keys", {"consumer": "a"})
        assert is_refused(refused, "token_missing_or_wrong")
        assert it.audit == []
        for path in PROBES:
            assert (await it.ask("GET", path)).status == 200
        for scheme in ("Bearer", "bearer"):
            made = await it.ask("POST", "/v1/keys", {"consumer": "a"}, authorization=f"{scheme} {TOKEN}")
            assert made.status == 201
        assert it.audit[0].actor == "token at 127.0.0.1"
        assert TOKEN not in repr(it.audit)


async def test_two_authorizations_are_none(store: KeyStore) -> None:
    async with serving(store, token=TOKEN) as it:
        line = f"authorization: Bearer {TOKEN}\r\n".encode()
        for times, status in ((1, b"200"), (2, b"401")):
            async with raw(it, b"GET /status HTTP/1.1\r\nhost: x\r\n" + line * times + b"\r\n") as answer:
                assert answer.split()[1] == status


async def test_a_token_holder_may_come_by_any_name(store: KeyStore) -> None:
    async with serving(store, token=TOKEN) as it:
        answer = await it.ask("GET", "/v1/keys", host="gateway.example.com", authorization=f"Bearer {TOKEN}")
        assert answer.status == 200


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:9900", "127.0.0.1", "127.0.0.1:80", "[::1]:9900", "127.9.9.9"]
)
async def test_without_a_token_loopback_names_are_served(it: Serving, host: str) -> None:
    assert (await it.ask("GET", "/v1/keys?limit=1", host=host)).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:9900",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.example@127.0.0.1",
        "0.0.0.0",
        "192.168.1.7",
        "2130706433",
        "127.1",
        "127.0.0.1:x",
        "localhost:80:80",
        "[::1",
        "localhost/",
        "localhost, evil.example",
        "",
    ],
)
@pytest.mark.parametrize("path", ["/v1/keys", "/healthz", "/status"])
async def test_a_name_that_was_made_to_point_here_is_refused(it: Serving, host: str, path: str) -> None:
    async with raw(it, f"GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n".encode()) as answer:
        assert answer.split()[1] in (b"403", b"400")


async def test_a_request_without_a_name_or_with_two_is_refused(it: Serving) -> None:
    for head in (b"GET /v1/keys HTTP/1.0\r\n\r\n", b"GET /v1/keys HTTP/1.1\r\nhost: localhost\r\nhost: a\r\n\r\n"):
        async with raw(it, head) as answer:
            assert answer.split()[1] in (b"403", b"400")


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:3000"},
        {"origin": "http://127.0.0.1:1"},
        {"origin": "http://127.0.0.1"},
        {"origin": "file://"},
        {"origin": "http://[::1"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": ""},
    ],
)
async def test_a_page_of_somebody_else_reads_and_writes_nothing(it: Serving, headers: dict[str, str]) -> None:
    for method, path, body in (
        ("GET", "/v1/keys", None),
        ("GET", "/v1/keys/export", None),
        ("POST", "/v1/keys", {"consumer": "a"}),
        ("OPTIONS", "/v1/keys", None),
        ("DELETE", "/v1/keys/abcdefghijkl", None),
        ("GET", "/status", None),
    ):
        answer = await it.ask(method, path, body, **headers)
        assert is_refused(answer, "foreign_page")
        assert not any(name.lower().startswith("access-control-") for name in answer.headers)
    assert it.audit == []


async def test_what_a_form_can_send_creates_no_key(it: Serving) -> None:
    """An old browser sends neither Origin nor Sec-Fetch-Site; it can send these types without asking first."""
    for media in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "text/plain;application/json",
    ):
        for path in ("/v1/keys", "/v1/keys/abcdefghijkl/revoke", "/v1/keys/import"):
            answer = await it.ask("POST", path, data=b'{"consumer": "a"}', content_type=media)
            assert answer.status == 415
    assert it.audit == []


async def test_a_page_of_our_own_and_a_person_are_served(it: Serving) -> None:
    for headers in ({"origin": it.url}, {"sec_fetch_site": "same-origin"}, {"sec_fetch_site": "none"}):
        assert (await it.ask("GET", "/v1/keys?limit=1", **headers)).status == 200
    made = await it.ask("POST", "/v1/keys", {"consumer": "a"}, origin=it.url, sec_fetch_site="same-origin")
    assert made.status == 201


async def test_who_really_connected_is_in_the_audit(it: Serving) -> None:
    made = await it.ask("POST", "/v1/keys", {"consumer": "a"}, x_forwarded_for="203.0.113.9", forwarded="for=1.2.3.4")
    assert made.status == 201
    assert it.audit[0].actor == "somebody at 127.0.0.1"
