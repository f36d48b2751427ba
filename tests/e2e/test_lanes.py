"""Nobody outside can tell which lane a request took; see `lanes` for a longer comparison by hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.e2e.gateway import gateway
from tests.e2e.lanes import compare_world
from tests.e2e.load import load
from tests.e2e.stage import tell
from tests.e2e.test_changes import SOON
from tests.e2e.upstream import Upstream
from tests.e2e.wire import Message, ask, emit_request
from tests.wire.test_lanes import KEY, MANIFESTS

# The same worlds everywhere; another seed for others.
SEED = int(os.environ.get("LANES_SEED", "4"))
REQUESTS = int(os.environ.get("LANES_REQUESTS", "1500"))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", range(4))
async def test_both_lanes_give_the_same_answers_and_send_the_same_requests(number: int) -> None:
    tally = await compare_world(SEED, number, REQUESTS)
    tell(f"world {number} of seed {SEED}: {tally}")
    assert not tally.differences, "\n".join(str(each) for each in tally.differences)
    assert tally.requests == REQUESTS
    # Otherwise nothing was compared with anything.
    assert tally.inside > REQUESTS / 20
    assert tally.reached > REQUESTS / 50


GUARDED = emit_request("GET", "/guarded/x", [("api-key", KEY)])
STEP = "{apiKeyAuth: {k8sSecretApikeyStorage: {labelSelector: {ring: users}}}}"


async def test_a_policy_that_leaves_the_envoy_lane_and_comes_back_fails_no_request(tmp_path: Path) -> None:
    """Its ring leaves Envoy only when no route switches it on any more."""
    async with Upstream() as upstream:
        one = MANIFESTS.replace("UPSTREAM", str(upstream.port))
        two = one.replace(f"configs: [{STEP}]", f"configs: [{STEP}, {STEP}]")
        assert one != two
        manifests = tmp_path / "manifests"
        manifests.mkdir()
        (manifests / "all.yaml").write_text(one)

        def judge(_kind: str, answer: Message) -> str | None:
            return "the key went on" if KEY.encode() in answer.body else None

        async with gateway(manifests) as run, load(run.port, {"guarded": GUARDED}, judge=judge) as traffic:
            for text, lane in (
                (two, "its guard has several steps"),
                (one, "in the Envoy lane"),
                (two, "several"),
                (one, "Envoy"),
            ):
                await traffic.wait_more(50)
                since = len(run.err.all)
                (manifests / "all.yaml").write_text(text)
                await run.err.wait_for_event("configuration.published", since=since, within=SOON, acknowledged=True)
                assert lane in (await run.page("/status"))[1]
                wrong = await ask(run.port, emit_request("GET", "/guarded/x", [("api-key", "wrong")]))
                assert wrong.status == 401
            await traffic.wait_more(50)
            assert not traffic.failures
