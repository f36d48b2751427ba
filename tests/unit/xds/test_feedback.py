from __future__ import annotations

import asyncio
import logging

import pytest

from apostille.xds.cache import Published, SnapshotCache
from apostille.xds.feedback import Acked, Feedback, Nack, NodeReport
from apostille.xds.snapshot import CLUSTER, LISTENER, Snapshot, build_snapshot

DEADLINE = 20.0


def snapshot(number: int, *type_urls: str) -> Snapshot:
    return build_snapshot(raw=[(type_url, "x", b"%d" % number) for type_url in type_urls or (CLUSTER,)])


def report(
    stream: int, acked: dict[str, Published | None], *, group: str = "envoy", refusals: tuple[Nack, ...] = ()
) -> NodeReport:
    held: dict[str, Acked | None] = {
        type_url: Acked(version=published.snapshot.version, generation=published.generation) if published else None
        for type_url, published in acked.items()
    }
    return NodeReport(stream=stream, group=group, node=f"node{stream}", acked=held, refusals=refusals)


def nack(version: str) -> Nack:
    return Nack(group="envoy", node="node1", type_url=CLUSTER, names=("x",), version=version, text="no")


class Publishing:
    """A feedback that hears of what a cache holds, as the server arranges it."""

    def __init__(self) -> None:
        self.cache, self.feedback = SnapshotCache(), Feedback()
        self.cache.listen(self.feedback.published)

    def publish(self, built: Snapshot) -> Published:
        return self.cache.set_snapshot("envoy", built)


async def start_waiting(feedback: Feedback, version: str, *, minimum_nodes: int = 1) -> asyncio.Task[bool]:
    async def wait() -> bool:
        return (await feedback.wait_acked("envoy", version, DEADLINE, minimum_nodes=minimum_nodes)).acked

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    return task


async def settle() -> None:
    """Let every task that can run, run."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_waiting_ends_when_every_client_agrees_for_every_type() -> None:
    plane = Publishing()
    one = plane.publish(snapshot(1, CLUSTER, LISTENER))
    waiting = await start_waiting(plane.feedback, one.snapshot.version, minimum_nodes=2)
    plane.feedback.update(report(1, {CLUSTER: one, LISTENER: one}))
    await settle()
    assert not waiting.done()
    plane.feedback.update(report(2, {CLUSTER: one, LISTENER: None}))
    await settle()
    assert not waiting.done()
    plane.feedback.update(report(2, {CLUSTER: one, LISTENER: one}))
    assert await waiting


async def test_a_client_that_does_not_subscribe_to_all_there_is_has_not_answered() -> None:
    plane = Publishing()
    one = plane.publish(snapshot(1, CLUSTER, LISTENER))
    plane.feedback.update(report(1, {CLUSTER: one}))
    waiting = await start_waiting(plane.feedback, one.snapshot.version)
    assert not waiting.done()
    plane.feedback.update(report(1, {CLUSTER: one, LISTENER: one}))
    assert await waiting


async def test_a_later_snapshot_answers_for_an_earlier_one() -> None:
    plane = Publishing()
    one = plane.publish(snapshot(1))
    waiting = await start_waiting(plane.feedback, one.snapshot.version)
    two = plane.publish(snapshot(2))
    plane.feedback.update(report(1, {CLUSTER: two}))
    assert await waiting


async def test_an_earlier_snapshot_does_not_answer_for_a_later_one() -> None:
    plane = Publishing()
    one, two = plane.publish(snapshot(1)), plane.publish(snapshot(2))
    plane.feedback.update(report(1, {CLUSTER: one}))
    outcome = await plane.feedback.wait_acked("envoy", two.snapshot.version, 0)
    assert (outcome.complete, outcome.acked, outcome.nodes) == (False, False, 1)


async def test_a_refusal_is_an_answer_but_no_agreement() -> None:
    plane = Publishing()
    one = plane.publish(snapshot(1, CLUSTER, LISTENER))
    refused = nack(one.snapshot.version)
    plane.feedback.update(report(1, {CLUSTER: one}, refusals=(refused,)))
    outcome = await plane.feedback.wait_acked("envoy", one.snapshot.version, DEADLINE)
    assert (outcome.complete, outcome.acked, outcome.refusals) == (True, False, (refused,))
    assert plane.feedback.refusals("envoy") == (refused,)
    assert plane.feedback.refusals("auth") == ()


async def test_with_nobody_connected_it_is_the_minimum_that_decides() -> None:
    plane = Publishing()
    one = plane.publish(snapshot(1))
    at_once = await plane.feedback.wait_acked("envoy", one.snapshot.version, DEADLINE, minimum_nodes=0)
    assert (at_once.acked, at_once.nodes) == (True, 0)
    in_vain = await plane.feedback.wait_acked("envoy", one.snapshot.version, 0)
    assert (in_vain.complete, in_vain.nodes) == (False, 0)


async def test_a_client_that_leaves_is_no_longer_waited_for() -> None:
    plane = Publishing()
    one = plane.publish(snapshot(1))
    plane.feedback.update(report(1, {CLUSTER: one}))
    plane.feedback.update(report(2, {CLUSTER: None}))
    waiting = await start_waiting(plane.feedback, one.snapshot.version)
    assert not waiting.done()
    plane.feedback.forget(2)
    assert await waiting


async def test_waiting_may_begin_before_publishing() -> None:
    plane = Publishing()
    built = snapshot(1)
    waiting = await start_waiting(plane.feedback, built.version)
    plane.feedback.update(report(1, {CLUSTER: plane.publish(built)}))
    assert await waiting


def test_listeners_hear_of_real_changes_only_and_until_they_stop() -> None:
    plane = Publishing()
    one = plane.publish(snapshot(1))
    changes, nacks = list[str](), list[Nack]()
    stop = plane.feedback.listen(changed=changes.append, nacked=nacks.append)
    plane.feedback.update(report(1, {CLUSTER: one}))
    plane.feedback.update(report(1, {CLUSTER: one}))
    plane.feedback.nack(nack("v"))
    plane.feedback.forget(1)
    plane.feedback.forget(1)
    stop()
    plane.feedback.update(report(1, {CLUSTER: one}))
    plane.feedback.nack(nack("v"))
    assert (changes, nacks) == (["envoy", "envoy"], [nack("v")])


def test_a_listener_that_fails_harms_nobody_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    feedback, heard = Feedback(), list[str]()

    def fail(_: str) -> None:
        raise RuntimeError("my own fault")

    feedback.listen(changed=fail)
    feedback.listen(changed=heard.append)
    with caplog.at_level(logging.ERROR):
        feedback.update(report(1, {}))
    assert heard == ["envoy"]
    assert "my own fault" in caplog.text
