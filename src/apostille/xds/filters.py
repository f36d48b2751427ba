"""The HTTP filter chain of every listener, in order: strip, check keys, note what was asked for, ask the auth service,
route; on the way back, watch what destinations say of our credentials."""

from __future__ import annotations

from typing import cast

from envoy.config.core.v3.base_pb2 import DataSource, HeaderValue, RetryPolicy
from envoy.config.core.v3.http_uri_pb2 import HttpUri
from envoy.config.core.v3.substitution_format_string_pb2 import SubstitutionFormatString
from envoy.extensions.filters.common.set_filter_state.v3.value_pb2 import FilterStateValue
from envoy.extensions.filters.http.ext_authz.v3.ext_authz_pb2 import (
    AuthorizationRequest,
    AuthorizationResponse,
    ExtAuthz,
    HttpService,
)
from envoy.extensions.filters.http.header_mutation.v3.header_mutation_pb2 import HeaderMutation
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.http.set_filter_state.v3.set_filter_state_pb2 import Config as SetFilterState
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from envoy.extensions.retry.host.previous_hosts.v3.previous_hosts_pb2 import PreviousHostsPredicate
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import ListStringMatcher, StringMatcher
from envoy.type.v3.http_status_pb2 import HttpStatus, StatusCode
from google.protobuf.duration_pb2 import Duration
from google.protobuf.wrappers_pb2 import UInt32Value

from apostille.base.check import (
    CHECK_PREFIX,
    CONSUMER_HEADER,
    ENCODING_HEADER,
    KEY_HEADER,
    LENGTH_HEADER,
    OUR_HEADERS_PREFIX,
    PATH_HEADER,
    PROGRAM_HEADER,
    QUERY_HEADER,
    ROUTE_HEADER,
    STATUS_HEADER,
    TARGET_HEADER,
)
from apostille.proxy.bootstrap import AUTH_CLUSTER
from apostille.xds.key_slots import emit_key_slots
from apostille.xds.names import (
    ASKED_HOST,
    ASKED_ID,
    ASKED_PATH,
    CALLER,
    EXT_AUTHZ,
    HEADER_MUTATION,
    METADATA,
    METADATA_PROGRAM,
    ROUTER,
    SET_FILTER_STATE,
)
from apostille.xds.packing import emit_any
from apostille.xds.patterns import everything_but
from apostille.xds.site import Site
from apostille.xds.told_query import emit_told_query
from apostille.xds.watch import emit_watch

# What the auth service's own HTTP server and Envoy's client put on every answer: no part of the decision.
_TRANSPORT_NAMES = ("content-length", "date", "server")
_TRANSPORT_PREFIXES = ("x-envoy-",)

# Envoy gives up this much after the auth service should have, so that the caller gets the service's own reason.
_PATIENCE_MS = 250


def emit_filters(deadline_ms: int, status_on_error: int, site: Site, *, inline: bool) -> list[HttpFilter]:
    """`deadline_ms`: the longest a chain may take. `status_on_error`: the answer when the service cannot be asked.
    `inline` as in `emit_key_slots`."""
    return [
        HttpFilter(name=HEADER_MUTATION, typed_config=emit_any(HeaderMutation())),
        *emit_key_slots(inline=inline),
        *([HttpFilter(name=SET_FILTER_STATE, typed_config=emit_any(_emit_notes()))] if site.access_log else []),
        HttpFilter(name=EXT_AUTHZ, typed_config=emit_any(_emit_ext_authz(deadline_ms, status_on_error))),
        emit_told_query(),
        emit_watch(site.signs),
        HttpFilter(name=ROUTER, typed_config=emit_any(Router(suppress_envoy_headers=True))),
    ]


def _emit_notes() -> SetFilterState:
    """What came in, for the access log: rewrites change it in place, and what a foreign service must not see is gone
    from it by the time that the log is written."""
    return SetFilterState(
        on_request_headers=[
            FilterStateValue(
                object_key=key,
                factory_key="envoy.string",
                format_string=SubstitutionFormatString(
                    text_format_source=DataSource(inline_string=operator), omit_empty_values=True
                ),
                skip_if_empty=True,
            )
            for key, operator in (
                (ASKED_HOST, "%REQ(:AUTHORITY)%"),
                (ASKED_PATH, "%PATH(NQ:PATH)%"),
                (ASKED_ID, "%REQ(X-REQUEST-ID)%"),
                (CALLER, f"%REQ({CONSUMER_HEADER.upper()})%"),
            )
        ]
    )


def _emit_ext_authz(deadline_ms: int, status_on_error: int) -> ExtAuthz:
    timeout = deadline_ms + _PATIENCE_MS
    return ExtAuthz(
        # failure_mode_allow and clear_route_cache stay unset: no decision, no access; and who was let in for one
        # route must not end up on another.
        status_on_error=HttpStatus(code=cast(StatusCode, status_on_error)),
        validate_mutations=True,
        allowed_headers=_patterns(StringMatcher(safe_regex=RegexMatcher(regex=".*"))),
        http_service=HttpService(
            server_uri=HttpUri(
                uri=f"http://{AUTH_CLUSTER}",
                cluster=AUTH_CLUSTER,
                timeout=Duration(seconds=timeout // 1000, nanos=timeout % 1000 * 1_000_000),
            ),
            path_prefix=CHECK_PREFIX,
            # A worker that dies takes its questions along; asking another one is harmless. Another one: until the dead
            # one is noticed, the load balancer would choose it again as gladly as any.
            retry_policy=RetryPolicy(
                retry_on="connect-failure,refused-stream,reset",
                num_retries=UInt32Value(value=2),
                retry_host_predicate=[
                    RetryPolicy.RetryHostPredicate(
                        name="envoy.retry_host_predicates.previous_hosts",
                        typed_config=emit_any(PreviousHostsPredicate()),
                    )
                ],
                # Least of all requests are under way at the dead one, so it comes up again and again.
                host_selection_retry_max_attempts=32,
            ),
            authorization_request=AuthorizationRequest(
                headers_to_add=[
                    HeaderValue(key=PROGRAM_HEADER, value=f"%METADATA(ROUTE:{METADATA}:{METADATA_PROGRAM})%"),
                    HeaderValue(key=ROUTE_HEADER, value="%ROUTE_NAME%"),
                    # The path as the client spelled it: web servers decode theirs.
                    HeaderValue(key=PATH_HEADER, value="%REQ(:PATH)%"),
                    # Of the client's body; the question's own body is another one, or none.
                    HeaderValue(key=LENGTH_HEADER, value="%REQ(CONTENT-LENGTH)%"),
                    HeaderValue(key=ENCODING_HEADER, value="%REQ(TRANSFER-ENCODING)%"),
                ]
            ),
            # Which headers may pass is the program's decision, made in the auth service. Lists of names here would
            # have to change with every policy, and a changed listener drains its connections.
            authorization_response=AuthorizationResponse(
                allowed_upstream_headers=_everything_but(
                    (*_TRANSPORT_NAMES, "content-type"), (*_TRANSPORT_PREFIXES, OUR_HEADERS_PREFIX)
                ),
                allowed_client_headers=_everything_but(
                    (*_TRANSPORT_NAMES, CONSUMER_HEADER, KEY_HEADER, STATUS_HEADER), _TRANSPORT_PREFIXES
                ),
                dynamic_metadata_from_headers=_patterns(
                    StringMatcher(exact=CONSUMER_HEADER),
                    StringMatcher(exact=KEY_HEADER),
                    StringMatcher(exact=QUERY_HEADER),
                    StringMatcher(exact=STATUS_HEADER),
                    StringMatcher(exact=TARGET_HEADER),
                ),
            ),
        ),
    )


def _patterns(*matchers: StringMatcher) -> ListStringMatcher:
    return ListStringMatcher(patterns=matchers)


def _everything_but(names: tuple[str, ...], prefixes: tuple[str, ...]) -> ListStringMatcher:
    return _patterns(StringMatcher(safe_regex=RegexMatcher(regex=everything_but(names, prefixes))))
