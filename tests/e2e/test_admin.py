"""The admin port: what it shows, and that it shows it to this machine alone."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.load import load
from tests.e2e.stage import GUARDED, OPEN, stage
from tests.e2e.wire import get


async def test_the_pages_say_how_the_gateway_is(tmp_path: Path) -> None:
    async with stage(tmp_path, workers=2) as it:
        assert it.run.admin.startswith("http://127.0.0.1:")
        assert (await it.run.page("/healthz"))[0] == 200
        status, text = await it.run.page("/readyz")
        ready = json.loads(text)
        assert (status, ready["ready"], ready["degraded"]) == (200, True, None)
        assert (ready["envoys"], ready["auth_workers"], ready["refusals"]) == (1, 2, [])
        items = json.loads((await it.run.page("/status"))[1])["items"]
        assert {item["kind"] for item in items} >= {"RouteTable", "ExtAuthPolicy", "Secret", "VirtualGateway"}
        assert {item["approval"] for item in items} == {"ACCEPTED"}
        assert all(not item["findings"] for item in items)
        assert (await it.run.page("/nowhere"))[0] == 404
        async with aiohttp.ClientSession() as http, http.post(f"{it.run.admin}/metrics") as answer:
            assert answer.status == 405
        # Nothing of this is reachable through the gateway.
        for path in ("/metrics", "/config_dump", "/readyz", "/check", "/healthz"):
            assert (await get(it.run.port, path)).status == 404


async def test_the_metrics_are_one_page_for_all_processes(tmp_path: Path) -> None:
    async with stage(tmp_path, workers=2) as it:
        async with load(it.run.port, {"open": OPEN, "guarded": GUARDED}) as traffic:
            await traffic.wait_more(30)
        guarded = len(traffic.outcomes["guarded"])
        for _ in range(3):
            await get(it.run.port, "/guarded/x")
        _, text = await it.run.page("/metrics")
        families = {family.name: family for family in text_string_to_metric_families(text)}
        declared = Counter(line.split(" ")[2] for line in text.splitlines() if line.startswith("# TYPE "))
        assert [name for name, times in declared.items() if times > 1] == []
        assert {name.partition("_")[0] for name in families} >= {"apostille", "envoy"}

        decisions = families["apostille_auth_decisions"].samples
        assert all(sample.labels["worker"] in ("0", "1") for sample in decisions)
        counts = Counter[str]()
        for sample in decisions:
            if sample.name.endswith("_total"):
                assert sample.labels["policy"] == "apps/keys"
                counts[sample.labels["verdict"]] += int(sample.value)
        assert counts == {"allow": guarded, "deny": 3}
        up = {sample.labels["process"]: sample.value for sample in families["apostille_up"].samples}
        assert up == {"auth-0": 1.0, "auth-1": 1.0, "envoy": 1.0}
        answered = [
            s for s in families["envoy_http_downstream_rq_xx"].samples if s.labels["envoy_response_code_class"] == "4"
        ]
        assert sum(sample.value for sample in answered) >= 3
