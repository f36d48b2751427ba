"""Every name that both we and Envoy's configuration must spell alike."""

from __future__ import annotations

# Metadata namespace of routes; the access log and the auth request read from it.
METADATA = "apostille"
METADATA_PROGRAM = "program"
METADATA_POLICY = "policy"
METADATA_OUTBOUND = "outbound"

# Dynamic metadata of a request (in METADATA): what was seen in the destination's answer; also the name of that log.
SIGHTING = "sighting"

# Filter state of a request: host, path (without query) and id as they came in; the access log reads them.
ASKED_HOST = "apostille.asked_host"
ASKED_PATH = "apostille.asked_path"
ASKED_ID = "apostille.asked_id"
# And who is calling, where Envoy has found that out itself.
CALLER = "apostille.caller"

EXT_AUTHZ = "envoy.filters.http.ext_authz"
HEADER_MUTATION = "envoy.filters.http.header_mutation"
# The same filter in the upstream chain, under a name of its own: Envoy looks a route's settings up by name, and would
# take away there what the auth service has just set.
OUTWARD_HYGIENE = "apostille.outward_hygiene"
SET_FILTER_STATE = "envoy.filters.http.set_filter_state"
WATCH = "envoy.filters.http.lua"
TOLD_QUERY = "apostille.told_query"
ROUTER = "envoy.filters.http.router"
UPSTREAM_CODEC = "envoy.filters.http.upstream_codec"
HTTP_PROTOCOL_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
