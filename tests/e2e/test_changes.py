"""Manifests change while requests run: what was not touched goes on, and what is broken stays as it was."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.load import load
from tests.e2e.stage import GUARDED, OPEN, SAID, key_secret, said_table, stage, tell, until
from tests.e2e.wire import get

# Promised is one second; a machine that does other things as well may take longer.
SOON = 5.0


async def test_an_edit_is_live_soon_and_fails_no_request(tmp_path: Path) -> None:
    async with stage(tmp_path) as it, load(it.run.port, {"open": OPEN, "guarded": GUARDED, "said": SAID}) as traffic:
        await traffic.wait_more(50)
        took = []
        for word in ("second", "third", "fourth"):
            (it.manifests / "said.yaml").write_text(said_table(word))
            took.append(await it.says(word))
            await traffic.wait_more(20)
        tell(f"an edit took {', '.join(f'{each:.2f}' for each in took)} s (allowed {SOON:g}, promised 1)")
        assert max(took) < SOON
        assert not traffic.failures


async def test_a_broken_file_changes_nothing_until_it_is_mended(tmp_path: Path) -> None:
    async with stage(tmp_path) as it, load(it.run.port, {"open": OPEN, "guarded": GUARDED, "said": SAID}) as traffic:
        since = len(it.run.err.all)
        for name in ("said.yaml", "policy.yaml", "key.yaml"):
            (it.manifests / name).write_text("kind: [\n\tbroken")
        await it.run.err.wait_for(
            lambda line: all(each in str(line.get("degraded")) for each in ("said", "policy", "key")), since=since
        )
        status, text = await it.run.page("/readyz")
        assert status == 200
        assert "said.yaml" in json.loads(text)["degraded"]
        found = [line for line in it.run.err.all[since:] if line.get("event") == "configuration.finding"]
        assert "said.yaml:" in str(found)
        await traffic.wait_more(20)
        assert await it.said() == "first"
        assert (await get(it.run.port, "/guarded/x", api_key="wrong")).status == 401

        (it.manifests / "said.yaml").write_text(said_table("mended"))
        await it.says("mended")
        (it.manifests / "policy.yaml").unlink()
        (it.manifests / "key.yaml").unlink()

        async def is_whole() -> bool:
            return json.loads((await it.run.page("/readyz"))[1])["degraded"] is None

        await until(is_whole)
        assert not traffic.failures


async def test_an_emptied_folder_is_a_fault_and_not_a_wish(tmp_path: Path) -> None:
    async with stage(tmp_path) as it, load(it.run.port, {"open": OPEN, "guarded": GUARDED}) as traffic:
        since = len(it.run.err.all)
        for file in sorted(it.manifests.iterdir()):
            file.unlink()
        published = await it.run.err.wait_for(
            lambda line: line.get("event") == "configuration.published" and "routes.yaml" in str(line.get("degraded")),
            since=since,
        )
        await traffic.wait_more(20)
        assert published["resources"] > 0
        assert await it.said() == "first"
        assert (await get(it.run.port, "/guarded/x")).status == 401
        assert not traffic.failures


async def test_a_key_comes_and_goes_without_a_word_to_envoy(tmp_path: Path) -> None:
    async with stage(tmp_path) as it, load(it.run.port, {"guarded": GUARDED}) as traffic:

        async def lets_bob_in() -> bool:
            return (await get(it.run.port, "/guarded/x", api_key="bobs-key")).status == 200

        async def shuts_bob_out() -> bool:
            return not await lets_bob_in()

        async def updates() -> str:
            return await it.run.envoy_page(r"/stats?filter=(rds|lds|cds).*update_(success|rejected)|listener_manager")

        before = await updates()
        assert await shuts_bob_out()
        (it.manifests / "bob.yaml").write_text(key_secret("bob", "bobs-key"))
        came = await until(lets_bob_in)
        (it.manifests / "bob.yaml").unlink()
        went = await until(shuts_bob_out)
        tell(f"the key worked after {came:.2f} s and was refused {went:.2f} s after it was taken away")
        assert max(came, went) < SOON
        assert await updates() == before
        assert it.other.requests[-1].values("api-key") == ()
        assert not traffic.failures
