from __future__ import annotations

import pytest

from apostille.base.hostnames import covers, parse_hostname


@pytest.mark.parametrize("text", ["*", "a.b", "API.example.com", "*.foo.com", "*-bar.foo.com", "istio.io.", "localhost"])
def test_host_names_are_read_in_lower_case(text: str) -> None:
    assert parse_hostname(text) == text.lower()


@pytest.mark.parametrize(
    "text", ["", "a..b", "-a.b", "a.*.b", "**.a", "a_b.com", "10.0.0.1", "a" * 64 + ".com", "a." * 130 + "com", "a/b", "a:80"]
)
def test_what_is_no_host_name_is_refused_with_advice(text: str) -> None:
    with pytest.raises(ValueError, match=r"host name|only the first label"):
        parse_hostname(text)


@pytest.mark.parametrize(
    ("pattern", "host", "expected"),
    [
        ("*", "a.b", True),
        ("*", "*", True),
        ("a.b", "*", False),
        ("a.b", "a.b", True),
        ("*.foo.com", "x.foo.com", True),
        ("*.foo.com", "x.y.foo.com", True),
        ("*.foo.com", "foo.com", False),
        ("*.foo.com", "*.x.foo.com", True),
        ("*.x.foo.com", "*.foo.com", False),
        ("*-bar.foo.com", "a-bar.foo.com", True),
        ("*.foo.com", "xfoo.com", False),
    ],
)
def test_a_pattern_covers_what_lies_wholly_inside_it(pattern: str, host: str, expected: bool) -> None:
    assert covers(pattern, host) is expected
