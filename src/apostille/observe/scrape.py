"""One metrics page for all processes of a gateway: our own, the auth workers' and Envoy's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import aiohttp
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from apostille.base.clock import SystemClock
from apostille.proxy.admin import EnvoyAdmin

_SECONDS = 2.0

Fetch = Callable[[], Awaitable[str]]


async def scrape_gateway(own: CollectorRegistry, sockets: Path, workers: int) -> str:
    """The page for a gateway whose processes have their Unix sockets in one folder."""
    admin = EnvoyAdmin(sockets / "envoy.sock", clock=SystemClock())
    fetches = {str(index): partial(_fetch, sockets / f"auth-{index}.sock") for index in range(workers)}
    return await scrape(own, fetches, admin.prometheus)


async def fetch_credentials(sockets: Path, workers: int) -> list[Mapping[str, object]]:
    """How the outbound credentials of each auth worker stand; who does not answer is left out."""
    names = [f"auth-{index}" for index in range(workers)]
    answers = await asyncio.gather(*(_ask(partial(_fetch, sockets / f"{name}.sock", "/credentials")) for name in names))
    return [
        {"worker": name, **report}
        for name, answer in zip(names, answers, strict=True)
        if answer is not None
        for report in json.loads(answer)
    ]


async def _fetch(socket: Path, page: str = "/metrics") -> str:
    timeout = aiohttp.ClientTimeout(total=_SECONDS)
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket)), timeout=timeout) as session,
        session.get(f"http://auth{page}") as answer,
    ):
        return await answer.text()


async def scrape(own: CollectorRegistry, workers: Mapping[str, Fetch], envoy: Fetch) -> str:
    """Prometheus text. Auth workers' series get a label ``worker``; who does not answer counts in ``apostille_up``."""
    sources = {**{f"auth-{name}": fetch for name, fetch in workers.items()}, "envoy": envoy}
    answers = dict(zip(sources, await asyncio.gather(*(_ask(fetch) for fetch in sources.values())), strict=True))
    merged = CollectorRegistry()
    merged.register(_Families(_label_workers({name: answers[f"auth-{name}"] for name in workers})))
    merged.register(_Families(_up(answers)))
    text = generate_latest(own).decode() + generate_latest(merged).decode()
    return text + (answers["envoy"] or "")


async def _ask(fetch: Fetch) -> str | None:
    try:
        return await fetch()
    except Exception:  # noqa: BLE001 - one process that does not answer must not take the page down
        return None


class _Families(Collector):
    def __init__(self, families: tuple[Metric, ...]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)


def _label_workers(texts: Mapping[str, str | None]) -> tuple[Metric, ...]:
    families: dict[str, Metric] = {}
    for worker, text in texts.items():
        for family in _parse(text):
            merged = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                merged.add_sample(sample.name, {**sample.labels, "worker": worker}, sample.value, sample.timestamp)
    return tuple(families.values())


def _parse(text: str | None) -> Iterator[Metric]:
    return iter(text_string_to_metric_families(text)) if text is not None else iter(())


def _up(answers: Mapping[str, str | None]) -> tuple[Metric, ...]:
    up = Metric("apostille_up", "Whether a process of the gateway answered this very scrape.", "gauge")
    for name, text in answers.items():
        up.add_sample("apostille_up", {"process": name}, 0.0 if text is None else 1.0)
    return (up,)
