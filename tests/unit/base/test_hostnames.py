from __future__ import annotations

import pytest

from apostille.base.hostnames import covers


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
