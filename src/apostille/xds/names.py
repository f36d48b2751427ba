"""Every name that both we and Envoy's configuration must spell alike."""

from __future__ import annotations

# Metadata namespace of routes; the access log and the auth request read from it.
METADATA = "apostille"
METADATA_PROGRAM = "program"
METADATA_POLICY = "policy"
METADATA_TABLE = "table"

# Headers between Envoy and the auth service. The client's copies never get that far: Envoy overwrites them.
PROGRAM_HEADER = "x-apostille-program"
ROUTE_HEADER = "x-apostille-route"
REASON_HEADER = "x-apostille-reason"
CONSUMER_HEADER = "x-apostille-consumer"
OUR_HEADERS_PREFIX = "x-apostille-"
CHECK_PREFIX = "/check"

EXT_AUTHZ = "envoy.filters.http.ext_authz"
HEADER_MUTATION = "envoy.filters.http.header_mutation"
ROUTER = "envoy.filters.http.router"
UPSTREAM_CODEC = "envoy.filters.http.upstream_codec"
HTTP_PROTOCOL_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
