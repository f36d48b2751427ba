from __future__ import annotations

import os
import pickle
import stat
from base64 import b64encode, urlsafe_b64encode
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from apostille.base.errors import StartError
from apostille.base.secrets import SecretText
from apostille.keys.errors import PepperMissing
from apostille.keys.record import Pepper
from apostille.keys.settings import (
    KeySettings,
    make_pepper_file,
    parse_key_settings,
    parse_pepper,
    parse_pepper_settings,
    read_pepper_file,
)

SECRET = bytes(range(200, 232))
KEY = SecretText("any key")
URL = "APOSTILLE_KEYS_URL"
PEPPER = "APOSTILLE_KEYS_PEPPER"
FILE = "APOSTILLE_KEYS_PEPPER_FILE"


def is_secret(pepper: Pepper) -> bool:
    return pepper.digest(KEY) == Pepper(SECRET).digest(KEY)


def write_pepper(file: Path, text: str = SECRET.hex(), mode: int = 0o600) -> Path:
    file.write_text(text)
    file.chmod(mode)
    return file


def settings(**environ: str) -> KeySettings:
    found = parse_key_settings(environ)
    assert found is not None
    return found


@pytest.mark.parametrize(
    "environ", [{}, {URL: ""}, {PEPPER: SECRET.hex()}, {URL: "", FILE: "/nowhere"}, {"APOSTILLE_OTHER": "x"}]
)
def test_without_a_url_no_store_is_configured(environ: dict[str, str]) -> None:
    assert parse_key_settings(environ) is None


@pytest.mark.parametrize(
    "text",
    [
        SECRET.hex(),
        SECRET.hex().upper(),
        f" {SECRET.hex()}\r\n",
        b64encode(SECRET).decode(),
        b64encode(SECRET).decode().rstrip("="),
        urlsafe_b64encode(SECRET).decode() + "\n",
    ],
)
def test_a_pepper_is_written_in_hexadecimal_digits_or_base64(text: str) -> None:
    found = settings(**{URL: "unix:///run/keys.sock", PEPPER: text})
    assert found.address.socket == "/run/keys.sock"
    assert is_secret(found.pepper.read())
    assert is_secret(parse_pepper(SecretText(text)))


@pytest.mark.parametrize(
    "text", ["", " ", SECRET.hex()[:62], SECRET.hex() + "0", b64encode(SECRET[:31]).decode(), "pä" * 40, "x" * 41, "=="]
)
def test_what_is_no_pepper_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(ValueError, match="64 hexadecimal digits") as raised:
        parse_pepper(SecretText(text))
    assert len(text) < 3 or text not in str(raised.value)
    if text:
        with pytest.raises(StartError, match="openssl rand -hex 32") as started:
            parse_key_settings({URL: "redis://h", PEPPER: text})
        assert len(text) < 3 or text not in str(started.value)


@pytest.mark.parametrize("environ", [{}, {PEPPER: ""}, {FILE: "", PEPPER: ""}])
def test_a_url_without_a_pepper_is_refused_with_what_to_write(environ: dict[str, str]) -> None:
    with pytest.raises(StartError, match="APOSTILLE_KEYS_PEPPER_FILE") as raised:
        parse_key_settings({URL: "redis://:CANARY@h", **environ})
    assert "CANARY" not in str(raised.value)


def test_a_pepper_is_named_once() -> None:
    with pytest.raises(StartError, match="both"):
        parse_key_settings({URL: "redis://h", PEPPER: SECRET.hex(), FILE: "/file"})


def test_a_wrong_url_is_refused_and_not_quoted() -> None:
    with pytest.raises(StartError, match=r"APOSTILLE_KEYS_URL: .*scheme") as raised:
        parse_key_settings({URL: "http://:CANARY@h", PEPPER: SECRET.hex()})
    assert "CANARY" not in str(raised.value)


def test_a_pepper_may_be_set_without_a_url() -> None:
    found = parse_pepper_settings({PEPPER: SECRET.hex()})
    assert found is not None
    assert is_secret(found.read())
    assert parse_pepper_settings({}) is None


def test_a_file_is_read_when_it_is_there_and_then_remembered(tmp_path: Path) -> None:
    file = tmp_path / "pepper"
    source = settings(**{URL: "redis://h", FILE: str(file)}).pepper
    for _ in range(2):
        with pytest.raises(PepperMissing, match="No such file") as raised:
            source.read()
        assert str(file) in str(raised.value)
    write_pepper(file)
    assert is_secret(source.read())
    file.unlink()
    assert is_secret(source.read())


def test_nothing_shows_a_pepper(tmp_path: Path) -> None:
    shown = SECRET.hex()
    by_value = settings(**{URL: "redis://:CANARY@h", PEPPER: shown})
    by_file = settings(**{URL: "redis://h", FILE: str(write_pepper(tmp_path / "pepper"))})
    for each in (by_value, by_file):
        each.pepper.read()
        assert shown not in repr(each)
        assert "CANARY" not in repr(each)
        with pytest.raises(TypeError):
            pickle.dumps(each)


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o620, 0o660])
def test_a_file_that_others_can_read_or_change_is_refused(tmp_path: Path, mode: int) -> None:
    file = write_pepper(tmp_path / "pepper", mode=mode)
    with pytest.raises(PepperMissing, match=f"mode {mode:04o}.*chmod 600"):
        read_pepper_file(file)


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o440, 0o640])
def test_a_file_that_a_group_can_read_is_taken(tmp_path: Path, mode: int) -> None:
    assert is_secret(read_pepper_file(write_pepper(tmp_path / "pepper", mode=mode)))


@pytest.mark.parametrize("text", ["", SECRET.hex()[:-1], "0" * 5000, "ÿ" * 64])
def test_a_file_without_a_whole_pepper_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(PepperMissing, match="holds no pepper"):
        read_pepper_file(write_pepper(tmp_path / "pepper", text))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(PepperMissing, match="is no file"):
        read_pepper_file(tmp_path / "pipe")
    with pytest.raises(PepperMissing, match="Is a directory"):
        read_pepper_file(tmp_path)


def test_a_new_pepper_file_is_whole_private_and_alone(tmp_path: Path) -> None:
    file = tmp_path / "pepper"
    make_pepper_file(file, lambda count: SECRET[:count])
    assert file.read_text() == SECRET.hex() + "\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [file]
    assert is_secret(read_pepper_file(file))


def test_two_peppers_are_not_the_same(tmp_path: Path) -> None:
    make_pepper_file(tmp_path / "one")
    make_pepper_file(tmp_path / "two")
    assert (tmp_path / "one").read_text() != (tmp_path / "two").read_text()


def test_a_pepper_that_is_there_is_left_alone(tmp_path: Path) -> None:
    file = write_pepper(tmp_path / "pepper", b64encode(SECRET).decode())
    before = file.stat()
    make_pepper_file(file)
    assert file.read_text() == b64encode(SECRET).decode()
    assert file.stat() == before


@pytest.mark.parametrize(("text", "mode"), [("", 0o600), ("rubbish", 0o600), (SECRET.hex(), 0o640)])
def test_what_cannot_be_used_is_not_overwritten(tmp_path: Path, text: str, mode: int) -> None:
    file = write_pepper(tmp_path / "pepper", text, mode)
    with pytest.raises(PepperMissing, match="pepper"):
        make_pepper_file(file)
    assert file.read_text() == text
    assert stat.S_IMODE(file.stat().st_mode) == mode


def test_a_link_that_leads_nowhere_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "pepper").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PepperMissing, match="No such file"):
        make_pepper_file(tmp_path / "pepper")
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PepperMissing, match=r"cannot be kept in .*gone"):
        make_pepper_file(tmp_path / "gone" / "pepper")


def test_of_several_who_make_it_at_once_all_have_the_same(tmp_path: Path) -> None:
    file = tmp_path / "pepper"

    def make(_number: int) -> bytes:
        make_pepper_file(file)
        return read_pepper_file(file).digest(KEY)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(make, range(32)))) == 1
    assert list(tmp_path.iterdir()) == [file]
