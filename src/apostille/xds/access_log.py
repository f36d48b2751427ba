"""The access log: one JSON object a request on standard output. No query (it may hold a signature), no credential."""

from __future__ import annotations

import json

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog
from envoy.config.core.v3.substitution_format_string_pb2 import SubstitutionFormatString
from envoy.extensions.access_loggers.stream.v3.stream_pb2 import StdoutAccessLog
from google.protobuf.struct_pb2 import Struct

from apostille.base.check import CONSUMER_HEADER, KEY_HEADER, REASON_HEADER
from apostille.xds.names import (
    ASKED_HOST,
    ASKED_ID,
    ASKED_PATH,
    CALLER,
    EXT_AUTHZ,
    METADATA,
    METADATA_OUTBOUND,
    METADATA_POLICY,
)
from apostille.xds.packing import emit_any


def _asked(key: str, command: str, parameter: str) -> str:
    """What the filter chain has noted, or what stands in a request that was refused before it got there."""
    return _first_of(("FILTER_STATE", f"{key}:PLAIN"), (command, parameter))


def _first_of(*operators: tuple[str, str]) -> str:
    """Of Envoy's command operators, each with its parameter, the first that has a value."""
    listed = [{"command": command, "param": parameter} for command, parameter in operators]
    return f"%COALESCE({json.dumps({'operators': listed})})%"


# Field of the log line to Envoy's command operator; docs/reference/access-log.md explains each.
FIELDS = {
    "time": "%START_TIME%",
    "request_id": _asked(ASKED_ID, "REQ", "X-REQUEST-ID"),
    "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "method": "%REQ(:METHOD)%",
    "host": _asked(ASKED_HOST, "REQ", ":AUTHORITY"),
    "path": _asked(ASKED_PATH, "PATH", "NQ:PATH"),
    "protocol": "%PROTOCOL%",
    "route": "%ROUTE_NAME%",
    "policy": f"%METADATA(ROUTE:{METADATA}:{METADATA_POLICY})%",
    "outbound": f"%METADATA(ROUTE:{METADATA}:{METADATA_OUTBOUND})%",
    "consumer": _first_of(("DYNAMIC_METADATA", f"{EXT_AUTHZ}:{CONSUMER_HEADER}"), ("FILTER_STATE", f"{CALLER}:PLAIN")),
    "key": f"%DYNAMIC_METADATA({EXT_AUTHZ}:{KEY_HEADER})%",
    "destination": "%UPSTREAM_CLUSTER%",
    "upstream": "%UPSTREAM_HOST%",
    "status": "%RESPONSE_CODE%",
    "reason": f"%RESP({REASON_HEADER.upper()})%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "flags": "%RESPONSE_FLAGS%",
    "bytes_in": "%BYTES_RECEIVED%",
    "bytes_out": "%BYTES_SENT%",
    "duration_ms": "%DURATION%",
    "auth_us": "%COMMON_DURATION(DS_RX_BEG:US_TX_BEG:us)%",
    "upstream_us": "%COMMON_DURATION(US_TX_BEG:US_RX_BEG:us)%",
}


def emit_access_log() -> AccessLog:
    fields = Struct()
    fields.update(FIELDS)
    return AccessLog(
        name="envoy.access_loggers.stdout",
        typed_config=emit_any(StdoutAccessLog(log_format=SubstitutionFormatString(json_format=fields))),
    )
