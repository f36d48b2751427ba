from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
import structlog
from prometheus_client import CollectorRegistry
from structlog.testing import CapturingLogger

from apostille.auth.upstreams import UpstreamNews
from apostille.control.upstreams import Upstreams
from apostille.xds.sightings import Sighting

START = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
POLICY = "apps/s3"


class Scene:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.logger = CapturingLogger()
        self.upstreams = Upstreams(
            registry=self.registry, log=structlog.wrap_logger(self.logger, processors=[], wrapper_class=None)
        )

    def see(self, second: float, *, skew: float | None = None, code: str | None = None, refused: int = 0) -> None:
        self.upstreams.see(
            Sighting(
                policy=POLICY,
                seen=START + timedelta(seconds=second),
                skew=None if skew is None else timedelta(seconds=skew),
                code=code,
                refused=refused,
            )
        )

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, {"policy": POLICY, **labels})

    async def news(self) -> Mapping[str, UpstreamNews] | None:
        """What the workers would be told now; None: nothing."""
        told: list[Mapping[str, UpstreamNews]] = []

        async def publish(news: Mapping[str, UpstreamNews]) -> None:
            told.append(news)

        telling = asyncio.create_task(self.upstreams.tell(publish))
        await asyncio.sleep(0)
        telling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await telling
        return told[-1] if told else None

    @property
    def events(self) -> list[str]:
        return [str(call.kwargs["event"]) for call in self.logger.calls]


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def test_a_clock_is_wrong_when_two_answers_in_a_row_agree_on_it(scene: Scene) -> None:
    scene.see(0, skew=0.3)
    scene.see(5, skew=1200.2)
    assert scene.metric("apostille_upstream_clock_skew_seconds") is None
    assert await scene.news() is None
    scene.see(10, skew=1199.8)
    assert scene.metric("apostille_upstream_clock_skew_seconds") == 1199.8
    assert await scene.news() == {POLICY: UpstreamNews(skew=timedelta(seconds=1199.8))}
    [status] = scene.upstreams.status()
    assert status["clock_skew_seconds"] == 1200
    assert scene.events == ["upstream.clock_skew"]


async def test_what_the_seconds_of_a_date_leave_open_is_no_skew(scene: Scene) -> None:
    for second in range(3):
        scene.see(second, skew=-1.5 + second)
    assert scene.metric("apostille_upstream_clock_skew_seconds") == 0.0
    assert await scene.news() is None
    assert scene.events == []


async def test_a_clock_that_was_set_right_is_told_too(scene: Scene) -> None:
    for second, skew in enumerate((90.0, 90.0, 0.5, 0.5)):
        scene.see(second, skew=skew)
    assert await scene.news() == {POLICY: UpstreamNews()}
    assert scene.events == ["upstream.clock_skew", "upstream.clock_agrees"]


async def test_refusals_are_counted_by_their_code_and_told_once_in_a_while(scene: Scene) -> None:
    scene.see(0, code="ExpiredToken", refused=1)
    assert await scene.news() == {POLICY: UpstreamNews(refusals=1)}
    scene.see(1, code="ExpiredToken", refused=200)
    assert await scene.news() is None
    scene.see(6, code="InvalidToken", refused=3)
    assert await scene.news() == {POLICY: UpstreamNews(refusals=204)}
    assert scene.metric("apostille_upstream_refusals_total", code="ExpiredToken") == 201
    [status] = scene.upstreams.status()
    assert status["refusals"] == {"ExpiredToken": 201, "InvalidToken": 3}
    assert status["last_refusal"] == "2026-11-22T12:00:06+00:00"
    # One line for each code.
    assert scene.events == ["upstream.refused", "upstream.refused"]


async def test_news_kept_back_comes_with_the_next_answer(scene: Scene) -> None:
    scene.see(0, code="ExpiredToken", refused=1)
    scene.see(1, code="ExpiredToken", refused=1)
    assert await scene.news() == {POLICY: UpstreamNews(refusals=1)}
    scene.see(6, skew=0.0)
    assert await scene.news() == {POLICY: UpstreamNews(refusals=2)}


def test_policies_that_are_gone_are_forgotten(scene: Scene) -> None:
    scene.see(0, skew=0.0)
    scene.see(5, skew=0.0)
    scene.upstreams.keep_only(frozenset())
    assert scene.upstreams.status() == []
    assert scene.metric("apostille_upstream_clock_skew_seconds") is None
