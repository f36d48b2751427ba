"""Processes die, hang and are told to stop while requests run."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path

from tests.e2e.gateway import Run, gateway, start_run
from tests.e2e.load import load
from tests.e2e.stage import GUARD_KEY, GUARDED, OPEN, SAID, said_table, stage, tell, until, write_site
from tests.e2e.wire import Message, ask, emit_request, get

ALL = {"open": OPEN, "guarded": GUARDED, "said": SAID}


async def test_traffic_does_not_notice_that_the_control_plane_was_killed(tmp_path: Path) -> None:
    async with stage(tmp_path) as it, load(it.run.port, ALL) as traffic:
        await traffic.wait_more(20)
        since, envoy = len(it.run.err.all), it.run.pid("envoy")
        os.kill(it.run.pid("control-plane"), signal.SIGKILL)
        await it.run.err.wait_for_event("process.ended", name="control-plane", since=since)
        await traffic.wait_more(20)
        back = await it.run.wait_back("control-plane", since=since)
        tell(f"the control plane was ready {back['seconds']:.2f} s after its restart")
        await traffic.wait_more(20)

        (it.manifests / "said.yaml").write_text(said_table("after"))
        await it.says("after")
        await traffic.wait_more(20)
        assert it.run.pid("envoy") == envoy
        assert not traffic.failures


async def test_an_edit_made_while_the_control_plane_is_away_is_applied(tmp_path: Path) -> None:
    async with stage(tmp_path) as it:
        os.kill(it.run.pid("control-plane"), signal.SIGKILL)
        (it.manifests / "said.yaml").write_text(said_table("meanwhile"))
        await it.says("meanwhile")


async def test_one_of_two_auth_workers_can_die_without_a_failed_request(tmp_path: Path) -> None:
    ejected = "cluster.apostille_auth.outlier_detection.ejections_active"

    async with stage(tmp_path, workers=2) as it, load(it.run.port, {"guarded": GUARDED}, clients=8) as traffic:

        async def both_in_use() -> bool:
            return f"{ejected}: 0" in await it.run.envoy_page(f"/stats?filter={ejected}")

        for victim in ("auth-0", "auth-1"):
            await traffic.wait_more(100)
            since = len(it.run.err.all)
            os.kill(it.run.pid(victim), signal.SIGKILL)
            await it.run.wait_back(victim, since=since)
            # Envoy leaves the one that died out for a while; the other must not die before that is over.
            await until(both_in_use)
        await traffic.wait_more(100)
        assert not traffic.failures


async def test_without_auth_workers_nobody_gets_in_and_everybody_is_told_why(tmp_path: Path) -> None:
    def judge(_kind: str, answer: Message) -> str | None:
        reasons = answer.values("x-apostille-reason")
        return None if answer.status == 200 or reasons == ("auth_unavailable",) else f"{answer.status} {reasons}"

    requests = {"guarded": GUARDED, "wrong": emit_request("GET", "/guarded/x", [("api-key", "wrong")]), "open": OPEN}
    async with stage(tmp_path, workers=2) as it:
        async with load(it.run.port, {"guarded": GUARDED, "open": OPEN}, judge=judge) as traffic:
            await traffic.wait_more(100)
            since = len(it.run.err.all)
            for victim in ("auth-0", "auth-1"):
                os.kill(it.run.pid(victim), signal.SIGKILL)
            for victim in ("auth-0", "auth-1"):
                await it.run.wait_back(victim, since=since)
            await traffic.wait_more(100)
        guarded = traffic.count("guarded")
        tell(f"guarded: {guarded}; refused for {traffic.window('guarded'):.2f} s (allowed 2)")
        assert guarded.keys() <= {200, 503}
        assert traffic.failures.keys() <= {"guarded"}
        assert len(it.other.requests) == guarded[200]
        assert (await ask(it.run.port, requests["wrong"])).status == 401


async def test_envoy_comes_back_with_the_same_configuration(tmp_path: Path) -> None:
    port = _free_port()
    async with (
        stage(tmp_path, options=(f"--port=8080={port}",)) as it,
        load(it.run.port, {"open": OPEN, "guarded": GUARDED}) as traffic,
    ):
        assert it.run.port == port
        await traffic.wait_more(20)
        since = len(it.run.err.all)
        os.kill(it.run.pid("envoy"), signal.SIGKILL)
        await it.run.wait_back("envoy", since=since)
        await traffic.wait_more(20)
        tell(f"nothing was answered for {traffic.window('open'):.2f} s (allowed 1.5)")
        assert traffic.window("open") < 5
        assert (await get(port, "/guarded/x")).status == 401


async def test_sigterm_lets_what_was_accepted_finish(tmp_path: Path) -> None:
    slow = emit_request("GET", "/open/slow?delay=1.5&body=done", [])
    async with stage(tmp_path) as it:
        async with load(it.run.port, {"open": OPEN, "guarded": GUARDED}) as traffic:
            await traffic.wait_more(20)
            waiting = [asyncio.create_task(ask(it.run.port, slow)) for _ in range(3)]

            async def all_arrived() -> bool:
                await traffic.wait_more(1)
                return sum("slow" in request.first_line for request in it.echo.requests) == 3

            await until(all_arrived)
            it.run.signal(signal.SIGTERM)
            await it.run.err.wait_for(lambda line: "stopping" in str(line.get("text")))

            async def is_unready() -> bool:
                return (await it.run.page("/readyz"))[0] == 503

            await until(is_unready, within=1.4)
            answers = await asyncio.gather(*waiting)
            assert [(answer.status, answer.body) for answer in answers] == [(200, b"done")] * 3
            assert await it.run.wait_end() == 0
        # What reached an upstream was answered; who came later was not let in at all.
        answered = sum(traffic.count(kind)[200] for kind in ("open", "guarded"))
        assert answered + 3 == len(it.echo.requests) + len(it.other.requests)
        assert {line["status"] for line in it.run.out.all} == {200}
        refused = {what for each in traffic.failures.values() for what in each}
        assert all(str(what).startswith("Connection") for what in refused), refused


async def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    async with stage(tmp_path) as it:
        hanging = asyncio.create_task(ask(it.run.port, emit_request("GET", "/open/x?hang=1", [])))

        async def arrived() -> bool:
            await asyncio.sleep(0)
            return bool(it.echo.requests)

        await until(arrived)
        it.run.signal(signal.SIGINT)
        await it.run.err.wait_for(lambda line: "stopping" in str(line.get("text")))
        assert not hanging.done()
        it.run.signal(signal.SIGINT)
        code = await it.run.wait_end(within=3.0)
        await asyncio.gather(hanging, return_exceptions=True)
        assert isinstance(hanging.exception(), OSError)
        assert code in (0, 130)
        assert "Traceback" not in it.run.err.raw.decode()


async def test_a_second_gateway_on_the_same_state_folder_gives_way(tmp_path: Path) -> None:
    async with stage(tmp_path) as it:
        second = await start_run(it.manifests, it.run.state)
        try:
            assert await second.wait_end() == 1
            said = [line["text"] for line in second.err.all if "text" in line]
            assert len(said) == 1
            assert f"another apostille (process {it.run.process.pid})" in said[0]
            assert str(it.run.state) in said[0]
        finally:
            await second.kill()
        assert (await ask(it.run.port, GUARDED)).status == 200


async def test_a_port_that_is_taken_is_named_with_a_way_out(tmp_path: Path) -> None:
    manifests = write_site(tmp_path / "manifests", echo=1, other=1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        run = await start_run(manifests, tmp_path / "state", ports=(f"8080={port}",))
        try:
            assert await run.wait_end(within=30) == 1
        finally:
            await run.kill()
    _assert_names_port(run, port)


async def test_two_gateways_do_not_share_a_port(tmp_path: Path) -> None:
    async with stage(tmp_path) as it:
        second = await start_run(it.manifests, tmp_path / "second", ports=(f"8080={it.run.port}",))
        try:
            assert await second.wait_end(within=30) == 1
        finally:
            await second.kill()
        _assert_names_port(second, it.run.port)
        assert (await ask(it.run.port, GUARDED)).status == 200


def _assert_names_port(run: Run, port: int) -> None:
    last = str(run.err.all[-1].get("text"))
    assert last.startswith("apostille: ")
    assert str(port) in last
    assert "--port 8080=NUMBER" in last


async def test_a_broken_folder_is_refused_with_all_that_is_wrong(tmp_path: Path) -> None:
    manifests = write_site(tmp_path / "manifests", echo=1, other=1)
    (manifests / "broken-1.yaml").write_text("a: [\n")
    (manifests / "broken-2.yaml").write_text("b: }\n")
    run = await start_run(manifests, tmp_path / "state")
    try:
        assert await run.wait_end() == 1
    finally:
        await run.kill()
    said = "\n".join(str(line.get("text", "")) for line in run.err.all)
    assert "broken-1.yaml:" in said
    assert "broken-2.yaml:" in said
    assert "Traceback" not in said


async def test_a_broken_folder_is_served_as_it_last_was(tmp_path: Path) -> None:
    state = tmp_path / "state"
    async with stage(tmp_path, state=state) as it:
        assert (await ask(it.run.port, GUARDED)).status == 200
        assert await it.run.stop() == 0
        (it.manifests / "routes.yaml").write_text("a: [\n")
        async with gateway(it.manifests, state=state) as second:
            assert (await ask(second.port, GUARDED)).status == 200
            assert (await get(second.port, "/guarded/x")).status == 401
            status, text = await second.page("/readyz")
            assert status == 200
            assert "routes.yaml" in text.partition("degraded")[2]


async def test_nothing_is_left_when_the_gateway_itself_is_killed(tmp_path: Path) -> None:
    async with stage(tmp_path, workers=2, state=tmp_path / "state") as it:
        ends = [asyncio.create_task(_ended(pid)) for pid in it.run.children]
        assert len(ends) == 4
        it.run.signal(signal.SIGKILL)
        await asyncio.wait_for(asyncio.gather(*ends), 2.0)
        # No lock, socket or port of the dead one is in the way.
        async with gateway(it.manifests, state=tmp_path / "state") as again:
            assert (await get(again.port, "/guarded/x", api_key=GUARD_KEY)).status == 200


async def _ended(pid: int) -> None:
    """Until a process that is not our child has ended."""
    over = asyncio.Event()
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        asyncio.get_running_loop().add_reader(handle, over.set)
        await over.wait()
    finally:
        asyncio.get_running_loop().remove_reader(handle)
        os.close(handle)


def _free_port() -> int:
    """A port that the system would choose: for a listener that must come back under the same number."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
