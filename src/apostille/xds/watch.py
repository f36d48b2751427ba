"""The filter that watches what destinations answer to requests that carry a credential of ours.

A refusal of that credential is our fault, not the caller's: it becomes a 502 (see watch.lua). And now and then the
clock of the answer goes to the control plane (see xds.sightings). The filter is off but on routes that sign.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files

from envoy.config.accesslog.v3.accesslog_pb2 import (
    AccessLog,
    AccessLogFilter,
    MetadataFilter,
    OrFilter,
    RuntimeFilter,
)
from envoy.config.core.v3.base_pb2 import DataSource
from envoy.config.core.v3.config_source_pb2 import ApiVersion
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig as FilterExtension
from envoy.config.core.v3.grpc_service_pb2 import GrpcService
from envoy.extensions.access_loggers.grpc.v3.als_pb2 import CommonGrpcAccessLogConfig, HttpGrpcAccessLogConfig
from envoy.extensions.filters.http.lua.v3.lua_pb2 import Lua, LuaPerRoute
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher
from envoy.type.matcher.v3.value_pb2 import ValueMatcher
from envoy.type.metadata.v3.metadata_pb2 import MetadataKey, MetadataKind
from envoy.type.tracing.v3.custom_tag_pb2 import CustomTag
from envoy.type.v3.percent_pb2 import FractionalPercent
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct
from google.protobuf.wrappers_pb2 import BoolValue

from apostille.base.check import REASON_HEADER
from apostille.model.outbound import RefusalSigns
from apostille.proxy.bootstrap import XDS_CLUSTER
from apostille.xds.names import ASKED_ID, METADATA, METADATA_OUTBOUND, SIGHTING, WATCH
from apostille.xds.packing import emit_any
from apostille.xds.predicates import any_of, emit_unless, negated, status_is

SIGNATURE_REFUSED = "signature_refused"

# So many answers are looked at for their date alone; the key stands for the number in Envoy's runtime.
_SAMPLED = FractionalPercent(numerator=5, denominator=FractionalPercent.TEN_THOUSAND)
_SAMPLING = "apostille.sampled"

# Seconds between two sightings of one policy's destination, for each of Envoy's threads, that tell of no refusal.
_INTERVAL = 5
# Bytes of an error's body in which its code is looked for.
_BODY = 8192


def emit_watch(signs: Mapping[str, RefusalSigns]) -> HttpFilter:
    """`signs`: by integration kind, what its destinations say of a credential that they will not have."""
    scripts = {kind: DataSource(inline_string=_script(signs[kind])) for kind in sorted(signs)}
    script = emit_any(Lua(source_codes=scripts))
    statuses = sorted({status for each in signs.values() for status in each.statuses})
    if statuses:
        # Most answers are good ones, and to run a script on them too costs a fifth of what a bare proxy does.
        refusal = any_of(*(status_is(status) for status in statuses))
        watch = FilterExtension(name=WATCH, typed_config=script)
        script = emit_any(emit_unless(negated(refusal), watch))
    return HttpFilter(name=WATCH, disabled=True, typed_config=script)


def emit_watch_of(policy: str, kind: str) -> LuaPerRoute:
    context = Struct()
    context.update({"policy": policy})
    return LuaPerRoute(name=kind, filter_context=context)


def emit_sightings_log() -> AccessLog:
    """Access log entries are how Envoy tells the control plane: of requests that the filter has marked, and of a few
    others, for their dates."""
    marked = AccessLogFilter(
        metadata_filter=MetadataFilter(
            matcher=MetadataMatcher(
                filter=METADATA,
                path=[MetadataMatcher.PathSegment(key=SIGHTING)],
                value=ValueMatcher(present_match=True),
            ),
            match_if_key_not_found=BoolValue(value=False),
        )
    )
    sampled = AccessLogFilter(
        runtime_filter=RuntimeFilter(runtime_key=_SAMPLING, percent_sampled=_SAMPLED, use_independent_randomness=True)
    )
    policy = CustomTag(
        tag=METADATA_OUTBOUND,
        metadata=CustomTag.Metadata(
            kind=MetadataKind(route=MetadataKind.Route()),
            metadata_key=MetadataKey(key=METADATA, path=[MetadataKey.PathSegment(key=METADATA_OUTBOUND)]),
        ),
    )
    return AccessLog(
        name="envoy.access_loggers.http_grpc",
        filter=AccessLogFilter(or_filter=OrFilter(filters=[marked, sampled])),
        typed_config=emit_any(
            HttpGrpcAccessLogConfig(
                common_config=CommonGrpcAccessLogConfig(
                    log_name=SIGHTING,
                    grpc_service=GrpcService(envoy_grpc=GrpcService.EnvoyGrpc(cluster_name=XDS_CLUSTER)),
                    transport_api_version=ApiVersion.V3,
                    buffer_flush_interval=Duration(nanos=200_000_000),
                    custom_tags=[policy],
                ),
                additional_response_headers_to_log=["date", "age"],
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
