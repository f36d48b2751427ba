from __future__ import annotations

from collections.abc import Iterator

import pytest

from apostille.base.errors import ApostilleError, ChildError, StartError
from apostille.cli.main import app, main


@pytest.fixture
def failing(request: pytest.FixtureRequest) -> Iterator[None]:
    """A command `fail` that raises what the test names."""
    before = list(app.registered_commands)

    def fail() -> None:
        raise request.param

    app.command("fail")(fail)
    yield
    app.registered_commands[:] = before


def test_help_lists_the_commands_and_names_no_internals(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("Usage: apostille [OPTIONS] COMMAND [ARGS]...")
    assert "version" in out
    assert err == ""


def test_every_command_says_in_one_sentence_what_it_does() -> None:
    for command in app.registered_commands:
        text = command.help or (command.callback and command.callback.__doc__) or ""
        assert text.splitlines()[0].endswith("."), command.name


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["--nonsense"], ["version", "--nonsense"], ["version", "-o", "xml"]]
)
def test_wrong_usage_exits_2_and_writes_no_result(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Usage: apostille" in err
    assert "Error:" in err


@pytest.mark.parametrize(
    ("failing", "code"),
    [(ApostilleError("a"), 1), (StartError("port 80 is taken"), 1), (ChildError("envoy kept dying"), 70)],
    indirect=["failing"],
)
@pytest.mark.usefixtures("failing")
def test_an_error_for_people_is_one_line_and_an_exit_code(code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fail"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("apostille: ")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("failing", [ChildError("envoy kept dying")], indirect=True)
@pytest.mark.usefixtures("failing")
def test_debug_adds_the_traceback_and_keeps_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--debug", "fail"]) == 70
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Traceback")
    assert lines[-1] == "apostille: envoy kept dying"


@pytest.mark.parametrize("failing", [KeyboardInterrupt()], indirect=True)
@pytest.mark.usefixtures("failing")
def test_ctrl_c_exits_130_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fail"]) == 130
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("failing", [ZeroDivisionError("a bug")], indirect=True)
@pytest.mark.usefixtures("failing")
def test_a_bug_of_ours_is_not_dressed_up_as_an_error_of_the_user() -> None:
    with pytest.raises(ZeroDivisionError):
        main(["fail"])


def test_no_colour_is_written_even_when_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    main(["--help"])
    main(["nonsense"])
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err
