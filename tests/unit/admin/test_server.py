from __future__ import annotations

import socket
from ipaddress import ip_address

import pytest

from apostille.admin.server import open_admin_port, parse_admin_address
from apostille.base.errors import StartError


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1"])
def test_loopback_addresses_need_no_token(address: str) -> None:
    assert parse_admin_address(address, has_token=False) == address


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.168.1.7", "203.0.113.9", "::ffff:127.0.0.1"])
def test_another_address_needs_a_token(address: str) -> None:
    with pytest.raises(StartError, match="APOSTILLE_ADMIN_TOKEN"):
        parse_admin_address(address, has_token=False)
    assert ip_address(parse_admin_address(address, has_token=True)) == ip_address(address)


@pytest.mark.parametrize("text", ["", "localhost", "127.0.0.1:80", "127.1", "*"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(StartError, match=r"127\.0\.0\.1"):
        parse_admin_address(text, has_token=True)


def test_a_port_that_is_taken_is_told_with_a_way_out() -> None:
    with open_admin_port(0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=f"127.0.0.1:{port} cannot be opened.*--admin-port"):
            open_admin_port(port)


def test_half_an_answer_does_not_wait_for_an_acknowledgement() -> None:
    """asyncio sees to it for sockets that say that they are TCP."""
    with open_admin_port(0) as opened:
        assert opened.proto == socket.IPPROTO_TCP
