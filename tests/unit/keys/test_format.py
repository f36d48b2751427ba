from __future__ import annotations

import secrets
import string
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apostille.keys.format import ID_LENGTH, SECRET_LENGTH, is_env, is_id, new_key, parse_key

BASE = string.digits + string.ascii_uppercase + string.ascii_lowercase
ENVS = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=16)
KEY = new_key("prod", lambda length: bytes(range(length))).key.reveal()


def test_a_key_of_a_known_draw_is_always_the_same() -> None:
    # What is written here is in use: another spelling would refuse every key there is.
    assert KEY.removesuffix(KEY[-6:]) == "apo_prod_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcd"
    assert KEY[-6:] == "3uqoct"


@given(ENVS, st.randoms(use_true_random=False))
def test_a_drawn_key_parses_to_what_was_drawn(env: str, random: object) -> None:
    drawn = new_key(env, random.randbytes)  # type: ignore[attr-defined]
    key = drawn.key.reveal()
    assert parse_key(key) == drawn
    assert drawn.shown == f"apo_{env}_{drawn.id}"
    assert key.startswith(drawn.shown)
    assert len(key) == len(drawn.shown) + SECRET_LENGTH + 6
    assert is_id(drawn.id)
    assert set(drawn.id) <= set(BASE)


def test_the_secret_holds_160_random_bits_and_more() -> None:
    assert 62**SECRET_LENGTH > 2**160


def test_no_character_is_likelier_than_another() -> None:
    # Each byte value is as likely as the others: as many of them must lead to each character.
    drawn: Counter[str] = Counter()
    redrawn = 0
    for value in range(256):
        draws = iter([bytes([value]) * 40, b"\x00" * 40])
        drawn[new_key("a", lambda _, draws=draws: next(draws)).key.reveal()[6]] += 1  # type: ignore[misc]
        redrawn += next(draws, None) is None
    drawn["0"] -= redrawn
    assert redrawn == 256 % 62
    assert drawn == dict.fromkeys(BASE, 4)


def test_bytes_that_would_favour_some_characters_are_drawn_again() -> None:
    draws = iter([b"\xff" * 40, b"\xf8" * 30 + b"\x00" * 10, b"\x01" * 40])
    assert new_key("a", lambda _: next(draws)).key.reveal()[6:46] == "0" * 10 + "1" * 30


def test_a_source_that_gives_nothing_usable_is_not_waited_for_for_ever() -> None:
    with pytest.raises(RuntimeError):
        new_key("a", lambda length: b"\xff" * length)


@pytest.mark.parametrize("env", ["", "Prod", "a" * 17, "a_b", "a-b", "ä", "a\n", "１"])
def test_an_environment_of_other_letters_is_refused(env: str) -> None:
    assert not is_env(env)
    with pytest.raises(ValueError, match="a-z"):
        new_key(env, secrets.token_bytes)


@given(st.integers(0, len(KEY) - 1), st.sampled_from(BASE + "_-é\n\x00"))
def test_one_mistyped_character_is_found_out(place: int, character: str) -> None:
    wrong = KEY[:place] + character + KEY[place + 1 :]
    assert (parse_key(wrong) is not None) is (wrong == KEY)


@given(st.integers(0, len(KEY) - 2))
def test_two_swapped_characters_are_found_out(place: int) -> None:
    wrong = KEY[:place] + KEY[place + 1] + KEY[place] + KEY[place + 2 :]
    assert (parse_key(wrong) is not None) is (wrong == KEY)


@given(st.text() | st.text(alphabet=st.characters(categories=["Cs", "Cc", "Nd"])))
def test_no_text_raises(text: str) -> None:
    assert parse_key(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "apo__" + "0" * 46,
        KEY[:-1],
        KEY + "0",
        KEY + "\n",
        " " + KEY,
        KEY.upper(),
        KEY.replace("apo", "аро"),
        KEY.replace("0", "０"),
        KEY[:20] + "\ud800" + KEY[21:],
        KEY + "\x00" + KEY,
        "\r\nDEL apo:version\r\n",
        "apo_prod_' OR 1=1 --",
    ],
)
def test_what_looks_alike_is_no_key(text: str) -> None:
    assert parse_key(text) is None


def test_megabytes_are_not_read() -> None:
    text = KEY * 100_000
    looked_at = []

    def watch(frame: object, event: str, argument: object) -> None:
        if event == "c_call":
            looked_at.append(getattr(argument, "__name__", ""))

    sys.setprofile(watch)
    try:
        assert parse_key(text) is None
    finally:
        sys.setprofile(None)
    assert "fullmatch" not in looked_at


def test_a_key_shows_in_no_representation() -> None:
    parts = parse_key(KEY)
    assert parts is not None
    for text in (repr(parts), str(parts), f"{parts.key}"):
        assert KEY[9 + ID_LENGTH :] not in text
    assert parts.id in repr(parts)
