from __future__ import annotations

from urllib.parse import quote_from_bytes

import pytest

from apostille.signing import canonical


@pytest.mark.parametrize(
    ("client", "sent"),
    [
        ("", "/"),
        ("/", "/"),
        ("/a b", "/a%20b"),
        (b"/a b", "/a%20b"),
        ("/a+b", "/a%2Bb"),
        ("/a%2Bb", "/a%2Bb"),
        ("/%7Ex", "/~x"),
        ("/%c3%a9", "/%C3%A9"),
        ("/é", "/%C3%A9"),
        (b"/\xff\xc3", "/%FF%C3"),
        ("/a%2Fb", "/a/b"),
        ("/a//b/", "/a//b/"),
        ("//a", "//a"),
        ("/a/./../b/..", "/a/./../b/.."),
        ("/%2e%2E/a", "/../a"),
        ("/100%", "/100%25"),
        ("/%zz%4", "/%25zz%254"),
        ("/%2541", "/%2541"),
        ("/a%00b%0A\n", "/a%00b%0A%0A"),
        ("/?#[]@!$&'()*,;=:", "/%3F%23%5B%5D%40%21%24%26%27%28%29%2A%2C%3B%3D%3A"),
    ],
)
def test_an_s3_path_is_a_name_of_bytes_with_one_spelling(client: str | bytes, sent: str) -> None:
    assert canonical.canonical_path(client, s3=True) == sent
    assert canonical.canonical_uri(sent, s3=True) == sent


@pytest.mark.parametrize(
    ("client", "sent", "signed"),
    [
        ("", "/", "/"),
        ("//example//", "/example/", "/example/"),
        ("/a/../..", "/", "/"),
        ("/a/b/..", "/a", "/a"),
        ("/a/./b/", "/a/b/", "/a/b/"),
        ("/a/%2e%2e/b", "/b", "/b"),
        ("/a b", "/a%20b", "/a%2520b"),
        ("/tags/arn%3aaws%2Fx", "/tags/arn%3Aaws%2Fx", "/tags/arn%253Aaws%252Fx"),
        ("/a:b@c", "/a%3Ab%40c", "/a%253Ab%2540c"),
        (b"/\xff", "/%FF", "/%25FF"),
    ],
)
def test_other_services_resolve_the_path_and_sign_it_encoded_twice(client: str | bytes, sent: str, signed: str) -> None:
    assert canonical.canonical_path(client, s3=False) == sent
    assert canonical.canonical_uri(sent, s3=False) == signed


@pytest.mark.parametrize("s3", [True, False])
@pytest.mark.parametrize("path", ["*", "http://example.com/", b"a"])
def test_a_path_that_begins_with_no_slash_is_refused(path: str | bytes, s3: bool) -> None:
    with pytest.raises(ValueError, match="begins with '/'"):
        canonical.canonical_path(path, s3=s3)


@pytest.mark.parametrize("value", range(256))
def test_each_byte_has_one_spelling_which_is_recognised_as_final(value: int) -> None:
    byte = bytes([value])
    in_query, in_s3_path = quote_from_bytes(byte, safe=""), quote_from_bytes(byte, safe="/")
    for client in (f"%{value:02x}", f"%{value:02X}", in_query):
        assert canonical.canonical_query(f"{client}={client}") == f"{in_query}={in_query}"
        assert canonical.canonical_path(f"/{client}", s3=True) == f"/{in_s3_path}"
        assert canonical.canonical_path(f"/a{client}", s3=False) == f"/a{in_query}"
    assert canonical.canonical_path(b"/" + byte, s3=True) == f"/{in_s3_path}"


@pytest.mark.parametrize(
    ("client", "signed"),
    [
        ("", ""),
        ("acl", "acl="),
        ("acl=", "acl="),
        ("b=2&a=1", "a=1&b=2"),
        ("a=2&a=10&a=1", "a=1&a=10&a=2"),
        ("a-b=1&a=2", "a=2&a-b=1"),
        ("B=1&a=2", "B=1&a=2"),
        ("&&a=1&", "a=1"),
        ("a=b=c", "a=b%3Dc"),
        ("=x", "=x"),
        ("a=1;b=2", "a=1%3Bb%3D2"),
        ("prefix=a/b c", "prefix=a%2Fb%20c"),
        ("a+b=c+d", "a%20b=c%20d"),
        ("a=%2B", "a=%2B"),
        ("a=%7e%c3%a9", "a=~%C3%A9"),
        (b"\xc3\xa9=\xff", "%C3%A9=%FF"),
        ("a=100%", "a=100%25"),
        ("a=?/", "a=%3F%2F"),
    ],
)
def test_a_query_is_sorted_and_spelled_one_way(client: str | bytes, signed: str) -> None:
    assert canonical.canonical_query(client) == signed


def test_the_target_to_send_is_path_and_query() -> None:
    assert canonical.canonical_target("/a b", "z=1&acl") == "/a%20b?acl=&z=1"
    assert canonical.canonical_target("/a", "") == "/a"
    assert canonical.canonical_target("/a", "&") == "/a"
    assert canonical.canonical_target(b"/a", b"x") == "/a?x="


def test_values_of_a_repeated_name_keep_their_order_on_the_wire_where_it_may_matter() -> None:
    assert canonical.canonical_target("/", "b=2&a=9&b=1", s3=False) == "/?a=9&b=2&b=1"
    assert canonical.canonical_target("/", "b=2&a=9&b=1", s3=True) == "/?a=9&b=1&b=2"


def test_headers_are_lowered_sorted_trimmed_collapsed_and_joined() -> None:
    block, names = canonical.canonical_headers(
        [("X-B", "  a   b\t c "), ("Content-Type", "text/plain"), ("x-b", "2"), ("X-A", ""), ("x-b", "\t")]
    )
    assert block == "content-type:text/plain\nx-a:\nx-b:a b c,2,\n"
    assert names == "content-type;x-a;x-b"


@pytest.mark.parametrize("name", ["", "a b", "a:b", ":path", "a\n", "é"])
def test_a_name_that_no_header_can_have_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no header name"):
        canonical.canonical_headers([(name, "x")])


@pytest.mark.parametrize("value", ["a\nx-amz-acl:public-read", "a\r", "\0", "\ud800"])
def test_a_value_that_would_forge_a_line_is_refused_and_not_repeated(value: str) -> None:
    with pytest.raises(ValueError, match="header x-a has a control character") as refused:
        canonical.canonical_headers([("x-a", value)])
    assert value not in str(refused.value)


def test_a_gateway_signs_what_s3_demands_and_what_the_body_is() -> None:
    headers = (
        ("X-Amz-Acl", "private"),
        ("user-agent", "curl"),
        ("Content-Type", "text/plain"),
        ("x-amzn-trace-id", "1"),
        ("content-md5", "x"),
        ("content-length", "3"),
    )
    assert canonical.signable_headers(headers) == (headers[0], headers[2], headers[4])


def test_names_in_a_query_cannot_hide_behind_a_spelling() -> None:
    assert canonical.query_names("a=1&X%2Damz-SIGNATURE=2&%ff") == {"a", "x-amz-signature", "\ufffd"}


@pytest.mark.parametrize(("service", "s3"), [("s3", True), ("s3-outposts", True), ("s3tables", False), ("sqs", False)])
def test_services_that_follow_the_rules_of_s3(service: str, s3: bool) -> None:
    assert canonical.is_s3(service) is s3
