"""The embedded key store beside the gateway: there when it is wanted, gone with it, and no reason to fall."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from apostille.base.clock import SystemClock
from apostille.base.secrets import SecretText
from apostille.control.key_folder import pepper_file, store_folder, want_store
from apostille.keys.address import parse_address
from apostille.keys.record import KeyRecord
from apostille.keys.settings import PepperSource, read_pepper_file
from apostille.keys.store import KeyStore
from tests.e2e.gateway import Run, gateway, start_run
from tests.e2e.load import load
from tests.e2e.stage import GUARDED, OPEN, Stage, stage, tell, until, write_site
from tests.e2e.test_processes import _ended
from tests.e2e.wire import ask, emit_request
from tests.unit.keys.valkey import PEPPER, make_key, make_record, server_in

PEPPER_TEXT = "5e" * 32


@pytest.fixture
def state(socket_dir: Path) -> Path:
    return socket_dir / "state"


@asynccontextmanager
async def opened(run: Run) -> AsyncIterator[KeyStore]:
    """The store as the processes of the gateway see it."""
    url = environment(run.pid("auth-0"))["APOSTILLE_KEYS_URL"]
    store = KeyStore.at(parse_address(SecretText(url)), SystemClock())
    try:
        yield store
    finally:
        await store.close()


def environment(pid: int) -> Mapping[str, str]:
    entries = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(entry.split("=", 1) for entry in entries if entry)


async def standing(run: Run) -> Mapping[str, Any]:
    return dict(json.loads((await run.page("/status"))[1])["keys"])


async def want(run: Run, *, within: float = 10.0) -> None:
    since = len(run.err.all)
    want_store(run.state)
    await run.wait_back("keys", since=since, within=within)


async def put(run: Run, count: int) -> list[KeyRecord]:
    async with opened(run) as store:
        return [await store.put(make_record()) for _ in range(count)]


async def assert_there(run: Run, records: list[KeyRecord]) -> None:
    async with opened(run) as store:
        found = await store.get_many([record.id for record in records])
        assert found == {record.id: record for record in records}


def events(run: Run, event: str) -> list[Mapping[str, Any]]:
    return [line for line in run.err.all if line.get("event") == event and line.get("name") == "keys"]


async def assert_serves(it: Stage) -> None:
    assert (await ask(it.run.port, OPEN)).status == 200
    assert (await ask(it.run.port, GUARDED)).status == 200
    assert (await it.run.page("/readyz"))[0] == 200


async def test_a_store_that_nobody_needs_is_not_started(tmp_path: Path, state: Path) -> None:
    async with stage(tmp_path, state=state) as it:
        await assert_serves(it)
        assert await standing(it.run) == {"store": "embedded", "state": "not started", "why": None}
        assert not store_folder(state).exists()
        assert not pepper_file(state).exists()
        assert not events(it.run, "process.started")
        for child in ("control-plane", "auth-0"):
            told = environment(it.run.pid(child))
            assert told["APOSTILLE_KEYS_URL"] == f"unix://{state}/sockets/keys.sock"
            assert told["APOSTILLE_KEYS_PEPPER_FILE"] == f"{state}/keys.pepper"
        assert not [name for name in environment(it.run.pid("envoy")) if name.startswith("APOSTILLE")]


async def test_a_store_that_is_wanted_is_started_and_private(tmp_path: Path, state: Path) -> None:
    async with stage(tmp_path, state=state) as it:
        since = len(it.run.err.all)
        began = asyncio.get_running_loop().time()
        want_store(state)
        await it.run.err.wait_for_event("process.started", name="keys", since=since)
        noticed = asyncio.get_running_loop().time() - began
        await it.run.wait_back("keys", since=since)
        tell(f"noticed after {noticed:.2f} s, ready after {asyncio.get_running_loop().time() - began:.2f} s")
        assert (await standing(it.run))["state"] == "ready"
        records = await put(it.run, 10)
        await assert_there(it.run, records)
        modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (store_folder(state), pepper_file(state))}
        assert modes == {store_folder(state): 0o700, pepper_file(state): 0o600}
        pepper = pepper_file(state).read_text()
        want_store(state)
        assert pepper_file(state).read_text() == pepper
        assert not [name for name in environment(it.run.pid("keys")) if name.startswith(("APOSTILLE", "AWS"))]
        assert pepper.strip().encode() not in Path(f"/proc/{it.run.pid('keys')}/cmdline").read_bytes()
        await assert_serves(it)
        assert await it.run.stop() == 0
        assert [line["code"] for line in events(it.run, "process.ended")] == [0]
        ends = [line["name"] for line in it.run.err.all if line.get("event") == "process.ended"]
        assert ends[-1] == "keys"
        assert not (state / "sockets" / "keys.sock").exists()
        assert not (state / "keys.state").exists()
        # From the beginning now.
        async with gateway(it.manifests, state=state) as again:
            assert (await standing(again))["state"] == "ready"
            await assert_there(again, records)
        assert it.run.out.raw.count(b"Valkey") == 0


async def test_a_killed_store_is_back_with_every_key(tmp_path: Path, state: Path) -> None:
    async with stage(tmp_path, state=state) as it:
        await want(it.run)
        async with load(it.run.port, {"open": OPEN, "guarded": GUARDED}) as traffic:
            records = await put(it.run, 50)
            for _ in range(3):
                await traffic.wait_more(10)
                since = len(it.run.err.all)
                os.kill(it.run.pid("keys"), signal.SIGKILL)
                back = await it.run.wait_back("keys", since=since)
                tell(f"ready {back['seconds']:.2f} s after its restart")
                records += await put(it.run, 5)
                await assert_there(it.run, records)
            await traffic.wait_more(10)
            assert not traffic.failures
        assert (await standing(it.run))["state"] == "ready"


async def test_what_a_kill_tore_is_mended_and_told(tmp_path: Path, state: Path) -> None:
    async with stage(tmp_path, state=state) as it:
        await want(it.run)
        records = await put(it.run, 20)
        it.run.signal(signal.SIGKILL)
        await asyncio.gather(*(_ended(pid) for pid in it.run.children))
        file = last_file(state)
        whole = file.read_bytes()
        file.write_bytes(whole + b"*3\r\n$3\r\nSET\r\n$18\r\napo:k:")
        async with gateway(it.manifests, state=state) as again:
            (mended,) = events(again, "process.mended")
            kept = state / "keys" / "torn-1.aof"
            assert f"{file} ended" in mended["words"]
            assert f"kept in {kept}" in mended["words"]
            assert kept.read_bytes() == b"*3\r\n$3\r\nSET\r\n$18\r\napo:k:"
            assert file.read_bytes()[: len(whole)] == whole
            await assert_there(again, records)
            assert (await standing(again))["state"] == "ready"


async def test_a_damaged_store_is_told_and_left_alone_while_the_rest_is_served(tmp_path: Path, state: Path) -> None:
    async with stage(tmp_path, state=state) as it:
        await want(it.run)
        await put(it.run, 20)
        assert await it.run.stop() == 0
        file = last_file(state)
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) // 2] + bytes(64) + whole[len(whole) // 2 + 64 :])
        before = contents(state)
        async with gateway(it.manifests, state=state) as again:
            second = Stage(run=again, manifests=it.manifests, echo=it.echo, other=it.other)
            (told,) = events(again, "process.abandoned")
            assert told["level"] == "error"
            assert told["retry_in"] is None
            assert f"{file} is damaged" in told["why"]
            assert await standing(again) == {"store": "embedded", "state": "damaged", "why": told["why"]}
            await assert_serves(second)
            assert contents(state) == before
            assert len(events(again, "process.started")) == 1
            # The server quotes from the file.
            assert b"alice" not in b"\n".join(line for line in again.err.raw.splitlines() if b'"keys"' in line)

            # As it says: moved away, a new one is made when it is wanted.
            store_folder(state).rename(state / "aside")
            since = len(again.err.all)
            want_store(state)
            await again.wait_back("keys", since=since)
            assert (await standing(again))["state"] == "ready"
            assert {path.relative_to("aside"): data for path, data in contents(state, "aside").items()} == {
                path.relative_to("keys"): data for path, data in before.items()
            }
            await assert_serves(second)


def last_file(state: Path) -> Path:
    return max(store_folder(state).glob("appendonlydir/*.incr.aof"), key=os.path.getmtime)


def contents(state: Path, folder: str = "keys") -> dict[Path, bytes]:
    files = (path for path in (state / folder).rglob("*") if path.is_file())
    return {path.relative_to(state): path.read_bytes() for path in files}


STORED = """\
apiVersion: security.policy.gloo.solo.io/v2
kind: ExtAuthPolicy
metadata: {name: keys, namespace: apps}
spec:
  applyToRoutes: [{route: {labels: {guard: "on"}}}]
  config:
    glooAuth:
      configs:
      - apiKeyAuth: {headerName: api-key}
"""


async def test_a_policy_starts_the_store_and_another_pepper_is_not_taken_for_a_wrong_key(
    tmp_path: Path, state: Path
) -> None:
    parts = make_key()

    async def answer(run: Run) -> tuple[int, tuple[str, ...]]:
        got = await ask(run.port, emit_request("GET", "/guarded/x", [("api-key", parts.key.reveal())]))
        return got.status, got.values("x-apostille-reason")

    async with stage(tmp_path, state=state) as it:
        since = len(it.run.err.all)
        (it.manifests / "key.yaml").unlink()
        (it.manifests / "policy.yaml").write_text(STORED)
        await it.run.wait_back("keys", since=since)
        pepper = read_pepper_file(pepper_file(state))
        async with opened(it.run) as store:
            await store.pepper_check(PepperSource(pepper)).claim()
            await store.put(make_record(parts, digest=pepper.digest(parts.key)))

        async def is_let_in() -> bool:
            return (await answer(it.run))[0] == 200

        await until(is_let_in)
        assert await it.run.stop() == 0
        pepper_file(state).unlink()
        async with gateway(it.manifests, state=state) as again:
            assert await answer(again) == (503, ("store_unavailable",))
            assert "another pepper" in (await standing(again))["why"]
            assert pepper_file(state).is_file()


async def test_the_store_dies_with_a_gateway_that_is_killed(tmp_path: Path, state: Path) -> None:
    async with stage(tmp_path, state=state) as it:
        await want(it.run)
        records = await put(it.run, 5)
        ends = [asyncio.create_task(_ended(pid)) for pid in it.run.children]
        assert len(ends) == 4
        it.run.signal(signal.SIGKILL)
        await asyncio.wait_for(asyncio.gather(*ends), 2.0)
        async with gateway(it.manifests, state=state) as again:
            await assert_there(again, records)


async def test_a_store_elsewhere_is_used_and_none_started(tmp_path: Path, state: Path, socket_dir: Path) -> None:
    elsewhere = server_in(socket_dir / "elsewhere")
    elsewhere.start()
    socket = elsewhere.embedded.socket
    env = {"APOSTILLE_KEYS_URL": f"unix://default:CANARY@{socket}", "APOSTILLE_KEYS_PEPPER": PEPPER_TEXT}
    try:
        async with stage(tmp_path, state=state, env=env) as it:
            assert await standing(it.run) == {"store": f"unix://{socket}", "state": "ready", "why": None}
            for child in ("control-plane", "auth-0"):
                told = environment(it.run.pid(child))
                assert {name: value for name, value in told.items() if name.startswith("APOSTILLE")} == env
            # Also when a folder is there, from earlier days.
            want_store(state)
            elsewhere.kill()
            found = await standing(it.run)
            assert found["state"] == "unavailable"
            assert "cannot be used" in found["why"]
            await assert_serves(it)
            elsewhere.start()
            async with elsewhere.opened() as store:
                await store.pepper_check(PepperSource(PEPPER)).claim()
            found = await standing(it.run)
            assert found["state"] == "unavailable"
            assert "made with another pepper" in found["why"]
            assert not events(it.run, "process.started")
            pages = "".join([(await it.run.page(page))[1] for page in ("/status", "/readyz", "/metrics")])
            assert await it.run.stop() == 0
            said = it.run.err.raw.decode() + it.run.out.raw.decode() + pages
            assert "CANARY" not in said
            assert PEPPER_TEXT not in said
            assert not any(b"CANARY" in path.read_bytes() for path in state.rglob("*") if path.is_file())
    finally:
        elsewhere.kill()


async def test_a_pepper_of_our_own_is_used_with_the_embedded_store(tmp_path: Path, state: Path) -> None:
    async with stage(tmp_path, state=state, env={"APOSTILLE_KEYS_PEPPER": PEPPER_TEXT}) as it:
        told = environment(it.run.pid("auth-0"))
        assert told["APOSTILLE_KEYS_PEPPER"] == PEPPER_TEXT
        assert "APOSTILLE_KEYS_PEPPER_FILE" not in told
        assert told["APOSTILLE_KEYS_URL"].endswith("/keys.sock")


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"APOSTILLE_KEYS_URL": "redis://:CANARY@h"}, "APOSTILLE_KEYS_PEPPER_FILE"),
        ({"APOSTILLE_KEYS_URL": "http://:CANARY@h", "APOSTILLE_KEYS_PEPPER": PEPPER_TEXT}, "unix://"),
        ({"APOSTILLE_KEYS_PEPPER": "CANARY"}, "openssl rand -hex 32"),
    ],
)
async def test_settings_that_cannot_be_used_are_refused_at_once(
    tmp_path: Path, state: Path, env: dict[str, str], words: str
) -> None:
    run = await start_run(write_site(tmp_path / "manifests", echo=1, other=1), state, env=env)
    try:
        assert await run.wait_end() == 1
    finally:
        await run.kill()
    said = run.err.raw.decode()
    assert words in said
    assert "CANARY" not in said
    assert "Traceback" not in said
    assert not run.children
