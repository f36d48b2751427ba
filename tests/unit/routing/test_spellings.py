from __future__ import annotations

import pytest
import re2

from apostille.routing.spellings import ODD_PATH

ODD = [
    "/..", "/.", "/a/../b", "/a/./b", "/a/..", "/a/..?q", "/a/..;x/b", "//", "/a//b", "/a\\b", "/a/%2e%2e/b", "/%2E",
    "/a%2Fb", "/a%2fb", "/a%5Cb", "/a%00", "/%61dmin", "/%41", "/a%7Eb", "/a%2Db", "/%", "/a%", "/a%4", "/a%zz",
    "/a%4z", "/%%41", "/a//?x", "/a<b", "/a`b", '/?prefix="', "/?a>b",
]  # fmt: skip
PLAIN = [
    "/", "/a", "/a/b/", "/a.b", "/..a", "/a..", "/a...b/c", "/...", "/a%20b", "/%C3%A9", "/%c3%a9", "/a;b", "/a=b@c:d",
    "/a?x=../..//%2F%61", "/?//", "/a%25b", "/a%3Fb", "/.hidden", "/a/.well-known/x",
]  # fmt: skip


@pytest.mark.parametrize("path", ODD)
def test_odd_spellings_are_known(path: str) -> None:
    assert re2.fullmatch(ODD_PATH, path) is not None


@pytest.mark.parametrize("path", PLAIN)
def test_plain_spellings_are_left_alone(path: str) -> None:
    assert re2.fullmatch(ODD_PATH, path) is None
