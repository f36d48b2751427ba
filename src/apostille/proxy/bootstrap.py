"""The static part of Envoy's configuration: who it is, whom it asks, and how it is asked.

A bootstrap is plain data in the JSON form of envoy.config.bootstrap.v3.Bootstrap, so the small supervising process
need not load the message classes. It must not know routes: they come over xDS.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from apostille.base.limits import MAX_REGEX_PROGRAM

XDS_CLUSTER = "apostille_xds"
AUTH_CLUSTER = "apostille_auth"
NODE_CLUSTER = "envoy"

# Unix socket paths, with their closing zero byte, fill a field of 108 bytes in the kernel.
SOCKET_PATH_BYTES = 107

Json = Mapping[str, object]

_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_CONNECTION_LIMIT = "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
# Limits of the auth hop: beyond them Envoy answers 503 at once, before memory runs out.
_AUTH_CONNECTIONS = 1024
_AUTH_REQUESTS = 16384
# How much of the memory that it has no use for any more Envoy gives back to the system each second. While a change is
# taken, the routes are there twice; without this the room for the second copy stays Envoy's for ever.
_RELEASED_BYTES = 64 * 1024 * 1024


def compile_bootstrap(
    *,
    admin_socket: Path,
    xds_socket: Path,
    auth_sockets: Sequence[Path],
    node_id: str = "apostille",
    max_connections: int = 50_000,
) -> Json:
    """The bootstrap of an Envoy that takes listeners and clusters over delta ADS from `xds_socket`.

    `max_connections`: how many client connections Envoy holds at a time; it refuses more.
    """
    ads = {"ads": {}, "resource_api_version": "V3"}
    return {
        "node": {"id": node_id, "cluster": NODE_CLUSTER},
        "admin": {"address": {"pipe": {"path": str(admin_socket), "mode": 0o600}}},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [
                    {
                        "envoy_grpc": {
                            "cluster_name": XDS_CLUSTER,
                            # Envoy would wait up to 30 s after the control plane has been away for a while.
                            "retry_policy": {"retry_back_off": {"base_interval": "0.1s", "max_interval": "1s"}},
                        }
                    }
                ],
            },
            "lds_config": ads,
            "cds_config": ads,
        },
        "static_resources": {"clusters": [compile_xds_cluster(xds_socket), compile_auth_cluster(auth_sockets)]},
        "overload_manager": compile_overload_manager(max_connections),
        "layered_runtime": compile_runtime(),
        "memory_allocator_manager": {"bytes_to_release": _RELEASED_BYTES, "memory_release_interval": "1s"},
    }


def compile_runtime() -> Json:
    """Envoy's default for the size of a compiled regular expression is 100, which refuses quite ordinary ones."""
    size = {"re2.max_program_size.error_level": MAX_REGEX_PROGRAM, "re2.max_program_size.warn_level": MAX_REGEX_PROGRAM}
    return {"layers": [{"name": "apostille", "static_layer": size}]}


def compile_xds_cluster(socket: Path) -> Json:
    return {
        "name": XDS_CLUSTER,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": _assignment(XDS_CLUSTER, (socket,)),
        "typed_extension_protocol_options": _http2(),
        # While the control plane is away Envoy asks again and again: that must not shut the door for its return.
        "circuit_breakers": {
            "thresholds": [{"max_connections": 16, "max_requests": 1024, "max_pending_requests": 1024}]
        },
    }


def compile_auth_cluster(sockets: Sequence[Path]) -> Json:
    """The auth workers. One that does not answer is left out after two failures, and tried again a second later.

    Only failures to connect or to answer count: a 503 from an auth worker is a decision (a signer is down, say), and
    ejecting workers for that would shut every door.
    """
    return {
        "name": AUTH_CLUSTER,
        "type": "STATIC",
        "connect_timeout": "0.25s",
        "lb_policy": "LEAST_REQUEST",
        "load_assignment": _assignment(AUTH_CLUSTER, sockets),
        "typed_extension_protocol_options": _http2(),
        # Below this share of usable workers Envoy asks the ejected ones too; 10 %: only when all are ejected.
        # And Envoy would hold back the news of an ejection for up to a second, to merge it with others (measured: half
        # of the requests of that second still went to the dead worker).
        "common_lb_config": {"healthy_panic_threshold": {"value": 10}, "update_merge_window": "0s"},
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": _AUTH_CONNECTIONS,
                    "max_pending_requests": _AUTH_REQUESTS,
                    "max_requests": _AUTH_REQUESTS,
                    "max_retries": _AUTH_REQUESTS,
                }
            ]
        },
        "outlier_detection": {
            "split_external_local_origin_errors": True,
            "consecutive_local_origin_failure": 2,
            "enforcing_consecutive_local_origin_failure": 100,
            "enforcing_local_origin_success_rate": 0,
            "enforcing_consecutive_5xx": 0,
            "enforcing_consecutive_gateway_failure": 0,
            "enforcing_success_rate": 0,
            "interval": "0.25s",
            "base_ejection_time": "1s",
            "max_ejection_time": "3s",
            "max_ejection_percent": 100,
        },
    }


def compile_overload_manager(max_connections: int) -> Json:
    return {
        "resource_monitors": [
            {
                "name": "envoy.resource_monitors.global_downstream_max_connections",
                "typed_config": {
                    "@type": f"type.googleapis.com/{_CONNECTION_LIMIT}",
                    "max_active_downstream_connections": max_connections,
                },
            }
        ]
    }


def write_bootstrap(path: Path, bootstrap: Json) -> None:
    """Write it where Envoy reads it: whole or not at all, and for the owner's eyes only."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(bootstrap, file, sort_keys=True)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink()
        raise


def _assignment(cluster: str, sockets: Sequence[Path]) -> Json:
    return {
        "cluster_name": cluster,
        "endpoints": [
            {"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": str(socket)}}}} for socket in sockets]}
        ],
    }


def _http2() -> Json:
    return {
        _HTTP_OPTIONS: {
            "@type": f"type.googleapis.com/{_HTTP_OPTIONS}",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
