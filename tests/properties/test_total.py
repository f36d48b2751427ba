"""Nothing that people can write makes the translation raise, and what it gives is something Envoy takes."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apostille.control.app import compile_judging
from apostille.control.candidate import Judging, compile_candidate
from apostille.model.dump import dump_model
from apostille.proxy.bootstrap import compile_auth_cluster
from apostille.proxy.process import validate
from apostille.status.report import compile_report
from apostille.translate.pipeline import translate
from apostille.xds.configuration import emit_static
from tests.properties.strategies import PORTS, Document, broken_sets, mutilated, sound_documents, text_of
from tests.properties.world import INTEGRATION_KINDS, KINDS, emit, read, translate_documents


@given(data=st.data(), sound=sound_documents(), broken=broken_sets())
@settings(max_examples=300)
def test_whatever_is_written_is_translated(data: st.DataObject, sound: list[Document], broken: list[Document]) -> None:
    reading = read({"all.yaml": text_of(data.draw(mutilated([*sound, *broken])))})
    translation = translate(reading.snapshot, KINDS, INTEGRATION_KINDS, PORTS)
    emit(translation.gateway)
    json.dumps(dump_model(translation.gateway))
    resources = ((resource.ref, resource.origin) for resource in reading.snapshot.resources)
    for finding in compile_report(resources, (*reading.findings, *translation.findings)).findings:
        assert str(finding)
        assert finding.origin.line > 0


@given(text=st.text())
def test_whatever_text_is_in_a_file_it_is_read(text: str) -> None:
    reading = read({"a.yaml": text})
    assert translate(reading.snapshot, KINDS, INTEGRATION_KINDS, PORTS).gateway.listeners == ()


@pytest.fixture(scope="module")
def judging(tmp_path_factory: pytest.TempPathFactory) -> Judging:
    roots = tmp_path_factory.mktemp("trust") / "roots.pem"
    trustme.CA().cert_pem.write_to_path(str(roots))
    found = compile_judging(address="127.0.0.1", ports=PORTS, envoy=None)
    return replace(found, site=replace(found.site, ca_file=str(roots)))


# Each takes a process or more, so they are few and each has much in it.
@given(data=st.data(), sound=sound_documents(), broken=broken_sets())
@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
def test_a_real_envoy_takes_what_is_proven(
    data: st.DataObject, judging: Judging, sound: list[Document], broken: list[Document]
) -> None:
    reading = read({"all.yaml": text_of(data.draw(mutilated([*sound, *broken])))})
    candidate = asyncio.run(compile_candidate(reading.snapshot, judging))
    static = emit_static(candidate.gateway, judging.site, [compile_auth_cluster([Path("/nonexistent/auth.sock")])])
    assert asyncio.run(validate(static.SerializeToString(), judging.envoy)) is None


@given(sound=sound_documents())
@settings(max_examples=6, suppress_health_check=[HealthCheck.too_slow])
def test_a_real_envoy_takes_sound_resources_as_they_are(judging: Judging, sound: list[Document]) -> None:
    static = emit_static(
        translate_documents(sound).gateway, judging.site, [compile_auth_cluster([Path("/nonexistent/auth.sock")])]
    )
    assert asyncio.run(validate(static.SerializeToString(), judging.envoy)) is None
