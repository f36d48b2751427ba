"""A real Envoy chooses the route that the rules choose, for every table and every request."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryResponse
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from apostille.base.clock import SystemClock
from apostille.model.gateway import Listener
from apostille.model.route import Route
from apostille.proxy.binary import find_envoy
from apostille.proxy.process import EnvoyCommand, EnvoyProcess
from apostille.routing.choice import Request, Unrouted, choose
from apostille.xds.configuration import emit_json
from apostille.xds.listeners import emit_listener
from apostille.xds.packing import emit_any
from apostille.xds.routes import emit_route_configuration
from apostille.xds.site import Site
from tests.properties.route_tables import NAME, OWNER, listeners, requests

_ROUTER = {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}
_WATCHED = "generation.test"
# So often Envoy is asked for new routes before it counts as refusing them; it takes a few milliseconds.
_PATIENCE = 20_000


def _bootstrap(folder: Path) -> str:
    """Our own listener, but for its filters: no guard, and every answer's body is the name of the route it found."""
    bare = Listener(name=NAME, owner=OWNER, port=0, virtual_hosts=())
    listener = emit_listener(bare, Site(), deadline_ms=1000, status_on_error=503)
    manager = HttpConnectionManager.FromString(listener.filter_chains[0].filters[0].typed_config.value)
    settings_of_ours = emit_json(manager)
    typed = {
        "@type": "type.googleapis.com/" + manager.DESCRIPTOR.full_name,
        **{key: value for key, value in settings_of_ours.items() if key not in ("access_log", "local_reply_config")},
        "http_filters": [{"name": "router", "typed_config": _ROUTER}],
        "local_reply_config": {
            "body_format": {"text_format_source": {"inline_string": "%ROUTE_NAME% %RESPONSE_FLAGS% %RESPONSE_CODE%"}}
        },
        "rds": {
            "route_config_name": NAME,
            "config_source": {
                "path_config_source": {
                    "path": str(folder / "routes.pb"),
                    "watched_directory": {"path": str(folder)},
                }
            },
        },
    }
    shown = emit_json(listener)
    chain = {"filters": [{"name": "hcm", "typed_config": typed}]}
    return json.dumps(
        {
            "node": {"id": "one", "cluster": "envoy"},
            "admin": {"address": {"pipe": {"path": str(folder / "admin")}}},
            "static_resources": {"listeners": [{**shown, "filter_chains": [chain]}]},
        }
    )


@dataclass(slots=True)
class Envoy:
    """One process for all examples; tables come and go."""

    folder: Path
    port: int = 0
    generation: int = 0
    connection: socket.socket | None = None
    unread: bytes = field(default=b"")

    def load(self, listener: Listener) -> None:
        """Returns when the routes are in use."""
        self.generation += 1
        configuration = emit_route_configuration(listener)
        marker = configuration.virtual_hosts.add(name=_WATCHED, domains=[_WATCHED])
        route = marker.routes.add(name=f"generation-{self.generation}")
        route.match.prefix = "/"
        route.direct_response.status = 200
        self.write(configuration)
        asking = Request(host=_WATCHED, path="/")
        tries = 0
        while self.port and self.ask(asking)[0] != f"generation-{self.generation}":
            tries += 1
            assert tries < _PATIENCE, "Envoy does not take the routes; its own words are above"

    def write(self, configuration: RouteConfiguration) -> None:
        response = DiscoveryResponse(version_info=str(self.generation), resources=[emit_any(configuration)])
        temporary = self.folder / "routes.tmp"
        temporary.write_bytes(response.SerializeToString())
        temporary.replace(self.folder / "routes.pb")

    def ask(self, request: Request) -> tuple[str, str, str]:
        """The route's name, Envoy's flags and the status."""
        lines = [f"{request.method} {request.path} HTTP/1.1", f"host: {request.host}"]
        lines += [f"{name}: {value}" for name, value in request.headers]
        for _ in range(2):
            if self.connection is None:
                self.connection, self.unread = socket.create_connection(("127.0.0.1", self.port)), b""
            body = self._exchange(self.connection, "\r\n".join([*lines, "content-length: 0", "", ""]).encode())
            if body is not None:
                name, flags, status = body.decode().split(" ")
                return name, flags, status
            self.connection.close()
            self.connection = None
        raise AssertionError(f"Envoy does not answer {lines}")

    def _exchange(self, connection: socket.socket, request: bytes) -> bytes | None:
        """The answer's body; None when Envoy has hung up."""
        try:
            connection.sendall(request)
            while b"\r\n\r\n" not in self.unread:
                more = connection.recv(65536)
                if not more:
                    return None
                self.unread += more
        except OSError:
            return None
        head, _, rest = self.unread.partition(b"\r\n\r\n")
        headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        length = int(headers[b"content-length"])
        while len(rest) < length:
            rest += connection.recv(65536)
        self.unread = rest[length:]
        if headers.get(b"connection") == b"close":
            connection.close()
            self.connection = None
        return rest[:length]


@pytest.fixture(scope="module")
def envoy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Envoy]:
    folder = tmp_path_factory.mktemp("e")
    (folder / "envoy.json").write_text(_bootstrap(folder))
    found = Envoy(folder)
    found.load(Listener(name=NAME, owner=OWNER, port=0, virtual_hosts=()))
    command = EnvoyCommand(
        binary=find_envoy().path, config=folder / "envoy.json", admin_socket=folder / "admin", concurrency=1
    )
    with asyncio.Runner() as runner:
        process = runner.run(EnvoyProcess.start(command, clock=SystemClock()))
        try:
            runner.run(process.wait_ready())
            found.port = runner.run(process.listener_ports())[NAME]
            yield found
        finally:
            if found.connection is not None:
                found.connection.close()
            runner.run(process.kill())


def expected(listener: Listener, request: Request) -> tuple[str, str]:
    """What the rules say, in Envoy's words: the name of the route, and the status where no route is found."""
    found = choose(listener, request).found
    if isinstance(found, Route):
        return found.name, ""
    return {Unrouted.ODD_PATH: ("odd-path", "400")}.get(found, ("-", "404"))


# Without shrinking: it takes minutes here, and the message has what matters.
@given(data=st.data(), listener=listeners())
@settings(
    max_examples=120,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_envoy_chooses_what_the_rules_choose(envoy: Envoy, data: st.DataObject, listener: Listener) -> None:
    envoy.load(listener)
    for request in data.draw(st.lists(requests(listener), min_size=20, max_size=40)):
        name, _, status = envoy.ask(request)
        wanted, wanted_status = expected(listener, request)
        assert (name, status if wanted_status else "") == (wanted, wanted_status), request
