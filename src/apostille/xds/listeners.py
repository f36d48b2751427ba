"""Listener and its HTTP connection manager (envoy.config.listener.v3).

Changing a listener drains its connections, so hardly anything in here depends on what people write: what changes
stands in routes, clusters and auth programs.
"""

from __future__ import annotations

from envoy.config.accesslog.v3.accesslog_pb2 import (
    AccessLogFilter,
    ExtensionFilter,
    MetadataFilter,
    ResponseFlagFilter,
)
from envoy.config.core.v3.address_pb2 import Address, SocketAddress
from envoy.config.core.v3.base_pb2 import DataSource, HeaderValue, HeaderValueOption
from envoy.config.core.v3.config_source_pb2 import AggregatedConfigSource, ApiVersion, ConfigSource
from envoy.config.core.v3.protocol_pb2 import Http2ProtocolOptions, HttpProtocolOptions
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener as EnvoyListener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.access_loggers.filters.cel.v3.cel_pb2 import ExpressionFilter
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    LocalReplyConfig,
    Rds,
    ResponseMapper,
)
from envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from envoy.type.matcher.v3.value_pb2 import ValueMatcher
from google.protobuf.duration_pb2 import Duration
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from apostille.base.check import CARRIED_STATUSES, CHALLENGE, KEY_REFUSED, REASON_HEADER, STATUS_HEADER
from apostille.model.gateway import Listener
from apostille.xds.access_log import emit_access_log
from apostille.xds.filters import emit_filters
from apostille.xds.key_slots import KEY_REFUSALS
from apostille.xds.names import EXT_AUTHZ
from apostille.xds.packing import emit_any
from apostille.xds.site import Site
from apostille.xds.watch import emit_sightings_log

# Answers that Envoy makes up itself say why. UAEX is not here: what the auth service denies has its own reason.
_REASONS = (
    ("NR", "route_not_found"),
    ("UH", "no_healthy_upstream"),
    ("UF", "upstream_unreachable"),
    ("UC", "upstream_reset"),
)
_AUTH_UNAVAILABLE = "auth_unavailable"


def emit_listener(
    listener: Listener,
    site: Site,
    *,
    deadline_ms: int,
    status_on_error: int,
    inline_routes: RouteConfiguration | None = None,
) -> EnvoyListener:
    """`inline_routes`: the routes stand inside instead of being asked for."""
    manager = HttpConnectionManager(
        stat_prefix=listener.name.replace("/", "_"),
        rds=None if inline_routes else Rds(config_source=_ads(), route_config_name=listener.name),
        route_config=inline_routes,
        http_filters=emit_filters(deadline_ms, status_on_error, site, inline=inline_routes is not None),
        access_log=[*([emit_access_log()] if site.access_log else []), emit_sightings_log()],
        local_reply_config=_emit_local_replies(),
        # The client's address is the connection's; what clients say of themselves in x-forwarded-* is not believed.
        use_remote_address=BoolValue(value=True),
        # Paths are matched, judged, signed and sent as the client spelled them. Odd spellings find no route (see
        # routing.spellings), but where the destination takes each of them for a name of its own, as S3 does.
        normalize_path=BoolValue(value=False),
        merge_slashes=False,
        path_with_escaped_slashes_action=HttpConnectionManager.KEEP_UNCHANGED,
        common_http_protocol_options=HttpProtocolOptions(
            idle_timeout=Duration(seconds=3600),
            # x_user_email and x-user-email are one header to many servers: a way round every removal by name.
            headers_with_underscores_action=HttpProtocolOptions.REJECT_REQUEST,
        ),
        http2_protocol_options=Http2ProtocolOptions(
            max_concurrent_streams=UInt32Value(value=100),
            initial_stream_window_size=UInt32Value(value=65536),
            initial_connection_window_size=UInt32Value(value=1048576),
        ),
        request_headers_timeout=Duration(seconds=10),
        server_header_transformation=HttpConnectionManager.PASS_THROUGH,
    )
    return EnvoyListener(
        name=listener.name,
        address=Address(socket_address=SocketAddress(address=site.address, port_value=listener.port)),
        # With it a second gateway on the same port would start without a word and take half of the connections.
        enable_reuse_port=BoolValue(value=False),
        # And without it the kernel gives most connections to one worker thread.
        connection_balance_config=EnvoyListener.ConnectionBalanceConfig(
            exact_balance=EnvoyListener.ConnectionBalanceConfig.ExactBalance()
        ),
        filter_chains=[
            FilterChain(
                filters=[
                    Filter(name="envoy.filters.network.http_connection_manager", typed_config=emit_any(manager)),
                ]
            )
        ],
    )


def _ads() -> ConfigSource:
    return ConfigSource(ads=AggregatedConfigSource(), resource_api_version=ApiVersion.V3)


def _emit_local_replies() -> LocalReplyConfig:
    return LocalReplyConfig(
        mappers=[
            # The first mapper that matches is the only one.
            *(_true_status(status) for status in CARRIED_STATUSES),
            _key_refused(),
            *(_reason_for(flag, reason) for flag, reason in _REASONS),
            # Other denials by the auth service carry the same flag, with a reason of their own that stays.
            _reason_for("UAEX", _AUTH_UNAVAILABLE),
        ]
    )


def _reason_for(flag: str, reason: str) -> ResponseMapper:
    return ResponseMapper(
        filter=AccessLogFilter(response_flag_filter=ResponseFlagFilter(flags=[flag])),
        headers_to_add=[
            HeaderValueOption(
                header=HeaderValue(key=REASON_HEADER, value=reason), append_action=HeaderValueOption.ADD_IF_ABSENT
            )
        ],
    )


def _key_refused() -> ResponseMapper:
    """The words of apiKeyAuth in the auth service: no caller sees by whom a key was checked."""
    details = " || ".join(f"response.code_details == '{detail}'" for detail in KEY_REFUSALS)
    return ResponseMapper(
        filter=AccessLogFilter(
            extension_filter=ExtensionFilter(
                name="envoy.access_loggers.extension_filters.cel",
                typed_config=emit_any(ExpressionFilter(expression=details)),
            )
        ),
        body=DataSource(inline_string=""),
        headers_to_add=[
            HeaderValueOption(
                header=HeaderValue(key=name, value=value), append_action=HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
            )
            for name, value in (("www-authenticate", CHALLENGE), (REASON_HEADER, KEY_REFUSED))
        ],
    )


def _true_status(status: int) -> ResponseMapper:
    """Envoy takes a 5xx of the auth service for no answer at all and drops its reason. So the service sends such a
    denial as 403 with the true status beside it, and here it is put back."""
    return ResponseMapper(
        filter=AccessLogFilter(
            metadata_filter=MetadataFilter(
                matcher=MetadataMatcher(
                    filter=EXT_AUTHZ,
                    path=[MetadataMatcher.PathSegment(key=STATUS_HEADER)],
                    value=ValueMatcher(string_match=StringMatcher(exact=str(status))),
                ),
                match_if_key_not_found=BoolValue(value=False),
            )
        ),
        status_code=UInt32Value(value=status),
    )
