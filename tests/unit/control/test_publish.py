from __future__ import annotations

import pytest

from apostille.auth.upstreams import UpstreamNews
from apostille.base.refs import Ref
from apostille.control.publish import GRACE, Publisher
from apostille.model.auth import KeyRing, Program
from apostille.model.gateway import Gateway, Listener, VirtualHost
from apostille.model.lane import KEY_SLOTS
from apostille.model.route import Guard, Match, PathKind, PathMatch, Respond, Route
from apostille.xds.cache import AUTH_GROUP, ENVOY_GROUP
from apostille.xds.key_slots import slot_name
from apostille.xds.site import Site
from apostille.xds.snapshot import find_inconsistencies
from tests.unit.control.nodes import Nodes
from tests.unit.credentials.stand_ins import FakeClock

SITE = Site()
POLICY = Ref("ExtAuthPolicy", "apps", "users")
LISTENER = "apps/ingress/8080"
SLOTS = {slot_name(slot) for slot in range(KEY_SLOTS)}


def gateway(*programs: str, ring: str = "apps/users/key") -> Gateway:
    """One route for each program."""
    routes = tuple(
        Route(
            name=program,
            owner=Ref("RouteTable", "apps", "shop"),
            match=Match(path=PathMatch(kind=PathKind.EXACT, value=f"/{program}")),
            action=Respond(status=200),
            guard=Guard(program=program, policy="apps/users"),
        )
        for program in programs
    )
    return Gateway(
        listeners=(
            Listener(
                name=LISTENER,
                owner=Ref("VirtualGateway", "apps", "ingress"),
                port=8080,
                virtual_hosts=(VirtualHost(name="*", domains=("*",), routes=routes),),
            ),
        ),
        programs=tuple(Program(id=program, policy=POLICY, steps=(), deadline_ms=1000) for program in programs),
        keyrings=(KeyRing(id=ring, keys=()),),
    )


@pytest.fixture
def nodes() -> Nodes:
    return Nodes()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def publisher(nodes: Nodes, clock: FakeClock) -> Publisher:
    return Publisher(nodes.cache, nodes.feedback, clock)


async def test_programs_go_before_the_routes_that_name_them_and_old_ones_some_minutes_after(
    nodes: Nodes, publisher: Publisher, clock: FakeClock
) -> None:
    nodes.connect(ENVOY_GROUP, AUTH_GROUP)
    await publisher.publish(gateway("one"), SITE)
    await publisher.publish(gateway("two"), SITE)
    assert nodes.seen == [
        (AUTH_GROUP, {"one", "apps/users/key"}),
        (ENVOY_GROUP, {LISTENER, *SLOTS}),
        (AUTH_GROUP, {"one", "two", "apps/users/key"}),
        (ENVOY_GROUP, {LISTENER, *SLOTS}),
    ]
    # A request that came in by the old route may still be waiting for its body.
    clock.advance(GRACE - 1)
    await publisher.retire()
    assert nodes.seen[-1] == (ENVOY_GROUP, {LISTENER, *SLOTS})
    clock.advance(1)
    await publisher.retire()
    assert nodes.seen[-1] == (AUTH_GROUP, {"two", "apps/users/key"})


async def test_a_program_that_comes_back_is_not_taken_away(
    nodes: Nodes, publisher: Publisher, clock: FakeClock
) -> None:
    nodes.connect(ENVOY_GROUP, AUTH_GROUP)
    for name in ("one", "two", "one"):
        await publisher.publish(gateway(name), SITE)
    clock.advance(GRACE)
    await publisher.retire()
    assert nodes.seen[-1] == (AUTH_GROUP, {"one", "apps/users/key"})


async def test_news_of_destinations_disturb_no_program(nodes: Nodes, publisher: Publisher) -> None:
    nodes.connect(ENVOY_GROUP, AUTH_GROUP)
    await publisher.publish_news({"apps/s3": UpstreamNews(refusals=1)})
    assert nodes.seen == []
    await publisher.publish(gateway("one"), SITE)
    await publisher.publish(gateway("two"), SITE)
    await publisher.publish_news({"apps/s4": UpstreamNews(refusals=1)})
    assert nodes.seen[-1] == (AUTH_GROUP, {"one", "two", "apps/users/key", "apps/s4"})


async def test_when_everybody_agrees_the_publication_is_acknowledged(nodes: Nodes, publisher: Publisher) -> None:
    nodes.connect(ENVOY_GROUP, AUTH_GROUP)
    published = await publisher.publish(gateway("one"), SITE)
    current = nodes.cache.current(ENVOY_GROUP)
    assert current is not None
    assert (published.version, published.acknowledged, published.refusals) == (current.snapshot.version, True, ())


async def test_with_nobody_connected_nothing_is_waited_for(publisher: Publisher) -> None:
    assert (await publisher.publish(gateway("one"), SITE)).acknowledged


async def test_what_is_published_holds_together(nodes: Nodes, publisher: Publisher) -> None:
    await publisher.publish(gateway("one"), SITE)
    current = nodes.cache.current(ENVOY_GROUP)
    assert current is not None
    assert find_inconsistencies(current.snapshot, static_clusters=("apostille_auth", "apostille_xds")) == ()


async def test_equal_content_wakes_nobody(nodes: Nodes, publisher: Publisher) -> None:
    nodes.connect(ENVOY_GROUP, AUTH_GROUP)
    first = await publisher.publish(gateway("one"), SITE)
    seen = list(nodes.seen)
    assert await publisher.publish(gateway("one"), SITE) == first
    assert nodes.seen == seen


async def test_a_new_key_ring_touches_no_route(nodes: Nodes, publisher: Publisher) -> None:
    nodes.connect(ENVOY_GROUP, AUTH_GROUP)
    first = await publisher.publish(gateway("one"), SITE)
    nodes.seen.clear()
    second = await publisher.publish(gateway("one", ring="apps/users/other"), SITE)
    assert second.version == first.version
    assert {group for group, _ in nodes.seen} == {AUTH_GROUP}


async def test_old_programs_stay_for_an_envoy_that_refuses_the_new_routes(
    nodes: Nodes, publisher: Publisher, clock: FakeClock
) -> None:
    nodes.connect(ENVOY_GROUP, AUTH_GROUP)
    await publisher.publish(gateway("one"), SITE)
    nodes.refuses[ENVOY_GROUP] = "no"
    published = await publisher.publish(gateway("two"), SITE)
    assert not published.acknowledged
    assert [nack.text for nack in published.refusals] == ["no"]
    current = nodes.cache.current(AUTH_GROUP)
    assert current is not None
    assert {name for named in current.snapshot.resources.values() for name in named} == {"one", "two", "apps/users/key"}

    del nodes.refuses[ENVOY_GROUP]
    assert (await publisher.publish(gateway("three"), SITE)).acknowledged
    clock.advance(GRACE)
    await publisher.retire()
    assert nodes.seen[-1] == (AUTH_GROUP, {"three", "apps/users/key"})


async def test_a_refusal_of_the_auth_service_is_told(nodes: Nodes, publisher: Publisher) -> None:
    nodes.connect(ENVOY_GROUP, AUTH_GROUP)
    nodes.refuses[AUTH_GROUP] = "cannot start the step"
    published = await publisher.publish(gateway("one"), SITE)
    assert not published.acknowledged
    assert [nack.text for nack in published.refusals] == ["cannot start the step"]
