"""Whatever is shown instead of a key: one answer, no trouble, and nothing of any key anywhere it does not belong."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import string
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from apostille.base.headers import is_header_value
from apostille.control.key_folder import pepper_file
from apostille.keys.format import new_key
from apostille.keys.record import to_second
from tests.e2e.canaries import Canaries, files, pages, processes
from tests.e2e.gateway import Run
from tests.e2e.key_stage import NAME, KeyStage, Made, key_stage
from tests.e2e.stage import tell
from tests.e2e.wire import Message, ask, emit_request
from tests.unit.keys.valkey import make_key

# Of an answer, these say nothing but when.
_OF_THE_MOMENT = {"date"}
_LOOKS = {"mget", "get", "hmget", "scan", "info", "ping", "subscribe"}
_NOW = to_second(datetime.now(UTC))
_HOUR = timedelta(hours=1)
_DIGITS = string.digits + string.ascii_letters.swapcase()

INJECTIONS = (
    "' OR '1'='1",
    '"; DROP TABLE keys; --',
    "*1\r\n$8\r\nFLUSHALL\r\n",
    "x\r\nSET apo:k:000000000000 x\r\n",
    "x\r\nx-apostille-consumer: root",
    "apo:k:*",
    "apo_live_*",
    "apo_live_" + "?" * 46,
    "{apo}:k:000000000000",
    "${jndi:ldap://127.0.0.1/x}",
    "{{7*7}}",
    "../../keys.pepper",
    "%00",
    "\x00",
    "null",
    "true",
    "[]",
    "-1",
    "1e999",
)


@pytest.fixture
def state(socket_dir: Path) -> Path:
    return socket_dir / "state"


async def test_whatever_is_shown_and_wherever_there_is_one_refusal(tmp_path: Path, state: Path) -> None:
    async with key_stage(tmp_path, state) as it:
        good = await it.make()
        shown = {**{repr(text): text for text in INJECTIONS}, **await _near_misses(it, good)}
        assert (await ask(it.run.port, _requests(good.key)["header"])).status == 200
        # The worker that let it in notes its use some seconds later.
        before, commands = (await it.store.version(), await it.everything()), await _commands(it)
        reference = _seen(await ask(it.run.port, emit_request("GET", "/orders/x", [])))
        assert reference[0] == 401
        requests = {(what, way): each for what, text in shown.items() for way, each in _requests(text).items()}
        requests |= {("in another header", "none"): emit_request("GET", "/orders/x", [("x-api-key", good.key)])}
        answers = await _asked(it.run, requests)
        tell(f"{len(answers)} requests")
        assert {what: seen for what, seen in answers.items() if seen != reference} == {}
        # Too large for a header: refused before anybody looks at it.
        for size in (100_000, 1_000_000):
            for request in _requests("k" * size).values():
                assert 400 <= (await _status(it.run.port, request)) < 500
        assert (await it.store.version(), await it.everything()) == before
        # Look-ups, what these tests ask, and the note that the good key was used.
        more = await _commands(it) - commands
        assert more["mget"]
        assert more.keys() <= _LOOKS | {"evalsha", "eval", "exists", "hset"}
        assert (await ask(it.run.port, _requests(good.key)["query"])).status == 200


async def test_no_key_and_no_pepper_is_found_outside_its_place(tmp_path: Path, state: Path) -> None:
    canaries = Canaries()
    async with key_stage(tmp_path, state) as it:
        every = {what: await it.make() for what in ("header", "bearer", "query", "cookie")}
        for what, made in every.items():
            # What follows the id: that alone is secret.
            canaries.add(what, made.key[len(made.parts.shown) :])
        canaries.add("unknown", make_key("live").key.reveal()[21:])
        pepper = pepper_file(state).read_text().strip()
        canaries.add("pepper", pepper)
        revoked = await it.make()
        canaries.add("revoked", revoked.key[len(revoked.parts.shown) :])
        await it.store.revoke(revoked.record.id)
        answers = {}
        for down in (False, True):
            for what, made in every.items():
                answer = await ask(it.run.port, _requests(made.key)[what])
                assert answer.status == 200
                answers[f"answer to {what}, {down}"] = answer.head + answer.body
                for other in (revoked.key, f"apo_live_{'0' * 12}{canaries['unknown']}", f"{made.key} "):
                    answer = await ask(it.run.port, _requests(other)[what])
                    answers[f"answer to {other[:21]} in {what}, {down}"] = answer.head + answer.body
            if not down:
                since = len(it.run.err.all)
                os.kill(it.run.pid("keys"), signal.SIGKILL)
                await it.run.wait_back("keys", since=since)
        found = {**answers, **await pages(it.run), **processes(it.run, workers=2)}
        store = Path("/proc") / str(it.run.pid("keys"))
        found |= {f"{name} of the store": (store / name).read_bytes() for name in ("cmdline", "environ")}
        assert await it.run.stop() == 0
        kept = files(state)
        assert pepper.encode() in kept.pop("keys.pepper")
        found |= {**kept, "standard output": it.run.out.raw, "standard error": it.run.err.raw}
    tell(f"{len(found)} places looked at")
    # The search works: what is stored of keys is in one of them.
    assert any(revoked.record.id.encode() in content for content in kept.values())
    assert {place: names for place, content in found.items() if (names := canaries.found_in(content))} == {}
    assert not [place for place, content in found.items() if bytes.fromhex(pepper) in content]


async def _near_misses(it: KeyStage, good: Made) -> dict[str, str]:
    """What is nearly a key, and keys that are over."""
    key, shown = good.key, good.parts.shown
    revoked = await it.make()
    await it.store.revoke(revoked.record.id)
    own_id = bytes(map(_DIGITS.index, good.record.id))
    looks_alike = key.translate(str.maketrans("aeopcxy", "аеорсху"))
    return {
        "nothing": "",
        "a wrong key": make_key("live").key.reveal(),
        "another environment": new_key("test", lambda n: (own_id + secrets.token_bytes(n))[:n]).key.reveal(),
        "its id and another secret": new_key("live", lambda n: (own_id + secrets.token_bytes(n))[:n]).key.reveal(),
        "one letter off": key[:-1] + ("a" if key[-1] != "a" else "b"),
        "a part of it": key[:-1],
        "its id": good.record.id,
        "what stands for it": shown,
        "more than it": key + "a",
        "twice": key + key,
        "in capitals": key.upper(),
        "its digest": good.record.digest.hex(),
        "letters that look alike": looks_alike,
        "full width": "".join(chr(ord(letter) + 0xFEE0) for letter in key),
        "with a blank in it": f"{key[:9]} {key[9:]}",
        "percent-encoded": quote(key).replace("_", "%5F").replace("%", "%25"),
        "50,000 letters": "k" * 50_000,
        "revoked": revoked.key,
        "expired": (await it.make(expires=_NOW - _HOUR, created=_NOW - 2 * _HOUR)).key,
        "not yet valid": (await it.make(not_before=_NOW + _HOUR)).key,
    }


def _requests(text: str) -> dict[str, bytes]:
    """Where it can be shown; a header cannot hold everything."""
    found = {"query": emit_request("GET", f"/orders/x?{NAME}={quote(text, safe='')}", [])}
    if all(is_header_value(part) for part in (text, text.strip())):
        found["header"] = emit_request("GET", "/orders/x", [("api-key", text)])
        found["bearer"] = emit_request("GET", "/orders/x", [("authorization", f"Bearer {text}")])
        found["cookie"] = emit_request("GET", "/orders/x", [("cookie", f"a=1; {NAME}={text}")])
    return found


def _seen(answer: Message) -> tuple[int, tuple[tuple[str, str], ...], bytes]:
    return answer.status, tuple(each for each in answer.headers if each[0] not in _OF_THE_MOMENT), answer.body


async def _asked(run: Run, requests: dict[Any, bytes]) -> dict[Any, Any]:
    answers = await asyncio.gather(*(ask(run.port, request) for request in requests.values()))
    return dict(zip(requests, map(_seen, answers), strict=True))


async def _status(port: int, request: bytes) -> int:
    """Of an answer that may come before the request has been read."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        return int((await asyncio.wait_for(reader.readline(), 10.0)).split(b" ")[1])
    finally:
        writer.close()


async def _commands(it: KeyStage) -> Counter[str]:
    """Command → how often the store has been given it so far."""
    stats = await it.connection.ask("INFO", "commandstats")
    return Counter({name.removeprefix("cmdstat_"): int(each["calls"]) for name, each in stats.items()})
