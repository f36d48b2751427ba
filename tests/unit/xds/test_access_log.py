from __future__ import annotations

from envoy.extensions.access_loggers.stream.v3.stream_pb2 import StdoutAccessLog

from apostille.xds.access_log import FIELDS, emit_access_log


def test_every_field_is_in_the_line() -> None:
    log = StdoutAccessLog.FromString(emit_access_log().typed_config.value)
    assert dict(log.log_format.json_format) == FIELDS


def test_a_reader_finds_who_asked_for_what_and_what_became_of_it() -> None:
    wanted = {"time", "request_id", "method", "host", "path", "route", "policy", "consumer", "destination", "status"}
    assert wanted | {"reason", "flags", "duration_ms"} <= FIELDS.keys()


def test_no_credential_and_no_query_is_in_the_line() -> None:
    text = " ".join(FIELDS.values()).lower()
    for secret in ("authorization", "cookie", "api-key", "x-amz", "req(:path)", "x-envoy-original-path"):
        assert secret not in text
    assert "NQ:PATH" in FIELDS["path"]
