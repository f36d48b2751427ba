"""Every case of this folder; see `cases` for its form. ``make golden-update CASE=name`` writes outputs anew."""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest

from apostille.control.candidate import Judging
from apostille.proxy.bootstrap import compile_auth_cluster
from apostille.proxy.process import validate
from apostille.xds.configuration import emit_static
from tests.golden.cases import Case, find_cases, find_strangers, run_case

CASES = find_cases()


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
async def test_the_outputs_are_as_written_down_and_envoy_takes_them(
    case: Case, judging: Judging, files: Path, update_golden: bool
) -> None:
    result = await run_case(case, judging, files)
    static = emit_static(result.candidate.gateway, judging.site, [compile_auth_cluster([files / "auth.sock"])])
    assert await validate(static.SerializeToString(), judging.envoy) is None

    differing, missing = [], []
    for name, text in result.texts.items():
        path = case.folder / name
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        if not before:
            missing.append(name)
        if before == text:
            continue
        lines = difflib.unified_diff(before.splitlines(), text.splitlines(), f"{case.name}/{name}", "now", lineterm="")
        differing.append("\n".join(lines))
        if update_golden or name in missing:
            path.write_text(text, encoding="utf-8")
    said = "\n".join(differing)
    if update_golden:
        print(said)  # noqa: T201 - what the person who asked for the update is to look at
    elif missing:
        pytest.fail(
            f"{', '.join(missing)} of {case.name} did not exist and are written now: look at them", pytrace=False
        )
    elif said:
        pytest.fail(f"{said}\n\nIf this is meant: make golden-update CASE={case.folder.name}", pytrace=False)


def test_every_file_belongs_to_a_case() -> None:
    assert find_strangers() == ()


def test_a_file_that_no_case_knows_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.golden.cases.ROOT", tmp_path)
    for name in ("area/case/in.yaml", "area/case/notes.txt", "area/orphan/model.yaml", "_base.yaml"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    assert find_strangers() == ("area/case/notes.txt", "area/orphan/model.yaml")
