from __future__ import annotations

from pathlib import Path

import pytest

from apostille.admin.token import TOKEN, TOKEN_FILE, parse_admin_token
from apostille.base.errors import StartError

GOOD = "0123456789abcdef0123456789abcdef"


def test_a_token_comes_from_the_environment_or_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{GOOD}\n")
    assert parse_admin_token({}) is None
    assert parse_admin_token({TOKEN: "", TOKEN_FILE: ""}) is None
    for environ in ({TOKEN: GOOD}, {TOKEN_FILE: str(file)}):
        token = parse_admin_token(environ)
        assert token is not None
        assert token.reveal() == GOOD


@pytest.mark.parametrize("text", [GOOD[1:], f"{GOOD} x", f"{GOOD}é", f"{GOOD}\n{GOOD}", f"{GOOD}\x00", "x" * 5000, " "])
def test_a_token_that_is_none_is_refused_without_a_word_of_it(text: str, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(text)
    for environ in ({TOKEN: text}, {TOKEN_FILE: str(file)}):
        with pytest.raises(StartError, match="32 printable") as caught:
            parse_admin_token(environ)
        assert GOOD[1:] not in str(caught.value)


def test_two_tokens_or_a_file_that_is_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="leave one of them out"):
        parse_admin_token({TOKEN: GOOD, TOKEN_FILE: "x"})
    with pytest.raises(StartError, match="cannot be read"):
        parse_admin_token({TOKEN_FILE: str(tmp_path / "none")})
