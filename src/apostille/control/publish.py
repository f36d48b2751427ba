"""Handing a proven gateway to the auth service and to Envoy, in an order that leaves no request between two versions.

A route names exactly the program it was compiled with (the id holds a digest). So the new programs go out first,
beside the old; then Envoy gets the routes that name them; the old programs go some minutes later. No request meets a
route whose program is not there yet, or a program that is older or newer than its route.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

from apostille.auth.codec import KEYRING_TYPE_URL, PROGRAM_TYPE_URL, emit_keyring, emit_program
from apostille.auth.upstreams import UPSTREAM_TYPE_URL, UpstreamNews, emit_news
from apostille.base.clock import Clock
from apostille.base.collector import collector_paused
from apostille.model.gateway import Gateway
from apostille.model.lane import EnvoyKeys
from apostille.xds.cache import AUTH_GROUP, ENVOY_GROUP, SnapshotCache
from apostille.xds.configuration import emit_snapshot
from apostille.xds.feedback import Feedback, Nack
from apostille.xds.routes import RouteCache
from apostille.xds.site import Site
from apostille.xds.snapshot import Snapshot, build_snapshot

# How long, in seconds, one phase waits for everybody before the next begins all the same. A node that is away gets
# the newest state when it comes back.
PATIENCE = 3.0

# How long, in seconds, a program stays that no route names any more. A request keeps the route that it came in by, and
# asks only when as much of its body has come as the program wants to see: up to Envoy's stream idle timeout later.
GRACE = 300.0


# Type URL and name → body.
Resources = Mapping[tuple[str, str], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """`acknowledged`: every connected Envoy and auth worker runs it. `refusals` are what they would not take."""

    version: str
    acknowledged: bool
    refusals: tuple[Nack, ...]


class Publisher:
    """Owns what the cache holds. One publication at a time; later ones wait."""

    def __init__(
        self, cache: SnapshotCache, feedback: Feedback, clock: Clock, routes: RouteCache | None = None
    ) -> None:
        """`routes`: shared with those who emit a gateway's routes before it is published."""
        self._cache = cache
        self._feedback = feedback
        self._routes = routes or RouteCache()
        self._clock = clock
        self._programs: Resources = {}
        # What no route names any more, and until when it stays.
        self._leaving: Resources = {}
        self._until: dict[tuple[str, str], float] = {}
        self._rings: tuple[EnvoyKeys, ...] = ()
        self._news: Resources = {}
        self._begun = False
        self._turn = asyncio.Lock()

    async def publish_news(self, news: Mapping[str, UpstreamNews]) -> None:
        """Tell the auth workers about the destinations of outbound policies, all of them, by ``namespace/name``."""
        async with self._turn:
            self._news = {(UPSTREAM_TYPE_URL, policy): emit_news(each) for policy, each in news.items()}
            # Before the first publication there are no programs here, and workers would drop those that they have.
            if self._begun:
                await self._phase(AUTH_GROUP, self._snapshot(self._programs))

    async def retire(self) -> None:
        """Take back the programs whose time is over."""
        async with self._turn:
            now = self._clock.monotonic()
            over = [key for key, until in self._until.items() if until <= now]
            for key in over:
                del self._until[key]
            self._leaving = {key: body for key, body in self._leaving.items() if key in self._until}
            if over:
                await self._phase(AUTH_GROUP, self._snapshot(self._programs))

    async def retire_in_time(self) -> None:
        """Ends only by being cancelled."""
        while True:
            await asyncio.sleep(GRACE / 10)
            await self.retire()

    async def publish(self, gateway: Gateway, site: Site) -> Published:
        async with self._turn:
            return await self._publish(gateway, site)

    async def _publish(self, gateway: Gateway, site: Site) -> Published:
        programs = _emit_auth(gateway)
        # A filter that loses its ring keeps it until no route of Envoy's switches it on.
        used = {ring.slot for ring in gateway.envoy_keys}
        leaving = tuple(ring for ring in self._rings if ring.slot not in used)
        self._rings = (*gateway.envoy_keys, *leaving)
        envoy = _emit_envoy(replace(gateway, envoy_keys=self._rings), site, self._routes)
        self._begun = True

        both = {**self._programs, **programs}
        ready = await self._phase(AUTH_GROUP, self._snapshot(both))
        routed = await self._phase(ENVOY_GROUP, envoy)
        if leaving and routed.acknowledged:
            self._rings = gateway.envoy_keys
            envoy = _emit_envoy(gateway, site, self._routes)
            routed = await self._phase(ENVOY_GROUP, envoy)
        self._routes.forget()
        # If Envoy could not be convinced, its routes name the old programs still: their time begins later.
        self._programs = programs if routed.acknowledged else both
        until = self._clock.monotonic() + GRACE
        gone = {key: body for key, body in both.items() if key not in self._programs}
        self._leaving = {key: body for key, body in {**self._leaving, **gone}.items() if key not in self._programs}
        self._until = {key: self._until.get(key, until) for key in self._leaving}
        return Published(
            version=envoy.version,
            acknowledged=ready.acknowledged and routed.acknowledged,
            refusals=(*ready.refusals, *routed.refusals),
        )

    def _snapshot(self, programs: Resources) -> Snapshot:
        resources = {**self._leaving, **programs, **self._news}
        return build_snapshot(raw=((url, name, body) for (url, name), body in resources.items()))

    async def _phase(self, group: str, snapshot: Snapshot) -> Published:
        self._cache.set_snapshot(group, snapshot)
        outcome = await self._feedback.wait_acked(group, snapshot.version, PATIENCE, minimum_nodes=0)
        return Published(version=snapshot.version, acknowledged=outcome.acked, refusals=outcome.refusals)


def _emit_auth(gateway: Gateway) -> dict[tuple[str, str], bytes]:
    return {
        **{(PROGRAM_TYPE_URL, program.id): emit_program(program) for program in gateway.programs},
        **{(KEYRING_TYPE_URL, ring.id): emit_keyring(ring) for ring in gateway.keyrings},
    }


def _emit_envoy(gateway: Gateway, site: Site, routes: RouteCache) -> Snapshot:
    with collector_paused():
        return emit_snapshot(gateway, site, routes)
