"""`apostille keys` beside a running gateway, and that no key and no token is seen where it does not belong."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import pytest

from apostille.keys.format import parse_key
from tests.e2e.canaries import Canaries, pages, processes
from tests.e2e.gateway import Run, start_run
from tests.e2e.stage import stage


@pytest.fixture
def state(socket_dir: Path) -> Path:
    return socket_dir / "state"


async def keys(run: Run, *arguments: str, env: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of ``apostille keys``."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "apostille", "keys", *arguments),
        env={"PATH": os.defpath, "APOSTILLE_ADMIN_URL": run.admin, **(env or {})},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def files(state: Path) -> dict[str, bytes]:
    """Those of the state folder. Valkey gives its own no modes; the folder round them is private."""
    return {str(path.relative_to(state)): path.read_bytes() for path in state.rglob("*") if path.is_file()}


async def test_keys_are_made_and_ended_and_seen_once(tmp_path: Path, state: Path) -> None:
    canaries = Canaries()
    async with stage(tmp_path, state=state) as it:
        # The first key starts the store.
        code, out, err = await keys(it.run, "create", "--consumer", "alice")
        assert code == 0, err
        first = parse_key(out.strip())
        assert first is not None
        _, out, err = await keys(it.run, "rotate", first.shown, "--grace", "1h")
        second = parse_key(out.strip())
        assert second is not None
        seen = [err]
        for arguments, expected in (
            (("show", first.shown), 0),
            (("show", second.key.reveal()), 2),
            (("list", "-o", "json"), 0),
            (("revoke", first.shown), 0),
            (("export",), 0),
            (("delete", second.shown, "--yes"), 0),
            (("show", second.shown), 5),
        ):
            code, out, err = await keys(it.run, *arguments)
            assert code == expected, (arguments, err)
            seen += [out, err]
        # Keys where they do not belong: in a path, in a query, in a field that takes none.
        async with aiohttp.ClientSession() as http:
            whole = first.key.reveal()
            for method, path, body in (
                ("GET", f"/v1/keys/{whole}", None),
                ("GET", f"/v1/keys?key={whole}", None),
                ("POST", "/v1/keys", {"consumer": "a", "env": whole}),
                ("GET", f"/{whole}", None),
            ):
                async with http.request(method, f"{it.run.admin}{path}", json=body) as answer:
                    assert answer.status >= 400
                    seen.append(await answer.text() + str(answer.headers))

        told = [
            (line["action"], line["outcome"], line["key"], line["consumer"], line["actor"])
            for line in it.run.err.all
            if line.get("event") == "keys.audit"
        ]
        who = "somebody at 127.0.0.1"
        assert told == [
            ("create", "done", first.shown, "alice", who),
            ("rotate", "done", first.shown, "alice", who),
            ("revoke", "done", first.shown, "alice", who),
            ("export", "done", None, None, who),
            ("delete", "done", second.shown, "alice", who),
        ]
        canaries.add("first", first.key.reveal()[len(first.shown) :])
        canaries.add("second", second.key.reveal()[len(second.shown) :])
        places = {
            **await pages(it.run),
            **processes(it.run, workers=1),
            **files(state),
            "standard error": it.run.err.raw,
            "standard output": it.run.out.raw,
            "answers and words": "\n".join(seen).encode(),
        }
        assert {place: found for place, content in places.items() if (found := canaries.found_in(content))} == {}
        assert json.loads((await it.run.page("/status"))[1])["keys"]["state"] == "ready"


async def test_a_token_is_asked_for_and_is_known_to_the_control_plane_alone(tmp_path: Path, state: Path) -> None:
    canaries = Canaries()
    token = canaries["token"] + "-of-32-or-more"
    async with stage(
        tmp_path, state=state, env={"APOSTILLE_ADMIN_TOKEN": token}, options=("--admin-bind=0.0.0.0",)
    ) as it:
        assert it.run.admin.startswith("http://0.0.0.0:")
        url = it.run.admin.replace("0.0.0.0", "127.0.0.1")
        async with aiohttp.ClientSession() as http:
            for page, status in (("/healthz", 200), ("/readyz", 200), ("/status", 401), ("/v1/keys", 401)):
                async with http.get(f"{url}{page}") as answer:
                    assert answer.status == status
        seen = []
        for env, expected in (
            ({}, 4),
            ({"APOSTILLE_ADMIN_TOKEN": "x" * 40}, 4),
            ({"APOSTILLE_ADMIN_TOKEN": token}, 0),
        ):
            code, out, err = await keys(it.run, "create", "--consumer=a", "-ojson", f"--admin={url}", env=env)
            assert code == expected, err
            seen += [out, err]
        audit = await it.run.err.wait_for_event("keys.audit")
        assert audit["actor"] == "token at 127.0.0.1"
        places = {**processes(it.run, workers=1), **files(state), "words": "\n".join(seen).encode()}
        places |= {"standard error": it.run.err.raw, "standard output": it.run.out.raw}
        del places["environment of control-plane"]
        assert {place: found for place, content in places.items() if (found := canaries.found_in(content))} == {}


async def test_other_machines_are_not_let_in_without_a_token(tmp_path: Path, state: Path) -> None:
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    for env in ({}, {"APOSTILLE_ADMIN_TOKEN": "too-short"}):
        run = await start_run(manifests, state, env=env, options=("--admin-bind=0.0.0.0",))
        assert await run.wait_end() == 1
        assert b"APOSTILLE_ADMIN_TOKEN" in run.err.raw
        assert b"too-short" not in run.err.raw
        await run.kill()
