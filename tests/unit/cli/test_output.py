from __future__ import annotations

import pytest

from apostille.cli.output import print_error, print_json, print_note, print_result


def test_results_go_to_stdout_and_everything_else_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    print_result("a result")
    print_note("a hint")
    print_error("it failed")
    assert capsys.readouterr() == ("a result\n", "a hint\napostille: it failed\n")


def test_json_keeps_its_order_its_nulls_and_its_letters(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"b": None, "a": "é"})
    assert capsys.readouterr().out == '{\n  "b": null,\n  "a": "é"\n}\n'
