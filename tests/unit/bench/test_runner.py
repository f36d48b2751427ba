"""The bench as a whole, on designs that start at once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.designs.bare_envoy import BareEnvoy
from bench.runner import QUICK, Bench, Cores, compile_row, find_cores

_SHORT = replace(QUICK, starts=1, rate_seconds=0.1)


async def test_a_design_that_does_its_job_is_measured_and_one_that_does_not_is_named() -> None:
    said: list[str] = []
    bench = Bench((BareEnvoy(), BareEnvoy(routes=2, signs=True)), _SHORT, seed=1, say=said.append)
    await bench.run()
    good, bad = (compile_row(each) for each in bench.measured.values())
    placements = {each.placement for each in good.sandwiches}
    assert placements == ({"pinned", "shared"} if find_cores().separate else {"shared"})
    rounds = [part for each in good.sandwiches for part in (each.before, each.middle, each.after)]
    assert all(each.requests > 0 and each.cpu_ns > 0 and each.failed == 0 for each in rounds)
    assert [each.failed for each in good.at_rate] == [0]
    assert [size > 0 for size in good.pss_bytes] == [True]
    assert bad.skipped == "FAILED: WrongAnswer: the upstream saw 0 Authorization headers, not one"
    assert bad.sandwiches == ()
    assert "bare-envoy: does the job" in said


async def test_what_follows_a_design_that_is_not_here_is_not_tried() -> None:
    said: list[str] = []
    bench = Bench((BareEnvoy(signs=True), _Follower()), _SHORT, seed=1, say=said.append)
    await bench.run()
    assert bench.measured["follower"].skipped == "skipped: as bare-envoy"
    assert bench.measured["follower"].start_seconds == []


@pytest.mark.parametrize(("gateway", "load", "separate"), [({0}, {1}, True), ({0}, {0}, False)])
def test_one_processor_is_not_two(gateway: set[int], load: set[int], separate: bool) -> None:
    cores = Cores(gateway=frozenset(gateway), load=frozenset(load), all=frozenset(gateway | load))
    assert cores.separate is separate


class _Follower(BareEnvoy):
    @property
    def name(self) -> str:
        return "follower"

    @property
    def follows(self) -> str:
        return "bare-envoy"
