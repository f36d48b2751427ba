"""The filter that watches what destinations answer to requests that carry a credential of ours.

A refusal of that credential is our fault, not the caller's: it becomes a 502 (see watch.lua). And now and then the
clock of the answer goes to the control plane (see xds.sightings). The filter is off but on routes that sign.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog, AccessLogFilter, MetadataFilter
from envoy.config.core.v3.base_pb2 import DataSource
from envoy.config.core.v3.config_source_pb2 import ApiVersion
from envoy.config.core.v3.grpc_service_pb2 import GrpcService
from envoy.extensions.access_loggers.grpc.v3.als_pb2 import CommonGrpcAccessLogConfig, HttpGrpcAccessLogConfig
from envoy.extensions.filters.http.lua.v3.lua_pb2 import Lua, LuaPerRoute
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher
from envoy.type.matcher.v3.value_pb2 import ValueMatcher
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct
from google.protobuf.wrappers_pb2 import BoolValue

from apostille.base.check import REASON_HEADER
from apostille.model.outbound import RefusalSigns
from apostille.proxy.bootstrap import XDS_CLUSTER
from apostille.xds.names import ASKED_ID, METADATA, SIGHTING, WATCH
from apostille.xds.packing import emit_any

SIGNATURE_REFUSED = "signature_refused"

# Seconds between two looks at one policy's destination, for each of Envoy's threads.
_INTERVAL = 5
# Bytes of an error's body in which its code is looked for.
_BODY = 8192


def emit_watch(signs: Mapping[str, RefusalSigns]) -> HttpFilter:
    """`signs`: by integration kind, what its destinations say of a credential that they will not have."""
    scripts = {kind: DataSource(inline_string=_script(signs[kind])) for kind in sorted(signs)}
    return HttpFilter(name=WATCH, disabled=True, typed_config=emit_any(Lua(source_codes=scripts)))


def emit_watch_of(policy: str, kind: str) -> LuaPerRoute:
    context = Struct()
    context.update({"policy": policy})
    return LuaPerRoute(name=kind, filter_context=context)


def emit_sightings_log() -> AccessLog:
    """Access log entries are how Envoy tells the control plane: of requests that the filter has marked, no others."""
    return AccessLog(
        name="envoy.access_loggers.http_grpc",
        filter=AccessLogFilter(
            metadata_filter=MetadataFilter(
                matcher=MetadataMatcher(
                    filter=METADATA,
                    path=[MetadataMatcher.PathSegment(key=SIGHTING)],
                    value=ValueMatcher(present_match=True),
                ),
                match_if_key_not_found=BoolValue(value=False),
            )
        ),
        typed_config=emit_any(
            HttpGrpcAccessLogConfig(
                common_config=CommonGrpcAccessLogConfig(
                    log_name=SIGHTING,
                    grpc_service=GrpcService(envoy_grpc=GrpcService.EnvoyGrpc(cluster_name=XDS_CLUSTER)),
                    transport_api_version=ApiVersion.V3,
                    buffer_flush_interval=Duration(nanos=200_000_000),
                )
            )
        ),
    )


def _script(signs: RefusalSigns) -> str:
    constants = {
        "STATUSES": _table(str(status) for status in signs.statuses),
        "CODES": _table(signs.codes),
        "REASON": f'"{REASON_HEADER}"',
        "REFUSED": f'"{SIGNATURE_REFUSED}"',
        "NAMESPACE": f'"{METADATA}"',
        "SIGHTING": f'"{SIGHTING}"',
        "ASKED_ID": f'"{ASKED_ID}"',
        "INTERVAL": str(_INTERVAL),
        "BODY": str(_BODY),
    }
    return "".join(f"local {name} = {value}\n" for name, value in constants.items()) + _body()


def _table(keys: Iterable[str]) -> str:
    return "{" + ", ".join(f'["{key}"] = true' for key in keys) + "}"


@cache
def _body() -> str:
    return (files(__package__) / "watch.lua").read_text(encoding="utf-8")
