from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import pytest

from apostille.base.refs import Ref
from apostille.model.destination import Destination, Endpoint
from apostille.model.gateway import Gateway, Listener, VirtualHost
from apostille.model.route import (
    Forward,
    Guard,
    Match,
    PathKind,
    PathMatch,
    Respond,
    Route,
    Strip,
    WeightedDestination,
)
from apostille.xds.proof import ProofError, prove

GATEWAY = Ref("VirtualGateway", "gateway", "ingress")


@dataclass
class ScriptedJudge:
    """Refuses a gateway in which `finds` finds something, in those words; keeps what it was asked."""

    finds: Callable[[Gateway], str | None]
    asked: list[Gateway] = field(default_factory=list)

    async def __call__(self, gateway: Gateway) -> str | None:
        self.asked.append(gateway)
        return self.finds(gateway)


def table(name: str) -> Ref:
    return Ref("RouteTable", "apps", name)


def route(name: str, *destinations: str, owner: str = "shop") -> Route:
    return Route(
        name=name,
        owner=table(owner),
        match=Match(path=PathMatch(kind=PathKind.PREFIX, value=f"/{name}")),
        action=Forward(destinations=tuple(WeightedDestination(destination=each) for each in destinations)),
        guard=Guard(program="gateway/users@1", policy="gateway/users"),
        strip=Strip(names=("api-key",)),
    )


def destination(name: str) -> Destination:
    return Destination(name=name, owner=Ref("Service", "apps", name), endpoints=(Endpoint(host="10.0.0.1", port=80),))


def listener(name: str, hosts: Mapping[str, Iterable[Route]]) -> Listener:
    virtual = tuple(VirtualHost(name=host, domains=(host,), routes=tuple(routes)) for host, routes in hosts.items())
    return Listener(name=name, owner=replace(GATEWAY, name=name), port=8080, virtual_hosts=virtual)


def gateway(*routes: Route, destinations: Iterable[str] = ("good",)) -> Gateway:
    return Gateway(
        listeners=(listener("ingress", {"*": routes}),), destinations=tuple(destination(each) for each in destinations)
    )


def routes_of(some: Gateway) -> list[Route]:
    return [route for listener in some.listeners for host in listener.virtual_hosts for route in host.routes]


def actions_of(some: Gateway) -> dict[str, str]:
    return {
        route.name: route.action.reason or "" if isinstance(route.action, Respond) else "forward"
        for route in routes_of(some)
    }


def refuses_forwarding(*names: str) -> Callable[[Gateway], str | None]:
    def finds(some: Gateway) -> str | None:
        bad = [r.name for r in routes_of(some) if r.name in names and isinstance(r.action, Forward)]
        return f"bad route {bad[0]}" if bad else None

    return finds


def refuses_match(*names: str) -> Callable[[Gateway], str | None]:
    def finds(some: Gateway) -> str | None:
        bad = [r.name for r in routes_of(some) if r.name in names]
        return f"bad match {bad[0]}" if bad else None

    return finds


async def test_a_gateway_without_fault_is_judged_once_and_stays_as_it_is() -> None:
    judge = ScriptedJudge(lambda _: None)
    before = gateway(route("one", "good"), route("two", "good"))
    proven = await prove(before, judge)
    assert proven.gateway is before
    assert proven.refusals == ()
    assert judge.asked == [before]


async def test_offenders_among_a_thousand_routes_are_found_by_halving() -> None:
    bad = {"r17", "r18", "r900"}
    judge = ScriptedJudge(refuses_forwarding(*bad))
    proven = await prove(gateway(*(route(f"r{i}", "good") for i in range(1000))), judge)
    actions = actions_of(proven.gateway)
    assert {name for name, action in actions.items() if action == "route_refused"} == bad
    assert sum(action == "forward" for action in actions.values()) == 997
    assert {refusal.what: refusal.words for refusal in proven.refusals} == {name: f"bad route {name}" for name in bad}
    assert {refusal.owner for refusal in proven.refusals} == {table("shop")}
    assert len(judge.asked) < 2 * len(bad) * math.ceil(math.log2(1000)) + 10


async def test_a_refused_route_answers_500_without_its_guard_and_matches_what_it_matched() -> None:
    before = route("bad", "good")
    proven = await prove(gateway(before), ScriptedJudge(refuses_forwarding("bad")))
    assert routes_of(proven.gateway) == [
        replace(before, action=Respond(status=500, reason="route_refused"), guard=None, strip=Strip())
    ]


async def test_a_refused_destination_goes_and_every_route_to_it_answers_500() -> None:
    def finds(some: Gateway) -> str | None:
        return "bad cluster" if any(each.name == "bad" for each in some.destinations) else None

    before = gateway(
        route("good", "good"), route("bad", "bad"), route("partly", "good", "bad"), destinations=("bad", "good")
    )
    proven = await prove(before, ScriptedJudge(finds))
    assert [each.name for each in proven.gateway.destinations] == ["good"]
    assert actions_of(proven.gateway) == {
        "good": "forward",
        "bad": "destination_refused",
        "partly": "destination_refused",
    }
    [refusal] = proven.refusals
    assert (refusal.owner, refusal.what, refusal.words) == (Ref("Service", "apps", "bad"), "bad", "bad cluster")


async def test_a_refused_listener_is_not_opened_and_the_others_are() -> None:
    def finds(some: Gateway) -> str | None:
        return "bad listener" if any(each.name == "bad" for each in some.listeners) else None

    hosts = {"*": [route("one", "good")]}
    before = Gateway(listeners=(listener("bad", hosts), listener("good", hosts)), destinations=(destination("good"),))
    proven = await prove(before, ScriptedJudge(finds))
    assert [each.name for each in proven.gateway.listeners] == ["good"]
    assert actions_of(proven.gateway) == {"one": "forward"}
    assert [(r.owner.name, r.what) for r in proven.refusals] == [("bad", "bad")]


async def test_a_refused_match_is_dropped_and_shuts_what_follows_in_its_own_table_alone() -> None:
    before = gateway(
        route("before", "good"),
        route("lost", "good"),
        route("other", "good", owner="neighbour"),
        route("after", "good"),
    )
    proven = await prove(before, ScriptedJudge(refuses_match("lost")))
    assert actions_of(proven.gateway) == {"before": "forward", "other": "forward", "after": "route_refused"}
    assert routes_of(proven.gateway)[1].guard is not None


async def test_a_refused_match_shuts_only_the_virtual_hosts_it_stood_in() -> None:
    lost, after = route("lost", "good"), route("after", "good")
    before = Gateway(
        listeners=(listener("ingress", {"a.example.com": [lost, after], "b.example.com": [after]}),),
        destinations=(destination("good"),),
    )
    proven = await prove(before, ScriptedJudge(refuses_match("lost")))
    reasons = [[r.action for r in host.routes] for host in proven.gateway.listeners[0].virtual_hosts]
    assert reasons == [[Respond(status=500, reason="route_refused")], [after.action]]


async def test_several_faults_of_every_kind_are_told_at_once() -> None:
    def finds(some: Gateway) -> str | None:
        return (
            ("bad cluster" if any(each.name == "bad" for each in some.destinations) else None)
            or refuses_forwarding("bad-route")(some)
            or refuses_match("bad-match")(some)
        )

    before = gateway(
        route("bad-route", "good"),
        route("good", "good", owner="neighbour"),
        route("bad-match", "good"),
        route("to-bad", "bad", owner="neighbour"),
        destinations=("bad", "good"),
    )
    proven = await prove(before, ScriptedJudge(finds))
    assert [refusal.what for refusal in proven.refusals] == ["bad", "bad-route", "bad-match"]
    assert actions_of(proven.gateway) == {
        "bad-route": "route_refused",
        "good": "forward",
        "to-bad": "destination_refused",
    }


async def test_what_no_part_explains_raises_in_the_words_of_envoy() -> None:
    with pytest.raises(ProofError, match="the whole is too large"):
        await prove(gateway(route("one", "good")), ScriptedJudge(lambda some: "the whole is too large"))


async def test_two_listeners_that_only_clash_together_cannot_be_proven() -> None:
    hosts = {"*": [route("one", "good")]}
    before = Gateway(listeners=(listener("a", hosts), listener("b", hosts)), destinations=(destination("good"),))
    with pytest.raises(ProofError, match="clash"):
        await prove(before, ScriptedJudge(lambda some: "clash" if len(some.listeners) > 1 else None))


async def test_what_was_proven_before_is_not_judged_again() -> None:
    judge = ScriptedJudge(lambda _: None)
    before = gateway(route("one", "good"), route("two", "good"))
    changed = replace(route("two", "good"), action=Respond(status=404))
    after = gateway(route("one", "good"), changed, destinations=("good", "more"))
    proven = await prove(after, judge, before)
    assert proven.gateway is after
    assert [routes_of(asked) for asked in judge.asked] == [[changed]]
    assert [[each.name for each in asked.destinations] for asked in judge.asked] == [["more"]]
    assert [[host.domains for host in asked.listeners[0].virtual_hosts] for asked in judge.asked] == [[("*",)]]


async def test_a_fault_that_stays_is_found_again_among_what_is_new_alone() -> None:
    many = [route(f"r{number}", "good") for number in range(100)]
    first = await prove(gateway(*many, route("bad", "good")), ScriptedJudge(refuses_forwarding("bad")))
    judge = ScriptedJudge(refuses_forwarding("bad"))
    second = await prove(gateway(*many, route("bad", "good"), route("new", "good")), judge, first.gateway)
    assert [refusal.what for refusal in second.refusals] == ["bad"]
    assert actions_of(second.gateway)["bad"] == "route_refused"
    assert actions_of(second.gateway)["new"] == "forward"
    assert all(len(routes_of(asked)) <= 2 for asked in judge.asked)


async def test_a_route_to_nowhere_answers_500_without_asking_anybody() -> None:
    judge = ScriptedJudge(lambda _: None)
    proven = await prove(gateway(route("one", "good"), route("lost", "good", "gone")), judge)
    assert actions_of(proven.gateway) == {"one": "forward", "lost": "route_refused"}
    assert [(each.what, each.words) for each in proven.refusals] == [("lost", "there is no cluster 'gone'")]
    assert judge.asked == [proven.gateway]
