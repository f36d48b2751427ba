"""Every way to a store, tried with real servers: TCP, TLS, an ACL user, Sentinel, and a cluster of one node."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from apostille.base.clock import SystemClock
from apostille.base.secrets import SecretText
from apostille.keys.address import parse_address
from apostille.keys.changes import Changed, Seeing
from apostille.keys.connection import StoreConnection
from apostille.keys.errors import DamagedRecord, StoreUnavailable
from apostille.keys.fingerprint import fingerprint
from apostille.keys.limiter import GRANTED, Limited, Limiter
from apostille.keys.record import State
from apostille.keys.settings import PepperSource
from apostille.keys.store import KeyStore
from apostille.keys.transfer import export_lines
from tests.unit.credentials.stand_ins import START
from tests.unit.keys.limits import new_subject, quota, rate
from tests.unit.keys.valkey import PEPPER, Server, make_record, server_in

CANARY = "CANARY-51b6"
PAGE = Path(__file__).parents[3] / "docs" / "reference" / "key-store.md"
# What a user of the store needs, as the page says.
RIGHTS = (
    *("-@all", "+get", "+set", "+mget", "+del", "+exists", "+incr", "+hset", "+hdel", "+hmget", "+scan"),
    *("+time", "+pttl", "+pexpire", "+eval", "+evalsha", "+publish", "+subscribe", "+unsubscribe", "+ping", "+select"),
)
Starting = Callable[..., tuple[Server, int]]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def starting(socket_dir: Path) -> Iterator[Starting]:
    """Starts servers that listen on a port as well, with other users and further settings."""
    servers: list[Server] = []

    def start(*settings: str) -> tuple[Server, int]:
        port = free_port()
        server = server_in(socket_dir / f"keys-{len(servers)}")
        argv = server.embedded.argv
        user = argv.index("--user")
        rest = argv[user + 1 :]
        # A user can be defined once only.
        after = next(number for number, word in enumerate(rest) if word.startswith("--"))
        server.argv = (*argv[:user], *rest[after:], "--port", str(port), "--bind", "127.0.0.1", *settings)
        server.start()
        servers.append(server)
        return server, port

    yield start
    for server in servers:
        server.kill()


async def limits_work(url: str) -> None:
    connection = StoreConnection(parse_address(SecretText(url)))
    limiter = Limiter(connection, SystemClock())
    try:
        limits = replace(quota(5), rate=rate(0.001, burst=1).rate)
        subject = new_subject()
        assert await limiter.take(subject, limits) is GRANTED
        assert isinstance(await limiter.take(subject, limits), Limited)
        assert limiter.trouble is None
    finally:
        await limiter.close()
        await connection.close()


async def store_works(url: str) -> None:
    await limits_work(url)
    store = KeyStore.at(parse_address(SecretText(url)), SystemClock())
    changes = store.follow(interval=0.05)
    damages: list[DamagedRecord] = []
    try:
        async with asyncio.timeout(20):
            while not isinstance(await anext(changes), Seeing):
                pass
            await store.pepper_check(PepperSource(PEPPER)).claim()
            assert await store.fingerprint() == fingerprint(PEPPER)
            stored = await store.put(make_record())
            while not isinstance(event := await anext(changes), Changed):
                pass
            assert event == Changed(id=stored.id)
            rotated = await store.rotate(stored, make_record(), START)
            await store.touch({stored.id: START})
            revoked = await store.revoke(rotated.successor.id)
            assert revoked.state is State.REVOKED
            found = await store.get(stored.id)
            assert found is not None
            assert found.last_used == START
            loaded = [make_record() for _ in range(20)]
            assert await store.load(loaded) == ()
            page = await store.page(limit=1000)
            assert {record.id for record in page.records} >= {stored.id, revoked.id}
            lines = [line async for line in export_lines(store, damages.append)]
            assert not damages
            assert {line[:12].decode() for line in lines} >= {record.id for record in loaded}
            assert await store.delete(stored.id)
            assert await store.get(stored.id) is None
    finally:
        await changes.aclose()  # type: ignore[attr-defined]
        await store.close()


async def test_a_store_behind_a_port_works(starting: Starting) -> None:
    _, port = starting()
    await store_works(f"redis://127.0.0.1:{port}/0")


async def test_a_user_with_few_rights_is_enough(starting: Starting) -> None:
    server, port = starting(
        "--user", "keys", "on", f">{CANARY}", "~apo:*", "&apo:*", *RIGHTS, "--user", "default", "off"
    )
    await store_works(f"redis://keys:{CANARY}@127.0.0.1:{port}")
    await store_works(f"unix://keys:{CANARY}@{server.embedded.socket}")


def test_the_page_says_which_rights_are_enough() -> None:
    assert f"user apostille on >PASSWORD ~apo:* &apo:* {' '.join(RIGHTS)}\n" in PAGE.read_text(encoding="utf-8")


async def test_a_wrong_password_is_told_without_it(starting: Starting, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    _, port = starting("--user", "keys", "on", ">right", "~*", "+@all", "--user", "default", "off")
    connection = StoreConnection(parse_address(SecretText(f"redis://keys:{CANARY}@127.0.0.1:{port}")))
    with pytest.raises(StoreUnavailable, match="AuthenticationError") as refused:
        await connection.ask("GET", "apo:version")
    await connection.close()
    assert CANARY not in f"{refused.value!r} {connection!r} {caplog.text}"


@asynccontextmanager
async def ending_tls(port: int, context: ssl.SSLContext) -> AsyncIterator[int]:
    """Stands before a server that knows no TLS, as stunnel does; gives its own port."""
    tasks: set[asyncio.Task[None]] = set()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", port)
        for source, sink in ((reader, behind_writer), (behind_reader, writer)):
            tasks.add(asyncio.create_task(copy(source, sink)))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


async def test_a_store_behind_tls_works(starting: Starting, authority: trustme.CA, tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    ours = authority.issue_cert("client.example")
    ours.private_key_pem.write_to_path(tmp_path / "key.pem")
    ours.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    _, port = starting()
    async with ending_tls(port, context) as outside:
        await store_works(
            f"rediss://127.0.0.1:{outside}?ca={tmp_path}/ca.pem&cert={tmp_path}/cert.pem&key={tmp_path}/key.pem"
        )


@pytest.mark.parametrize("fault", ["another authority", "another name"])
async def test_a_certificate_that_is_not_the_stores_is_refused(
    starting: Starting, authority: trustme.CA, tmp_path: Path, fault: str
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    name = "127.0.0.1" if fault == "another authority" else "other.example"
    (trustme.CA() if fault == "another authority" else authority).issue_cert(name).configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    _, port = starting()
    async with ending_tls(port, context) as outside:
        connection = StoreConnection(parse_address(SecretText(f"rediss://127.0.0.1:{outside}?ca={tmp_path}/ca.pem")))
        with pytest.raises(StoreUnavailable):
            await connection.ask("PING")
        await connection.close()


async def test_the_primary_is_found_through_a_sentinel(starting: Starting, socket_dir: Path) -> None:
    server, port = starting("--user", "default", "on", "nopass", "~*", "&*", "+@all")
    sentinel_port = free_port()
    folder = socket_dir / "sentinel"
    folder.mkdir()
    config = folder / "sentinel.conf"
    config.write_text(
        f"port {sentinel_port}\nbind 127.0.0.1\ndir {folder}\n"
        f"sentinel monitor keys 127.0.0.1 {port} 1\n"
        f"requirepass {CANARY}\n"
    )
    sentinel = server_in(folder)
    sentinel.argv = (server.embedded.argv[0], str(config), "--sentinel")
    sentinel.ready = "+monitor"
    sentinel.start_unmended()
    try:
        await store_works(f"redis+sentinel://127.0.0.1:{sentinel_port}/keys?sentinel_password={CANARY}")
    finally:
        sentinel.kill()


async def test_a_cluster_of_one_node_works(starting: Starting) -> None:
    server, port = starting(
        *("--cluster-enabled", "yes", "--cluster-port", str(free_port())),
        *("--user", "default", "on", "nopass", "~*", "&*", "+@all"),
    )
    async with server.raw() as raw:
        await raw.command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        server.wait_until_it_says("Cluster state changed: ok")
    await store_works(f"redis+cluster://127.0.0.1:{port}")


async def test_a_store_that_does_not_answer_is_waited_for_no_longer_than_its_limit() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        connection = StoreConnection(parse_address(SecretText(f"redis://127.0.0.1:{port}")), limit=0.05)
        with pytest.raises(StoreUnavailable, match="Timeout"):
            async with asyncio.timeout(20):
                await connection.ask("GET", "apo:version")
        await connection.close()
