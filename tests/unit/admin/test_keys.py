from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from apostille.admin.lines import MEDIA
from apostille.keys.audit import Action, Outcome
from apostille.keys.desk import KeyDesk
from apostille.keys.errors import NoKeyStore
from apostille.keys.format import parse_key
from apostille.keys.store import BATCH, KeyStore
from tests.unit.admin.serving import Serving, build, serving, serving_app
from tests.unit.credentials.stand_ins import START, FakeClock
from tests.unit.keys.valkey import Server, make_record, server_in

ORDER: dict[str, Any] = {
    "consumer": "alice",
    "env": "test",
    "name": "laptop",
    "labels": {"plan": "gold"},
    "metadata": {"team": "ä"},
    "scopes": {
        "methods": ["GET"],
        "hosts": ["*.example.com"],
        "pathPrefixes": ["/orders"],
        "routeLabels": {"tier": "1"},
        "destinations": ["apps/s3"],
    },
    "limits": {
        "rate": {"perSecond": 0.5, "burst": 3},
        "quotas": [{"requests": 1000, "period": "day"}],
        "share": "consumer",
    },
    "notBefore": "2026-05-01T14:00:00+01:00",
    "expires": "2026-06-01T00:00:00Z",
}


@pytest.fixture
async def it(store: KeyStore, clock: FakeClock) -> AsyncIterator[Serving]:
    async with serving(store, clock=clock) as it:
        yield it


async def test_a_key_is_given_once_and_its_record_as_it_was_asked_for(it: Serving) -> None:
    answer = await it.ask("POST", "/v1/keys", ORDER)
    assert answer.status == 201
    assert answer.headers["cache-control"] == "no-store"
    parts = parse_key(answer.json["key"])
    assert parts is not None
    record = answer.json["record"]
    assert record == {
        **ORDER,
        "id": parts.shown,
        "state": "notYetValid",
        "notBefore": "2026-05-01T13:00:00Z",
        "created": "2026-05-01T12:00:00Z",
        "lastUsed": None,
        "successor": None,
        "revision": 1,
    }
    assert answer.headers["location"] == f"/v1/keys/{parts.shown}"
    for name in (parts.shown, parts.id):
        shown = await it.ask("GET", f"/v1/keys/{name}")
        assert (shown.status, shown.headers["etag"], shown.json) == (200, '"1"', record)
        assert parts.key.reveal()[24:] not in shown.text


async def test_the_state_is_that_of_the_moment(it: Serving, clock: FakeClock) -> None:
    made = await it.create(notBefore="2026-05-01T13:00:00Z", expires="2026-05-01T14:00:00Z")
    states = []
    for _ in range(3):
        states.append((await it.ask("GET", f"/v1/keys/{made['record']['id']}")).json["state"])
        clock.advance(3600)
    await it.ask("POST", f"/v1/keys/{made['record']['id']}/revoke", {})
    states.append((await it.ask("GET", f"/v1/keys/{made['record']['id']}")).json["state"])
    assert states == ["notYetValid", "active", "expired", "revoked"]


async def test_a_field_that_is_given_replaces_the_whole_of_what_was_there(it: Serving) -> None:
    made = (await it.ask("POST", "/v1/keys", ORDER)).json["record"]
    path = f"/v1/keys/{made['id']}"
    change = {"labels": {"other": "1"}, "expires": None, "scopes": {"hosts": ["api.example.com"]}, "limits": {}}
    changed = await it.ask("PATCH", path, change)
    assert changed.status == 200
    assert changed.json == {
        **made,
        "labels": {"other": "1"},
        "expires": None,
        "scopes": {
            "methods": [],
            "hosts": ["api.example.com"],
            "pathPrefixes": [],
            "routeLabels": {},
            "destinations": [],
        },
        "limits": {"rate": None, "quotas": [], "share": "key"},
        "revision": 2,
    }
    assert (await it.ask("PATCH", path, {})).json["labels"] == {"other": "1"}


async def test_a_change_can_name_the_revision_that_it_is_meant_for(it: Serving) -> None:
    made = await it.create()
    path = f"/v1/keys/{made['record']['id']}"
    assert (await it.ask("PATCH", path, {"name": "a"}, if_match='"1"')).status == 200
    for method, where, body in (("PATCH", path, {"name": "b"}), ("POST", f"{path}/rotate", {})):
        late = await it.ask(method, where, body, if_match='"1"')
        assert (late.status, late.json["reason"]) == (412, "key_changed")
        assert (await it.ask(method, where, body, if_match="3")).status == 400
    assert (await it.ask("PATCH", path, {"name": "c"}, if_match="*")).json["revision"] == 3
    assert (await it.ask("POST", f"{path}/rotate", {}, if_match='"3"')).status == 201


async def test_rotating_gives_the_new_key_once_and_a_grace_to_the_old_one(it: Serving) -> None:
    made = await it.create(name="laptop")
    path = f"/v1/keys/{made['record']['id']}"
    rotated = await it.ask("POST", f"{path}/rotate", {"grace": "1h30m"})
    assert (rotated.status, rotated.headers["cache-control"]) == (201, "no-store")
    assert parse_key(rotated.json["key"]) is not None
    assert rotated.json["key"] != made["key"]
    new, old = rotated.json["record"], rotated.json["retiring"]
    assert (new["name"], new["state"], new["expires"]) == ("laptop", "active", None)
    assert (old["id"], old["expires"], old["successor"]) == (made["record"]["id"], "2026-05-01T13:30:00Z", new["id"])
    again = await it.ask("POST", f"{path}/rotate", {})
    assert (again.status, again.json["reason"]) == (409, "key_not_active")
    never = await it.ask("POST", f"/v1/keys/{new['id']}/rotate", {"grace": "0s", "expires": "2026-05-02T00:00:00Z"})
    assert (never.json["record"]["expires"], never.json["retiring"]["state"]) == ("2026-05-02T00:00:00Z", "expired")


async def test_a_deleted_key_is_unknown(it: Serving) -> None:
    made = await it.create()
    path = f"/v1/keys/{made['record']['id']}"
    assert (await it.ask("DELETE", path)).status == 204
    for method, where, body in (
        ("GET", path, None),
        ("DELETE", path, None),
        ("PATCH", path, {}),
        ("POST", f"{path}/rotate", {}),
        ("POST", f"{path}/revoke", {}),
    ):
        answer = await it.ask(method, where, body)
        assert (answer.status, answer.json["reason"]) == (404, "no_such_key")


async def test_a_key_is_not_found_under_another_environment_nor_under_the_whole_of_it(it: Serving) -> None:
    made = await it.create()
    key_id = made["record"]["id"].rpartition("_")[2]
    for name in (f"apo_test_{key_id}", made["key"], key_id[:-1], f"{key_id}0", "import", "%20"):
        for method, where, body in (
            ("GET", "", None),
            ("DELETE", "", None),
            ("PATCH", "", {}),
            ("POST", "/rotate", {}),
            ("POST", "/revoke", {}),
        ):
            answer = await it.ask(method, f"/v1/keys/{name}{where}", body)
            assert answer.status in (404, 405), (method, name)
            assert made["key"] not in answer.text
    assert (await it.ask("GET", f"/v1/keys/{key_id}")).json["revision"] == 1


async def test_a_list_goes_from_page_to_page_and_can_be_narrowed(server: Server) -> None:
    async with server.opened() as store:
        records = [
            make_record(consumer=f"c{number % 3}", labels={"plan": "gold" if number % 2 else "free"})
            for number in range(300)
        ]
        await store.load(records)
        used = {records[0].id: START}
        await store.touch(used)
        async with serving(store) as it:

            async def ids(query: str) -> list[str]:
                found: list[str] = []
                cursor = ""
                while True:
                    page = (await it.ask("GET", f"/v1/keys?{query}{cursor}")).json
                    found += [item["id"] for item in page["items"]]
                    assert page["damaged"] == []
                    if page["nextCursor"] is None:
                        return sorted(set(found))
                    cursor = f"&cursor={page['nextCursor']}"

            assert await ids("limit=50") == sorted(record.shown for record in records)
            assert await ids("limit=7&consumer=c1&label=plan%3Dgold") == sorted(
                record.shown for record in records if record.consumer == "c1" and record.labels["plan"] == "gold"
            )
            assert await ids("label=plan%3Dgold&label=plan%3Dsilver") == []
            shown = (await it.ask("GET", f"/v1/keys/{records[0].id}")).json
            assert shown["lastUsed"] == "2026-05-01T12:00:00Z"


async def test_a_damaged_record_is_listed_as_such_and_can_be_deleted(server: Server) -> None:
    async with server.opened() as store, server.raw() as raw, serving(store) as it:
        made = await it.create()
        key_id = made["record"]["id"].rpartition("_")[2]
        await raw.command("SET", raw.name(f"k:{key_id}"), "nonsense")
        page = (await it.ask("GET", "/v1/keys")).json
        assert page["items"] == []
        assert page["damaged"] == [{"id": key_id, "problem": "it is not in our format"}]
        answer = await it.ask("GET", f"/v1/keys/{key_id}")
        assert (answer.status, answer.json["reason"]) == (500, "damaged_record")
        assert (await it.ask("GET", "/v1/keys/export")).text.endswith("\nend 0\n")
        assert [damage.id for damage in it.damaged] == [key_id]
        assert (await it.ask("DELETE", f"/v1/keys/{made['record']['id']}")).status == 204
        assert (await it.ask("GET", "/v1/keys")).json["damaged"] == []


async def test_many_keys_go_out_and_in_again(server: Server, socket_dir: Path) -> None:
    other = server_in(socket_dir / "other")
    other.start()
    try:
        async with server.opened() as store, other.opened() as empty, serving(store) as it, serving(empty) as there:
            await it.create()
            await store.load([make_record() for _ in range(3 * BATCH)])
            export = await it.ask("GET", "/v1/keys/export")
            assert (export.status, export.headers["cache-control"]) == (200, "no-store")
            assert export.headers["content-type"] == MEDIA
            count = 3 * BATCH + 1
            cut = await there.ask("POST", "/v1/keys/import", data=export.text[:-10].encode(), content_type=MEDIA)
            assert (cut.status, cut.json["reason"]) == (422, "broken_export")
            done = await there.ask("POST", "/v1/keys/import", data=export.text.encode(), content_type=MEDIA)
            assert done.status == 200
            assert done.json["created"] + done.json["same"] == count
            assert (done.json["different"], done.json["named"]) == (0, [])
            assert sorted((await there.ask("GET", "/v1/keys/export")).text.split()) == sorted(export.text.split())
            assert [(line.action, line.outcome) for line in there.audit] == [
                (Action.IMPORT, Outcome.UNKNOWN),
                (Action.IMPORT, Outcome.DONE),
                (Action.EXPORT, Outcome.DONE),
            ]
            endless = await there.ask("POST", "/v1/keys/import", data=b"x" * 100_000, content_type=MEDIA)
            assert (endless.status, endless.json["reason"]) == (422, "broken_export")
    finally:
        other.kill()


@pytest.mark.parametrize(
    ("body", "status", "pointers"),
    [
        ({}, 400, ["#/consumer"]),
        ({"consumer": ""}, 400, ["#/consumer"]),
        ({"consumer": 3, "colour": "red"}, 400, ["#/consumer", "#/colour"]),
        ({"consumer": "a", "not_before": None}, 400, ["#/not_before"]),
        ({"consumer": "a\r\nx: y"}, 400, ["#/consumer"]),
        ({"consumer": "a", "labels": {"a/b~c": 1}}, 400, ["#/labels/a~1b~0c"]),
        ({"consumer": "a", "env": "Live"}, 400, ["#/env"]),
        ({"consumer": "a", "scopes": {"methods": ["GET", "get"]}}, 400, ["#/scopes/methods/1"]),
        ({"consumer": "a", "limits": {"rate": {"perSecond": 0, "burst": 1.5}}}, 400, None),
        ({"consumer": "a", "expires": "2027-01-31"}, 400, ["#/expires"]),
        ({"consumer": "a", "expires": "2027-13-31T00:00:00Z"}, 400, ["#/expires"]),
        ({"consumer": "a", "expires": 1}, 400, ["#/expires"]),
        ({"consumer": "a", "expires": "0001-01-01T00:00:00+01:00"}, 400, ["#/expires"]),
        ({"consumer": "a", "expires": "2020-01-01T00:00:00Z"}, 422, []),
        ({"consumer": "a", "scopes": {"pathPrefixes": ["/a/../b"]}}, 422, ["#/scopes"]),
        ({"consumer": "a", "limits": {"quotas": [{"requests": 1, "period": "day"}] * 2}}, 422, ["#/limits"]),
    ],
)
async def test_each_wrong_thing_is_told_with_its_place(
    it: Serving, body: object, status: int, pointers: list[str] | None
) -> None:
    answer = await it.ask("POST", "/v1/keys", body)
    assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.json["status"] == status
    found = [error["pointer"] for error in answer.json["errors"]]
    assert found == (pointers if pointers is not None else ["#/limits/rate/perSecond", "#/limits/rate/burst"])
    assert all(error["detail"] for error in answer.json["errors"])


@pytest.mark.parametrize(
    ("path", "data", "media", "status"),
    [
        ("/v1/keys", b"{", "application/json", 400),
        ("/v1/keys", b"", "application/json", 400),
        ("/v1/keys", b"\xff", "application/json", 400),
        ("/v1/keys", b'{"consumer": "\\ud800"}', "application/json", 400),
        ("/v1/keys", b"[" * 100_000, "application/json", 400),
        ("/v1/keys", b'"' + b"x" * 300_000 + b'"', "application/json", 413),
        ("/v1/keys", b'{"consumer": "a"}', "text/plain", 415),
        ("/v1/keys", b"consumer=a", "application/x-www-form-urlencoded", 415),
        ("/v1/keys/import", b"apostille-keys 2 -\nend 0\n", "text/plain", 415),
        ("/v1/keys/import", b"apostille-keys 2 -\nend 1\n", MEDIA, 422),
        ("/v1/keys?x=1", b"{}", "application/json", 400),
    ],
)
async def test_bodies_that_are_none(it: Serving, path: str, data: bytes, media: str, status: int) -> None:
    answer = await it.ask("POST", path, data=data, content_type=media)
    assert (answer.status, answer.json["status"]) == (status, status)
    assert it.audit == [] or path == "/v1/keys/import"


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=ten", "limit"),
        ("limit=1.0", "limit"),
        ("limit=%2B1", "limit"),
        ("cursor=x", "cursor"),
        ("cursor=-1", "cursor"),
        ("label=plan", "label"),
        ("consumer=", "consumer"),
        ("colour=red", "colour"),
        ("limit=1&limit=2", None),
    ],
)
async def test_a_wrong_query_is_told_by_parameter(it: Serving, query: str, parameter: str | None) -> None:
    answer = await it.ask("GET", f"/v1/keys?{query}")
    assert (answer.status, answer.json["reason"]) == (400, "malformed")
    assert [error["parameter"] for error in answer.json["errors"]] == ([parameter] if parameter else [])


async def test_what_is_not_there_is_told_as_a_problem_too(it: Serving) -> None:
    for method, path, status in (
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/keys/", 404),
        ("PUT", "/v1/keys", 405),
        ("OPTIONS", "/v1/keys", 405),
        ("HEAD", "/v1/keys/export", 405),
        ("TRACE", "/healthz", 405),
    ):
        answer = await it.ask(method, path)
        assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json")
    assert (await it.ask("PUT", "/v1/keys")).headers["allow"] == "GET, HEAD, POST"
    assert (await it.ask("HEAD", "/v1/keys")).status == 200


async def test_a_store_that_is_down_is_503_and_no_404(server: Server) -> None:
    async with server.opened() as store, serving(store) as it:
        made = await it.create()
        export = (await it.ask("GET", "/v1/keys/export")).text
        server.kill()
        path = f"/v1/keys/{made['record']['id']}"
        for method, where, body in (
            ("GET", "/v1/keys", None),
            ("POST", "/v1/keys", {"consumer": "a"}),
            ("GET", path, None),
            ("PATCH", path, {}),
            ("DELETE", path, None),
            ("POST", f"{path}/rotate", {}),
            ("POST", f"{path}/revoke", {}),
            ("GET", "/v1/keys/export", None),
        ):
            answer = await it.ask(method, where, body)
            assert (answer.status, answer.json["reason"]) == (503, "store_unavailable"), (method, where)
        answer = await it.ask("POST", "/v1/keys/import", data=export.encode(), content_type=MEDIA)
        assert (answer.status, answer.json["reason"]) == (503, "store_unavailable")


async def test_without_a_store_it_says_how_to_get_one(clock: FakeClock) -> None:
    async def nothing() -> KeyDesk:
        raise NoKeyStore("set APOSTILLE_KEYS_URL")

    async with (
        serving_app(build(nothing, clock=clock)) as url,
        aiohttp.ClientSession() as http,
        http.get(f"{url}/v1/keys") as answer,
    ):
        assert answer.status == 503
        assert await answer.json(content_type=None) == {
            "type": "about:blank",
            "title": "Service Unavailable",
            "status": 503,
            "detail": "set APOSTILLE_KEYS_URL",
            "reason": "no_key_store",
            "errors": [],
        }


async def test_every_change_is_in_the_audit_with_who_made_it(it: Serving) -> None:
    made = await it.create()
    key = made["record"]["id"]
    await it.ask("PATCH", f"/v1/keys/{key}", {"name": "x"})
    rotated = await it.ask("POST", f"/v1/keys/{key}/rotate", {"grace": "1h"})
    await it.ask("POST", f"/v1/keys/{key}/revoke", {})
    await it.ask("DELETE", f"/v1/keys/{key}")
    assert [line.action for line in it.audit] == [
        Action.CREATE,
        Action.UPDATE,
        Action.ROTATE,
        Action.REVOKE,
        Action.DELETE,
    ]
    assert {(line.outcome, line.actor, line.key, line.consumer) for line in it.audit} == {
        (Outcome.DONE, "somebody at 127.0.0.1", key, "alice")
    }
    for secret in (made["key"], rotated.json["key"]):
        assert secret[24:] not in repr(it.audit)


async def test_many_at_once_are_served(it: Serving) -> None:
    made = await asyncio.gather(*(it.create(consumer=f"c{number}") for number in range(50)))
    assert len({each["key"] for each in made}) == 50
    path = f"/v1/keys/{made[0]['record']['id']}"
    rotated = await asyncio.gather(*(it.ask("POST", f"{path}/rotate", {}) for _ in range(10)))
    assert sorted({answer.status for answer in rotated}) == [201, 409]
    assert sum(answer.status == 201 for answer in rotated) == 1
