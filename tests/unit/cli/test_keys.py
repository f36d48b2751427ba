"""`apostille keys` against the admin API as it is served, with a real store."""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp

from apostille.admin.server import open_admin_port
from apostille.cli.main import main
from apostille.keys.format import parse_key
from apostille.keys.store import KeyStore
from tests.unit.admin.serving import TOKEN, Serving, serving, serving_app
from tests.unit.keys.valkey import Server, make_key, make_record


@dataclass(frozen=True, slots=True)
class Done:
    code: int
    out: str
    err: str


class Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


def invoke(url: str, arguments: tuple[str, ...], env: Mapping[str, str], stdin: bytes, *, terminal: bool) -> Done:
    kind = Terminal if terminal else io.TextIOWrapper
    out, err = kind(io.BytesIO(), "utf-8"), io.StringIO()
    ours = {"APOSTILLE_ADMIN_URL": url, **env}
    given = io.TextIOWrapper(io.BytesIO(stdin), "utf-8")
    with (
        redirect_stdout(out),
        redirect_stderr(err),
        mock.patch.dict(os.environ, ours),
        mock.patch.object(sys, "stdin", given),
    ):
        code = main(["keys", *arguments])
    out.flush()
    assert isinstance(out.buffer, io.BytesIO)
    return Done(code, out.buffer.getvalue().decode(), err.getvalue())


async def run(
    url: str, *arguments: str, env: Mapping[str, str] | None = None, stdin: bytes = b"", terminal: bool = False
) -> Done:
    return await asyncio.to_thread(invoke, url, arguments, env or {}, stdin, terminal=terminal)


@pytest.fixture
async def it(store: KeyStore) -> AsyncIterator[Serving]:
    async with serving(store) as it:
        yield it


async def test_create_prints_the_key_alone_on_standard_output(it: Serving) -> None:
    done = await run(it.url, "create", "--consumer", "alice", "--name", "laptop")
    assert done.code == 0
    assert done.out.endswith("\n")
    key = done.out.removesuffix("\n")
    parts = parse_key(key)
    assert parts is not None
    assert done.err.startswith(f"{parts.shown} for alice, valid for ever")
    assert key not in done.err
    record = (await it.ask("GET", f"/v1/keys/{parts.id}")).json
    assert (record["consumer"], record["name"], record["env"]) == ("alice", "laptop", "live")


async def test_a_shell_gets_the_key_into_a_variable(it: Serving) -> None:
    program = f'KEY=$("{sys.executable}" -m apostille keys create --consumer alice 2>/dev/null) && printf %s "$KEY"'
    done = await asyncio.to_thread(
        subprocess.run, ["sh", "-c", program], capture_output=True, text=True, env={"APOSTILLE_ADMIN_URL": it.url}
    )
    assert done.returncode == 0
    assert parse_key(done.stdout) is not None


async def test_all_that_can_be_said_of_a_key_is_said_by_options(it: Serving) -> None:
    options = (
        "--consumer=alice --env=test --label plan=gold --label team=a --metadata user=x@example.com "
        "--expires 2999-01-31T00:00:00+01:00 --not-before 2026-01-01T00:00:00Z --method get --method PUT "
        "--host Api.example.com --path-prefix /orders --route-label tier=1 --destination apps/s3 "
        "--rate 90/m --burst 7 --quota 1000/day --quota 5/hour --limit-share consumer -o json"
    )
    done = await run(it.url, "create", *options.split())
    assert (done.code, done.err) == (0, "")
    issued = json.loads(done.out)
    assert parse_key(issued["key"]) is not None
    record = issued["record"]
    assert record["id"].startswith("apo_test_")
    assert (record["labels"], record["metadata"]) == ({"plan": "gold", "team": "a"}, {"user": "x@example.com"})
    assert (record["notBefore"], record["expires"]) == ("2026-01-01T00:00:00Z", "2999-01-30T23:00:00Z")
    assert record["scopes"] == {
        "methods": ["GET", "PUT"],
        "hosts": ["api.example.com"],
        "pathPrefixes": ["/orders"],
        "routeLabels": {"tier": "1"},
        "destinations": ["apps/s3"],
    }
    assert record["limits"] == {
        "rate": {"perSecond": 1.5, "burst": 7},
        "quotas": [{"requests": 1000, "period": "day"}, {"requests": 5, "period": "hour"}],
        "share": "consumer",
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("create", "--consumer"),
        ("create --consumer a --label plan", "NAME=VALUE"),
        ("create --consumer a --label a=1 --label a=2", "each name once"),
        ("create --consumer a --expires soon", "90d"),
        ("create --consumer a --expires 2027-01-31T00:00:00", "zone"),
        ("create --consumer a --expires 9999999d", "90d"),
        ("create --consumer a --rate 10", "10/s"),
        ("create --consumer a --rate 0/s", "10/s"),
        ("create --consumer a --burst 5", "needs --rate"),
        ("create --consumer a --quota 5/week", "1000/day"),
        ("create --consumer a --limit-share all", "key or consumer"),
        ("create --consumer a -o xml", "xml"),
        ("list --limit 0", "--limit"),
        ("show nonsense", "apostille keys list"),
        ("rotate apo_live_0123456789ab --grace never", "24h"),
        ("update apo_live_0123456789ab", "nothing is to be changed"),
        ("delete apo_live_0123456789ab", "--yes"),
        ("nonsense", "nonsense"),
    ],
)
async def test_wrong_usage_is_told_before_anything_is_asked(arguments: str, words: str) -> None:
    done = await run("http://127.0.0.1:1", *arguments.split())
    assert (done.code, done.out) == (2, "")
    assert words in done.err


async def test_a_whole_key_as_an_argument_is_refused_and_not_repeated() -> None:
    key = make_key("live").key.reveal()
    for command in ("show", "revoke", "rotate", "delete", "update"):
        done = await run("http://127.0.0.1:1", command, key, *(["--name", "x"] if command == "update" else []))
        assert (done.code, done.out) == (2, "")
        assert "rotate it" in done.err
        assert key not in done.err
        assert key[24:] not in done.err


async def test_a_list_is_a_table_on_a_terminal_and_lines_with_tabs_elsewhere(server: Server) -> None:
    async with server.opened() as store, serving(store) as it:
        await store.load([make_record(consumer=f"c{number % 2}", labels={"n": str(number)}) for number in range(5)])
        piped = await run(it.url, "list", "--consumer", "c0")
        assert piped.code == 0
        rows = [line.split("\t") for line in piped.out.splitlines()]
        assert len(rows) == 3
        assert {tuple(row[1:6]) for row in rows} == {("c0", "-", "active", "-", "-")}
        assert {row[6] for row in rows} == {"n=0", "n=2", "n=4"}
        table = await run(it.url, "list", terminal=True)
        head, *lines = table.out.splitlines()
        assert head.split() == ["KEY", "CONSUMER", "NAME", "STATE", "EXPIRES", "LAST", "USED", "LABELS"]
        assert len(lines) == 5
        assert {line.index("active") for line in lines} == {head.index("STATE")}
        document = json.loads((await run(it.url, "list", "-o", "json", "--label", "n=3")).out)
        assert [item["labels"] for item in document["items"]] == [{"n": "3"}]
        assert (document["damaged"], document["nextCursor"]) == ([], None)
        assert json.loads((await run(it.url, "list", "-o", "json", "--consumer", "x")).out)["items"] == []


async def test_a_long_list_comes_in_pages_or_whole(server: Server) -> None:
    async with server.opened() as store, server.raw() as raw, serving(store) as it:
        records = [make_record() for _ in range(200)]
        await store.load(records)
        await raw.command("SET", raw.name("k:0123456789ab"), "nonsense")
        ids = {record.shown for record in records}
        found: set[str] = set()
        cursor: tuple[str, ...] = ()
        pages = 0
        while True:
            done = await run(it.url, "list", "--limit", "50", *cursor)
            assert done.code == 0, done.err
            found |= {line.partition("\t")[0] for line in done.out.splitlines()}
            pages += 1
            if "--cursor" not in done.err:
                break
            cursor = ("--cursor", done.err.partition("--cursor ")[2].split()[0])
        assert (found, pages > 1) == (ids, True)
        whole = await run(it.url, "list", "--all", "--limit", "50")
        assert {line.partition("\t")[0] for line in whole.out.splitlines()} == ids
        assert "0123456789ab is damaged" in whole.err
        document = json.loads((await run(it.url, "list", "--all", "--limit", "50", "-o", "json")).out)
        assert {item["id"] for item in document["items"]} == ids
        assert [each["id"] for each in document["damaged"]] == ["0123456789ab"]


async def test_what_is_listed_gives_no_command_to_the_terminal(it: Serving) -> None:
    made = await it.create(consumer="a\u009b31m\u202eb", name="x\ty")
    done = await run(it.url, "list", "--consumer", "a\u009b31m\u202eb", terminal=True)
    shown = await run(it.url, "show", made["record"]["id"])
    for text in (done.out, shown.out, (await run(it.url, "revoke", made["record"]["id"])).err):
        assert not {"\u009b", "\u202e", "\t"} & set(text)


async def test_a_key_goes_through_its_life(it: Serving) -> None:
    key = (await run(it.url, "create", "--consumer", "alice", "--expires", "90d")).out.strip()
    shown = key[: len("apo_live_") + 12]
    assert json.loads((await run(it.url, "show", shown, "-o", "json")).out)["state"] == "active"
    assert "consumer   alice" in (await run(it.url, "show", shown)).out

    changed = await run(
        it.url, "update", shown, "--label", "a=b", "--method", "GET", "--rate", "1/s", "--expires", "never"
    )
    assert changed.code == 0
    record = json.loads((await run(it.url, "show", shown, "-o", "json")).out)
    assert (record["labels"], record["scopes"]["methods"], record["expires"]) == ({"a": "b"}, ["GET"], None)
    assert record["limits"]["rate"] == {"perSecond": 1.0, "burst": 1}

    rotated = await run(it.url, "rotate", shown, "--grace", "7d")
    new = parse_key(rotated.out.strip())
    assert new is not None
    assert f"{shown} is valid until 20" in rotated.err
    twice = await run(it.url, "rotate", shown, "-o", "json")
    assert (twice.code, twice.out) == (1, "")
    assert "successor" in twice.err
    again = json.loads((await run(it.url, "rotate", new.shown, "--grace", "0s", "--expires", "1d", "-o", "json")).out)
    assert again["retiring"]["state"] == "expired"

    assert (await run(it.url, "revoke", shown)).code == 0
    assert json.loads((await run(it.url, "revoke", shown, "-o", "json")).out)["state"] == "revoked"
    assert (await run(it.url, "delete", shown, "--yes")).code == 0
    for command in ("show", "revoke", "rotate"):
        assert (await run(it.url, command, shown)).code == 5


async def test_an_export_is_a_private_file_that_is_whole_or_not_there(server: Server, tmp_path: Path) -> None:
    async with server.opened() as store, serving(store) as it:
        records = [make_record() for _ in range(1200)]
        await it.create()
        await store.load(records)
        file = tmp_path / "keys.export"
        done = await run(it.url, "export", str(file))
        assert (done.code, done.out, file.stat().st_mode & 0o777) == (0, "", 0o600)
        assert file.read_bytes().splitlines()[-1] == b"end 1201"
        assert (await run(it.url, "export", str(file))).code == 1
        assert (await run(it.url, "export")).out == file.read_text()
        for record in records[:10]:
            await store.delete(record.id)
        back = await run(it.url, "import", str(file))
        assert (back.code, back.out) == (0, "10 created, 1191 there already, 0 there and different\n")
        await store.revoke(records[0].id)
        again = await run(it.url, "import", "-", stdin=file.read_bytes())
        assert again.out == "0 created, 1200 there already, 1 there and different\n"
        assert records[0].id in again.err
        report = json.loads((await run(it.url, "import", str(file), "-o", "json")).out)
        assert (report["created"], report["different"], report["named"]) == (0, 1, [records[0].id])
        broken = await run(it.url, "import", "-", stdin=file.read_bytes()[:-10])
        assert (broken.code, broken.out) == (1, "")
        assert "its last line" in broken.err
        assert (await run(it.url, "import", str(tmp_path / "none"))).code == 1
        server.kill()
        other = tmp_path / "other"
        assert (await run(it.url, "export", str(other))).code == 1
        assert not other.exists()


async def test_exit_codes_say_why_it_failed(it: Serving, store: KeyStore, tmp_path: Path) -> None:
    with open_admin_port(0) as closed:
        port = closed.getsockname()[1]
    nobody = await run(f"http://127.0.0.1:{port}", "list")
    assert (nobody.code, nobody.out) == (3, "")
    assert "APOSTILLE_ADMIN_URL" in nobody.err
    assert (await run(it.url, "show", "apo_live_0123456789ab")).code == 5
    invalid = await run(it.url, "create", "--consumer", "a", "--path-prefix", "orders", "--env", "Live")
    assert invalid.code == 1
    assert "scopes/pathPrefixes/0: " in invalid.err
    assert "env: " in invalid.err
    file = tmp_path / "token"
    file.write_text(TOKEN)
    async with serving(store, token=TOKEN) as guarded:
        for env, code in (
            ({}, 4),
            ({"APOSTILLE_ADMIN_TOKEN": "x" * 32}, 4),
            ({"APOSTILLE_ADMIN_TOKEN": "short"}, 1),
            ({"APOSTILLE_ADMIN_TOKEN": TOKEN}, 0),
            ({"APOSTILLE_ADMIN_TOKEN_FILE": str(file)}, 0),
        ):
            done = await run(guarded.url, "list", "--limit", "1", env=env)
            assert done.code == code, done.err
            assert TOKEN not in done.out + done.err
        assert (await run("http://127.0.0.1:1", "list", "--admin", guarded.url)).code == 4


@pytest.mark.parametrize(
    "url", ["127.0.0.1:9900", "ftp://x", "http://", "http://user:CANARY@x", "http://x/path", "http://x:y", ""]
)
async def test_a_url_that_is_none_is_not_asked_nor_repeated(url: str) -> None:
    done = await run("", "list", "--admin", url or "http://[", env={})
    assert done.code == 1
    assert "CANARY" not in done.err


@pytest.mark.parametrize(
    "app",
    [PlainTextResponse("no", status_code=500), RedirectResponse("http://127.0.0.1:1/"), PlainTextResponse("hello")],
)
async def test_what_is_no_admin_api_is_told_from_one(app: ASGIApp) -> None:
    async with serving_app(app) as url:
        for arguments in (("list",), ("create", "--consumer", "a")):
            done = await run(url, *arguments, env={"APOSTILLE_ADMIN_TOKEN": TOKEN})
            assert (done.code, done.out) == (3, "")
            assert TOKEN not in done.err
