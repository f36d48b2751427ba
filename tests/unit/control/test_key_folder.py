from __future__ import annotations

import stat
from pathlib import Path

import pytest

from apostille.base.errors import StartError
from apostille.control.key_folder import (
    Report,
    Standing,
    StoreFolderUnusable,
    compile_wanted,
    is_embedded,
    pass_on_settings,
    pepper_file,
    read_report,
    store_folder,
    want_store,
    write_report,
)
from apostille.keys.errors import KeysError, PepperMissing
from apostille.keys.settings import parse_key_settings, read_pepper_file

PEPPER = "5e" * 32


def test_a_store_that_is_wanted_has_a_folder_and_a_pepper_for_us_alone(tmp_path: Path) -> None:
    want_store(tmp_path)
    assert stat.S_IMODE(store_folder(tmp_path).stat().st_mode) == 0o700
    assert stat.S_IMODE(pepper_file(tmp_path).stat().st_mode) == 0o600
    read_pepper_file(pepper_file(tmp_path))
    before = pepper_file(tmp_path).read_text()
    (store_folder(tmp_path) / "file").touch()
    want_store(tmp_path)
    assert pepper_file(tmp_path).read_text() == before
    assert (store_folder(tmp_path) / "file").exists()


def test_the_folder_may_be_a_link_to_another_disk(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    store_folder(tmp_path).symlink_to(tmp_path / "elsewhere")
    want_store(tmp_path)
    assert store_folder(tmp_path).is_symlink()


def test_without_a_pepper_that_can_be_used_no_store_is_wanted(tmp_path: Path) -> None:
    pepper_file(tmp_path).write_text("rubbish")
    pepper_file(tmp_path).chmod(0o600)
    with pytest.raises(PepperMissing):
        want_store(tmp_path)
    assert not store_folder(tmp_path).exists()


def test_what_is_in_the_way_is_named(tmp_path: Path) -> None:
    store_folder(tmp_path).touch()
    with pytest.raises(StoreFolderUnusable, match=r"keys, cannot be made") as raised:
        want_store(tmp_path)
    assert isinstance(raised.value, KeysError)


def test_processes_are_told_of_the_embedded_store(tmp_path: Path) -> None:
    state, sockets = tmp_path / "state", tmp_path / "so ckets?"
    told = pass_on_settings({"HOME": "/x", "APOSTILLE_KEYS_URL": ""}, state=state, sockets=sockets)
    assert told == {
        "APOSTILLE_KEYS_URL": f"unix://{tmp_path}/so%20ckets%3F/keys.sock",
        "APOSTILLE_KEYS_PEPPER_FILE": str(state / "keys.pepper"),
    }
    settings = parse_key_settings(told)
    assert settings is not None
    assert is_embedded(settings, sockets)
    assert not is_embedded(settings, state)


@pytest.mark.parametrize(
    "own",
    [
        {"APOSTILLE_KEYS_URL": "redis://h", "APOSTILLE_KEYS_PEPPER": PEPPER},
        {"APOSTILLE_KEYS_URL": "redis://h", "APOSTILLE_KEYS_PEPPER_FILE": "/run/pepper"},
    ],
)
def test_what_our_own_environment_says_is_passed_on(tmp_path: Path, own: dict[str, str]) -> None:
    assert pass_on_settings({**own, "HOME": "/x"}, state=tmp_path, sockets=tmp_path) == own
    compile_wanted(own, state=tmp_path, sockets=tmp_path)()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "own", [{"APOSTILLE_KEYS_URL": "redis://h"}, {"APOSTILLE_KEYS_PEPPER": "x"}, {"APOSTILLE_KEYS_URL": "x"}]
)
def test_settings_that_cannot_be_used_are_refused(tmp_path: Path, own: dict[str, str]) -> None:
    with pytest.raises(StartError, match="APOSTILLE_KEYS"):
        pass_on_settings(own, state=tmp_path, sockets=tmp_path)


def test_a_control_plane_makes_the_embedded_store_when_it_is_wanted(tmp_path: Path) -> None:
    told = pass_on_settings({}, state=tmp_path, sockets=tmp_path)
    wanted = compile_wanted(told, state=tmp_path, sockets=tmp_path)
    assert not list(tmp_path.iterdir())
    wanted()
    assert store_folder(tmp_path).is_dir()
    assert pepper_file(tmp_path).is_file()


def test_with_a_pepper_from_elsewhere_none_is_made(tmp_path: Path) -> None:
    told = pass_on_settings({"APOSTILLE_KEYS_PEPPER": PEPPER}, state=tmp_path, sockets=tmp_path)
    compile_wanted(told, state=tmp_path, sockets=tmp_path)()
    assert store_folder(tmp_path).is_dir()
    assert not pepper_file(tmp_path).exists()


def test_without_settings_nothing_is_made(tmp_path: Path) -> None:
    compile_wanted({}, state=tmp_path, sockets=tmp_path)()
    assert not list(tmp_path.iterdir())


def test_what_the_supervisor_says_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_report(tmp_path) is None
    for report in (Report(standing=Standing.READY), Report(standing=Standing.DAMAGED, why="ä \n why")):
        write_report(tmp_path, report)
        assert read_report(tmp_path) == report
    write_report(tmp_path, None)
    write_report(tmp_path, None)
    assert read_report(tmp_path) is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["", "{", "[]", "1", '{"standing": "odd", "why": null}', '{"standing": "ready"}'])
def test_what_the_supervisor_cannot_have_written_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys.state").write_text(text)
    assert read_report(tmp_path) is None
