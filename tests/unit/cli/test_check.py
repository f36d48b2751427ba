from __future__ import annotations

import json
from pathlib import Path

import pytest

from apostille.cli.main import main

EXAMPLE = Path(__file__).parents[3] / "examples" / "s3" / "manifests"


def test_notes_follow_the_findings_and_change_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(EXAMPLE)]) == 0
    out, err = capsys.readouterr()
    table, lane, policy, *lines = out.splitlines()
    assert table.startswith(f"note: {EXAMPLE / 's3.yaml'}:")
    assert table.endswith(": RouteTable/gateway/bucket")
    assert lane == "  plain requests in the Envoy lane: gateway/bucket/objects"
    assert policy.endswith(": OutboundAuthPolicy/gateway/s3")
    assert "  methods: GET, HEAD, PUT" in lines
    assert err == "7 resources, 0 errors, 0 warnings\n"


def test_notes_are_part_of_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(EXAMPLE), "-o", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["items"] == []
    (_, note) = document["notes"]
    assert note["resource"] == "OutboundAuthPolicy/gateway/s3"
    assert note["line"] > 1
    assert "methods: GET, HEAD, PUT" in note["lines"]


def test_an_unguarded_signature_is_a_warning_and_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (EXAMPLE / "s3.yaml").read_text(encoding="utf-8")
    # The route's label, which stands first: the guard selects it no more.
    text = text.replace("labels: {keys: s3-users}", "labels: {keys: s3-user}", 1)
    (tmp_path / "s3.yaml").write_text(text, encoding="utf-8")
    assert main(["check", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert "[Unguarded, AsWritten]" in out
    assert err == "7 resources, 0 errors, 2 warnings\n"
