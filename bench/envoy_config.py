"""Envoy configurations written by hand: the upstream, the bare proxy, and the proxy of the published design. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Json = Mapping[str, object]

_TYPE = "type.googleapis.com/envoy.extensions"
OBJECT = "0123456789abcdef" * 64
"""The object that is asked for: 1 KiB."""


def upstream_config() -> Json:
    """Answers everything with `OBJECT`, at a cost of its own that no design can be blamed for."""
    answer = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": OBJECT}}}
    return {"static_resources": {"listeners": [_listener([answer], [])]}}


def bare_config(upstream: int, *, routes: int = 1, access_log: Sequence[Json] = (), host: str | None = None) -> Json:
    """A plain proxy with default settings; with more than one route, a list of prefixes as most people write it."""
    action: Json = {"cluster": "up", **({"host_rewrite_literal": host} if host else {})}
    listed = [{"match": {"prefix": route_prefix(number)}, "route": action} for number in range(routes)]
    table = [{"match": {"prefix": "/"}, "route": action}] if routes == 1 else listed
    return {
        "static_resources": {
            "listeners": [_listener(table, [], access_log=access_log)],
            "clusters": [_cluster("up", upstream)],
        }
    }


def asking_config(upstream: int, auth: int, host: str) -> Json:
    """Each request is first put to an HTTP auth service, whose signature headers go on to the upstream."""
    passed = ["authorization", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token"]
    asking: Json = {
        "name": "envoy.filters.http.ext_authz",
        "typed_config": {
            "@type": f"{_TYPE}.filters.http.ext_authz.v3.ExtAuthz",
            "transport_api_version": "V3",
            "allowed_headers": {"patterns": [{"exact": "api-key"}]},
            "http_service": {
                "server_uri": {"uri": f"http://127.0.0.1:{auth}", "cluster": "auth", "timeout": "5s"},
                "authorization_response": {"allowed_upstream_headers": {"patterns": [{"exact": n} for n in passed]}},
            },
        },
    }
    route = {"match": {"prefix": "/"}, "route": {"cluster": "up", "host_rewrite_literal": host}}
    return {
        "static_resources": {
            "listeners": [_listener([{**route, "request_headers_to_remove": ["api-key"]}], [asking])],
            "clusters": [_cluster("up", upstream), _cluster("auth", auth)],
        }
    }


def route_prefix(number: int) -> str:
    return f"/r{number:05}/"


def _listener(routes: Sequence[Json], filters: Sequence[Json], *, access_log: Sequence[Json] = ()) -> Json:
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": f"{_TYPE}.filters.http.router.v3.Router"},
    }
    manager = {
        "@type": f"{_TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "http_filters": [*filters, router],
        "access_log": list(access_log),
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": list(routes)}]},
    }
    return {
        "name": "bench",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }


def _cluster(name: str, port: int) -> Json:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }
