"""What a client is sent, and when: adding, changing, deleting, refusing, coming back."""

from __future__ import annotations

import os

import pytest

from apostille.xds.cache import AUTH_GROUP
from apostille.xds.snapshot import CLUSTER, KEY_RING, LISTENER, PROGRAM, ROUTE
from tests.wire.client import DEADLINE, bodies, names, versions
from tests.wire.conftest import ControlPlane


async def test_a_wildcard_client_is_told_of_what_is_added_changed_and_deleted(control_plane: ControlPlane) -> None:
    control_plane.publish({CLUSTER: {"a": b"a1", "b": b"b1"}})
    async with control_plane.connect() as client:
        await client.ask(CLUSTER)
        assert bodies(await client.take(CLUSTER)) == {"a": b"a1", "b": b"b1"}

        control_plane.publish({CLUSTER: {"a": b"a1", "b": b"b2", "c": b"c1"}})
        changed = await client.take(CLUSTER)
        assert bodies(changed) == {"b": b"b2", "c": b"c1"}
        assert not changed.removed_resources

        control_plane.publish({CLUSTER: {"a": b"a1", "c": b"c1"}})
        deleted = await client.take(CLUSTER)
        assert list(deleted.removed_resources) == ["b"]
        assert not deleted.resources


async def test_an_empty_snapshot_is_an_answer_and_no_snapshot_is_none(control_plane: ControlPlane) -> None:
    async with control_plane.connect() as client:
        await client.ask(CLUSTER, "*")
        control_plane.publish({LISTENER: {"l": b"1"}})
        first = await client.take(CLUSTER)
        assert not first.resources
        assert not first.removed_resources
        assert first.system_version_info
        assert await client.rest() == []


async def test_equal_content_is_not_sent_again(control_plane: ControlPlane) -> None:
    control_plane.publish({CLUSTER: {"a": b"1"}})
    async with control_plane.connect() as client:
        await client.ask(CLUSTER)
        await client.take(CLUSTER)
        control_plane.publish({CLUSTER: {"a": b"1"}})
        assert await client.rest() == []


async def test_quick_changes_are_sent_as_one(control_plane: ControlPlane) -> None:
    control_plane.publish({CLUSTER: {"a": b"1"}})
    async with control_plane.connect() as client:
        await client.ask(CLUSTER)
        first = await client.receive()
        for number in range(2, 50):
            control_plane.publish({CLUSTER: {"a": b"%d" % number}})
        assert await client.rest() == []
        await client.ack(first)
        assert bodies(await client.take(CLUSTER)) == {"a": b"49"}
        assert await client.rest() == []


async def test_a_refused_resource_is_not_sent_again_until_it_changes(control_plane: ControlPlane) -> None:
    control_plane.publish({CLUSTER: {"bad": b"1"}})
    async with control_plane.connect() as client:
        await client.ask(CLUSTER)
        await client.nack(await client.receive(), "cluster 'bad': no")
        assert await client.rest() == []
        [nack] = control_plane.nacks
        assert (nack.text, nack.names, nack.type_url) == ("cluster 'bad': no", ("bad",), CLUSTER)
        assert control_plane.feedback.refusals("envoy") == (nack,)

        control_plane.publish({CLUSTER: {"bad": b"1", "other": b"1"}})
        assert names(await client.take(CLUSTER)) == ["other"]
        assert await client.rest() == []
        assert control_plane.feedback.refusals("envoy") == (nack,)

        published = control_plane.publish({CLUSTER: {"bad": b"2", "other": b"1"}})
        assert names(await client.take(CLUSTER)) == ["bad"]
        outcome = await control_plane.feedback.wait_acked("envoy", published.snapshot.version, DEADLINE)
        assert outcome.acked


@pytest.mark.parametrize("type_url", [CLUSTER, ROUTE])
async def test_of_several_refused_together_the_bad_one_is_found_by_halving(
    control_plane: ControlPlane, type_url: str
) -> None:
    many = {f"r{number:02}": b"1" for number in range(64)}
    published = control_plane.publish({type_url: {**many, "r17": b"bad", "r50": b"bad"}})
    async with control_plane.connect() as client:
        await client.ask(type_url, *many)
        rounds, refused, taken = 0, 0, set[str]()
        while len(taken) < 62 or refused < 2:
            response = await client.receive()
            rounds += 1
            if b"bad" in bodies(response).values():
                await client.nack(response, "something in there is wrong")
                refused += len(response.resources) == 1
            else:
                await client.ack(response)
                taken.update(names(response))
        # 64 one by one would be 65 rounds.
        assert rounds <= 25
        outcome = await control_plane.feedback.wait_acked("envoy", published.snapshot.version, DEADLINE)
        assert outcome.complete
        assert [nack.names for nack in outcome.refusals] == [("r17",), ("r50",)]
        assert [nack.names for nack in control_plane.nacks] == [("r17",), ("r50",)]

        control_plane.publish({type_url: {**many, "r50": b"bad"}})
        assert bodies(await client.take(type_url)) == {"r17": b"1"}
        assert await client.rest() == []
        assert [nack.names for nack in control_plane.feedback.refusals("envoy")] == [("r50",)]


async def test_going_back_to_what_was_before_a_refusal_is_sent(control_plane: ControlPlane) -> None:
    # Envoy takes the good clusters of a response that it refuses, so we cannot know what it holds of them.
    control_plane.publish({CLUSTER: {"a": b"1", "b": b"1"}})
    async with control_plane.connect() as client:
        await client.ask(CLUSTER)
        await client.take(CLUSTER)
        control_plane.publish({CLUSTER: {"a": b"2", "b": b"bad"}})
        await client.nack(await client.receive(), "b: no")
        control_plane.publish({CLUSTER: {"a": b"1", "b": b"1"}})
        sent: dict[str, bytes] = {}
        while sent.keys() != {"a", "b"} or set(sent.values()) != {b"1"}:
            sent |= bodies(await client.take(CLUSTER))


async def test_who_comes_back_is_sent_only_what_it_missed(control_plane: ControlPlane) -> None:
    control_plane.publish({CLUSTER: {"changed": b"1", "deleted": b"1", "same": b"1"}})
    async with control_plane.connect() as client:
        await client.ask(CLUSTER)
        held = versions(await client.take(CLUSTER))

    async with control_plane.connect() as client:
        await client.ask(CLUSTER, holding=held)
        nothing = await client.take(CLUSTER)
        assert not nothing.resources
        assert not nothing.removed_resources
        assert await client.rest() == []

    control_plane.publish({CLUSTER: {"added": b"1", "changed": b"2", "same": b"1"}})
    async with control_plane.connect() as client:
        await client.ask(CLUSTER, holding=held)
        assert names(await client.take(CLUSTER)) == ["added", "changed"]
        assert list((await client.take(CLUSTER)).removed_resources) == ["deleted"]
        assert await client.rest() == []


async def test_who_comes_back_and_asks_by_name_gets_an_answer_for_each_name(control_plane: ControlPlane) -> None:
    # The client may have forgotten what it says it holds: the protocol demands an answer for every name asked for.
    control_plane.publish({ROUTE: {"a": b"1"}})
    async with control_plane.connect() as client:
        await client.ask(ROUTE, "a", "gone", holding={"a": "whatever", "gone": "whatever"})
        response = await client.take(ROUTE)
        assert names(response) == ["a"]
        assert list(response.removed_resources) == ["gone"]
        assert await client.rest() == []


async def test_a_name_that_does_not_exist_is_answered_and_sent_once_it_does(control_plane: ControlPlane) -> None:
    control_plane.publish({ROUTE: {}})
    async with control_plane.connect() as client:
        await client.ask(ROUTE, "later")
        assert list((await client.take(ROUTE)).removed_resources) == ["later"]
        control_plane.publish({ROUTE: {"later": b"1", "never asked for": b"1"}})
        assert names(await client.take(ROUTE)) == ["later"]


async def test_what_is_no_longer_subscribed_is_no_longer_sent(control_plane: ControlPlane) -> None:
    control_plane.publish({ROUTE: {"a": b"1", "b": b"1"}})
    async with control_plane.connect() as client:
        await client.ask(ROUTE, "a", "b")
        await client.take(ROUTE)
        await client.ask(ROUTE, unsubscribe=["b"])
        assert await client.rest() == []
        control_plane.publish({ROUTE: {"a": b"2", "b": b"2"}})
        assert names(await client.take(ROUTE)) == ["a"]
        await client.ask(ROUTE, "b")
        assert bodies(await client.take(ROUTE)) == {"b": b"2"}


async def test_an_answer_with_a_stale_nonce_counts_for_nothing(control_plane: ControlPlane) -> None:
    control_plane.publish({CLUSTER: {"a": b"1"}})
    async with control_plane.connect() as client:
        await client.ask(CLUSTER)
        first = await client.take(CLUSTER)
        control_plane.publish({CLUSTER: {"a": b"2"}})
        second = await client.receive()
        published = control_plane.publish({CLUSTER: {"a": b"3"}})
        await client.nack(first, "too late")
        assert await client.rest() == []
        assert control_plane.nacks == []
        await client.ack(second)
        assert bodies(await client.take(CLUSTER)) == {"a": b"3"}
        outcome = await control_plane.feedback.wait_acked("envoy", published.snapshot.version, DEADLINE)
        assert outcome.acked


async def test_clusters_come_before_listeners_and_routes_and_leave_after_them(control_plane: ControlPlane) -> None:
    control_plane.publish({CLUSTER: {"old": b"1"}, LISTENER: {"l": b"1"}, ROUTE: {"l": b"to old"}})
    async with control_plane.connect() as client:
        await client.ask(CLUSTER)
        await client.take(CLUSTER)
        await client.ask(LISTENER)
        await client.take(LISTENER)
        await client.ask(ROUTE, "l")
        await client.take(ROUTE)

        control_plane.publish({CLUSTER: {"new": b"1"}, LISTENER: {"l": b"2"}, ROUTE: {"l": b"to new"}})
        added = await client.receive()
        assert (added.type_url, names(added), list(added.removed_resources)) == (CLUSTER, ["new"], [])
        assert await client.rest() == []
        await client.ack(added)

        listener = await client.receive()
        assert (listener.type_url, bodies(listener)) == (LISTENER, {"l": b"2"})
        assert await client.rest() == []
        await client.ack(listener)

        routes = await client.receive()
        assert (routes.type_url, bodies(routes)) == (ROUTE, {"l": b"to new"})
        assert await client.rest() == []
        await client.ack(routes)

        removed = await client.take(CLUSTER)
        assert (names(removed), list(removed.removed_resources)) == ([], ["old"])
        assert await client.rest() == []


async def test_key_rings_come_before_programs_and_leave_after_them(control_plane: ControlPlane) -> None:
    control_plane.publish({KEY_RING: {"old": b"1"}, PROGRAM: {"p": b"old"}}, AUTH_GROUP)
    async with control_plane.connect(group=AUTH_GROUP) as client:
        await client.ask(PROGRAM, "*")
        await client.take(PROGRAM)
        await client.ask(KEY_RING, "*")
        await client.take(KEY_RING)
        control_plane.publish({KEY_RING: {"new": b"1"}, PROGRAM: {"p": b"new"}}, AUTH_GROUP)
        assert names(await client.take(KEY_RING)) == ["new"]
        assert bodies(await client.take(PROGRAM)) == {"p": b"new"}
        assert list((await client.take(KEY_RING)).removed_resources) == ["old"]


async def test_two_clients_are_served_each_at_its_own_pace(control_plane: ControlPlane) -> None:
    first = control_plane.publish({CLUSTER: {"a": b"1"}})
    async with control_plane.connect("slow") as slow, control_plane.connect("quick") as quick:
        await slow.ask(CLUSTER)
        unanswered = await slow.receive()
        await quick.ask(CLUSTER)
        await quick.take(CLUSTER)
        second = control_plane.publish({CLUSTER: {"a": b"2"}})
        assert bodies(await quick.take(CLUSTER)) == {"a": b"2"}
        assert bodies(unanswered) == {"a": b"1"}
        assert {node.node for node in control_plane.feedback.nodes("envoy")} == {"slow", "quick"}

        early = await control_plane.feedback.wait_acked("envoy", second.snapshot.version, 0)
        assert (early.complete, early.nodes) == (False, 2)
        await slow.ack(unanswered)
        await slow.take(CLUSTER)
        for published in (first, second):
            outcome = await control_plane.feedback.wait_acked("envoy", published.snapshot.version, DEADLINE)
            assert (outcome.acked, outcome.nodes) == (True, 2)


async def test_groups_do_not_see_each_other(control_plane: ControlPlane) -> None:
    control_plane.publish({CLUSTER: {"a": b"1"}})
    control_plane.publish({CLUSTER: {"b": b"1"}}, AUTH_GROUP)
    async with control_plane.connect() as envoy, control_plane.connect(group=AUTH_GROUP) as auth:
        await envoy.ask(CLUSTER)
        await auth.ask(CLUSTER)
        assert names(await envoy.take(CLUSTER)) == ["a"]
        assert names(await auth.take(CLUSTER)) == ["b"]


async def test_six_megabytes_fit_in_one_response(control_plane: ControlPlane) -> None:
    body = os.urandom(6 * 1024 * 1024)
    control_plane.publish({ROUTE: {"big": body}})
    async with control_plane.connect() as client:
        await client.ask(ROUTE, "big")
        assert bodies(await client.take(ROUTE)) == {"big": body}


async def test_more_than_a_message_may_carry_comes_in_several(control_plane: ControlPlane) -> None:
    control_plane.publish({ROUTE: {name: bytes(12 * 1024 * 1024) for name in "abcdef"}})
    async with control_plane.connect() as client:
        await client.ask(ROUTE, *"abcdef")
        parts = [names(await client.take(ROUTE)) for _ in range(3)]
        assert parts == [["a", "b"], ["c", "d"], ["e", "f"]]
        assert await client.rest() == []
