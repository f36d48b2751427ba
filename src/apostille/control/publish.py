"""Handing a proven gateway to the auth service and to Envoy, in an order that leaves no request between two versions.

A route names exactly the program it was compiled with (the id holds a digest). So the new programs go out first,
beside the old; then Envoy gets the routes that name them; then the old programs go. No request meets a route whose
program is not there yet, or a program that is older or newer than its route.
"""

from __future__ import annotations

from dataclasses import dataclass

from apostille.auth.codec import KEYRING_TYPE_URL, PROGRAM_TYPE_URL, emit_keyring, emit_program
from apostille.model.gateway import Gateway
from apostille.xds.cache import AUTH_GROUP, ENVOY_GROUP, SnapshotCache
from apostille.xds.configuration import emit_configuration
from apostille.xds.feedback import Feedback, Nack
from apostille.xds.site import Site
from apostille.xds.snapshot import Snapshot, build_snapshot

# How long, in seconds, one phase waits for everybody before the next begins all the same. A node that is away gets
# the newest state when it comes back.
PATIENCE = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """`acknowledged`: every connected Envoy and auth worker runs it. `refusals` are what they would not take."""

    version: str
    acknowledged: bool
    refusals: tuple[Nack, ...]


class Publisher:
    """Owns what the cache holds. One publication at a time: the caller awaits each."""

    def __init__(self, cache: SnapshotCache, feedback: Feedback) -> None:
        self._cache = cache
        self._feedback = feedback
        self._programs: dict[tuple[str, str], bytes] = {}

    async def publish(self, gateway: Gateway, site: Site) -> Published:
        programs = _emit_auth(gateway)
        envoy = _emit_envoy(gateway, site)

        both = {**self._programs, **programs}
        ready = await self._phase(AUTH_GROUP, _snapshot(both))
        routed = await self._phase(ENVOY_GROUP, envoy)
        # The old programs go once Envoy no longer names them. If it could not be convinced, they stay until next time.
        self._programs = programs if routed.acknowledged else both
        if routed.acknowledged:
            await self._phase(AUTH_GROUP, _snapshot(programs))
        return Published(
            version=envoy.version,
            acknowledged=ready.acknowledged and routed.acknowledged,
            refusals=(*ready.refusals, *routed.refusals),
        )

    async def _phase(self, group: str, snapshot: Snapshot) -> Published:
        self._cache.set_snapshot(group, snapshot)
        outcome = await self._feedback.wait_acked(group, snapshot.version, PATIENCE, minimum_nodes=0)
        return Published(version=snapshot.version, acknowledged=outcome.acked, refusals=outcome.refusals)


def _emit_auth(gateway: Gateway) -> dict[tuple[str, str], bytes]:
    return {
        **{(PROGRAM_TYPE_URL, program.id): emit_program(program) for program in gateway.programs},
        **{(KEYRING_TYPE_URL, ring.id): emit_keyring(ring) for ring in gateway.keyrings},
    }


def _snapshot(resources: dict[tuple[str, str], bytes]) -> Snapshot:
    return build_snapshot(raw=((type_url, name, body) for (type_url, name), body in resources.items()))


def _emit_envoy(gateway: Gateway, site: Site) -> Snapshot:
    configuration = emit_configuration(gateway, site)
    return build_snapshot(
        [
            *((cluster.name, cluster) for cluster in configuration.clusters),
            *((listener.name, listener) for listener in configuration.listeners),
            *((routes.name, routes) for routes in configuration.route_configurations),
        ]
    )
