from __future__ import annotations

import asyncio
import ssl
import stat
from pathlib import Path

import pytest

from apostille.demo.certificates import make_authority


async def handshake(folder: Path, *, issued: str, asked: str) -> None:
    authority = make_authority(folder)
    certificate = authority.issue(issued)
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(certificate.chain, certificate.key)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=server_side)
    async with server:
        client_side = ssl.create_default_context(cafile=authority.roots)
        address = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(*address, ssl=client_side, server_hostname=asked)
        await reader.read()
        writer.close()
        await writer.wait_closed()


async def test_a_client_that_trusts_the_roots_accepts_the_name(tmp_path: Path) -> None:
    await handshake(tmp_path, issued="bucket.example.com", asked="bucket.example.com")


async def test_the_certificate_is_for_no_other_name(tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        await handshake(tmp_path, issued="bucket.example.com", asked="other.example.com")


def test_only_the_owner_reads_a_key_also_when_it_is_written_again(tmp_path: Path) -> None:
    authority = make_authority(tmp_path)
    key = authority.issue("bucket.example.com").key
    first = key.read_bytes()
    key.chmod(0o644)
    assert authority.issue("bucket.example.com").key.read_bytes() != first
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir() if b"PRIVATE" in path.read_bytes()] == [key.name]
