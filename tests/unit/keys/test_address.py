from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apostille.base.secrets import SecretText
from apostille.keys.address import AddressError, StoreAddress, Topology, parse_address

CANARY = "CANARY-7d1f"


def parse(url: str) -> StoreAddress:
    return parse_address(SecretText(url))


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://keys.example", StoreAddress(hosts=(("keys.example", 6379),))),
        ("redis://[::1]:7000/3", StoreAddress(hosts=(("::1", 7000),), database=3)),
        ("redis://10.0.0.1:1/", StoreAddress(hosts=(("10.0.0.1", 1),))),
        ("redis://h?db=2", StoreAddress(hosts=(("h", 6379),), database=2)),
        ("redis://ada@h", StoreAddress(hosts=(("h", 6379),), user="ada")),
        ("redis://:pw@h", StoreAddress(hosts=(("h", 6379),), password=SecretText("pw"))),
        (
            "rediss://a%40b:p%2Fw%23%3A@h?ca=/etc/ca.pem&cert=/c.pem&key=/k.pem",
            StoreAddress(
                hosts=(("h", 6379),),
                tls=True,
                user="a@b",
                password=SecretText("p/w#:"),
                ca="/etc/ca.pem",
                cert="/c.pem",
                key="/k.pem",
            ),
        ),
        ("unix:///run/keys.sock", StoreAddress(socket="/run/keys.sock")),
        (
            "unix://ada:pw@/run/a%20b.sock?db=1",
            StoreAddress(socket="/run/a b.sock", database=1, user="ada", password=SecretText("pw")),
        ),
        (
            "redis+sentinel://ada:pw@a:1,b/primary/4?sentinel_user=s&sentinel_password=t",
            StoreAddress(
                topology=Topology.SENTINEL,
                hosts=(("a", 1), ("b", 26379)),
                service="primary",
                database=4,
                user="ada",
                password=SecretText("pw"),
                sentinel_user="s",
                sentinel_password=SecretText("t"),
            ),
        ),
        (
            "rediss+cluster://a,b:7001",
            StoreAddress(topology=Topology.CLUSTER, hosts=(("a", 6379), ("b", 7001)), tls=True),
        ),
    ],
)
def test_an_address_is_read_from_its_url(url: str, address: StoreAddress) -> None:
    assert parse(url) == address


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("", "scheme"),
        ("http://h", "scheme"),
        ("redis+sentinels://h/s", "scheme"),
        ("unix+cluster:///a", "scheme"),
        ("redis://", "host"),
        ("redis://h:0", "port"),
        ("redis://h:70000", "port"),
        ("redis://h:x", "port"),
        ("redis://[::1", "cannot be read"),
        ("redis://a,b", "several hosts"),
        ("redis://h/a", "database"),
        ("redis://h/1/2", "too long"),
        ("redis://h/-1", "database"),
        ("redis+cluster://h/1", "too long"),
        ("redis+sentinel://h", "service"),
        ("redis://h#x", "%23"),
        ("redis://h?tls=1", "options"),
        ("redis://h?db=1&db=2", "options"),
        ("redis://h?db", "cannot be read"),
        ("redis://h?ca=/a", "rediss"),
        ("rediss://h?cert=/a", "both"),
        ("unix://host/path", "absolute"),
        ("unix:path", "absolute"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused(url: str, text: str) -> None:
    with pytest.raises(AddressError, match=text):
        parse(url)


@pytest.mark.parametrize("rest", ["h:x", "h/x", "h?x=1", "a,b", "", "[", "h#"])
def test_no_error_holds_a_password(rest: str) -> None:
    with pytest.raises(AddressError) as refused:
        parse(f"redis://user:{CANARY}@{rest}")
    assert CANARY not in f"{refused.value} {refused.value!r}"
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


def test_an_address_shows_where_and_not_how() -> None:
    address = parse(f"rediss+sentinel://ada:{CANARY}@a:1,[::1]:2/primary?sentinel_password={CANARY}")
    assert address.shown == "rediss+sentinel://a:1,[::1]:2/primary"
    assert CANARY not in repr(address)
    assert parse("unix:///run/k").shown == "unix:///run/k"


@given(st.text(max_size=40), st.sampled_from(["", "redis://", "unix://", "redis+sentinel://", "redis://a:b@"]))
def test_any_text_is_an_address_or_an_address_error(text: str, before: str) -> None:
    try:
        address = parse(before + text)
    except AddressError:
        return
    assert address.hosts or address.socket
