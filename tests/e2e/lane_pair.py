"""Two gateways with the same manifests, one with the service lane for everything; what either makes of a request.

Compared is all that a client or an upstream can see, but for what is new with each request: dates, request ids, and the
signatures that follow from a date. Those are made again from what arrived, and must be the same.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from apostille.base.secrets import SecretText
from apostille.signing.sigv4 import Credentials, Request, sign
from tests.e2e.gateway import Run, gateway
from tests.e2e.lane_recorder import Arrived, Recorder
from tests.e2e.lane_requests import Ask
from tests.e2e.lane_worlds import SignPolicy, World
from tests.e2e.wire import Connection, Message

_SECONDS = 20.0
# Whether Envoy hangs up after an answer depends on how much of the request has come by then.
_NOT_COMPARED = frozenset({"date", "connection"})
_REQUEST_ID = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_OF_SIGNATURE = ("x-amz-content-sha256", "x-amz-security-token", "x-amz-date", "authorization")
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<access>.+)/(?P<date>\d{8})/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request, "
    r"SignedHeaders=(?P<names>[^,]+), Signature=[0-9a-f]{64}"
)

_HASH = re.compile("[0-9a-f]{64}")

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A request as it reached the upstream. `signature`: its headers in their order, without what a date changes.
    `fault`: what is wrong with it, if anything."""

    line: str
    headers: Headers
    signature: Headers
    body: bytes | None
    fault: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """`line` is empty when there was no answer."""

    line: str
    headers: Headers = ()
    body: bytes = b""
    sent: tuple[Sent, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    ask: Ask
    envoy: Outcome
    service: Outcome

    def __str__(self) -> str:
        return f"{self.ask.emit('x')[:2000]!r}\n  Envoy lane:   {self.envoy}\n  service lane: {self.service}"


class Side:
    """One gateway, and the upstream that only it sends to."""

    def __init__(self, run: Run, recorder: Recorder, world: World) -> None:
        self.run = run
        self._recorder = recorder
        self._world = world

    async def ask(self, connection: Connection, ask: Ask, case: str) -> Outcome:
        answer = await self._answer(connection, ask.emit(case))
        sent = tuple(_read(arrived, ask, self._world) for arrived in self._recorder.take(case))
        if answer is None:
            return Outcome(line="", sent=sent)
        headers = tuple((n, _REQUEST_ID.sub("…", value)) for n, value in answer.headers if n not in _NOT_COMPARED)
        body = _REQUEST_ID.sub("…", answer.body.decode("latin-1")).encode("latin-1", "replace")
        return Outcome(line=answer.first_line, headers=headers, body=body, sent=sent)

    async def _answer(self, connection: Connection, request: bytes) -> Message | None:
        try:
            async with asyncio.timeout(_SECONDS):
                return await connection.send(request)
        except (OSError, TimeoutError, ValueError):
            await connection.close()
            return None

    async def decisions(self) -> int:
        """How often the auth service has been asked."""
        async with aiohttp.ClientSession() as http, http.get(f"{self.run.admin}/metrics") as page:
            families = text_string_to_metric_families(await page.text())
            samples = [sample for family in families for sample in family.samples]
        return int(sum(each.value for each in samples if each.name == "apostille_auth_decisions_total"))


class Pair:
    """Made by `start_pair`."""

    def __init__(self, envoy: Side, service: Side) -> None:
        self.envoy = envoy
        self.service = service
        self._cases = itertools.count()

    async def compare(self, connections: tuple[Connection, Connection], ask: Ask) -> tuple[Outcome, Difference | None]:
        """What the Envoy lane made of it, and whether that is something else than in the service lane."""
        case = str(next(self._cases))
        outcomes = await asyncio.gather(
            self.envoy.ask(connections[0], ask, case), self.service.ask(connections[1], ask, case)
        )
        if outcomes[0] == outcomes[1] and not any(sent.fault for each in outcomes for sent in each.sent):
            return outcomes[0], None
        return outcomes[0], Difference(ask=ask, envoy=outcomes[0], service=outcomes[1])

    @asynccontextmanager
    async def connections(self) -> AsyncIterator[tuple[Connection, Connection]]:
        async with Connection(self.envoy.run.port) as one, Connection(self.service.run.port) as other:
            yield one, other

    async def simplest(self, found: Difference) -> Difference:
        """The smallest request at which they still differ."""
        async with self.connections() as connections:
            while True:
                for ask in found.ask.simpler():
                    _, again = await self.compare(connections, ask)
                    if again is not None:
                        found = again
                        break
                else:
                    return found


@asynccontextmanager
async def start_pair(world: World, folder: Path) -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:

        async def start(name: str, lane: str) -> Side:
            recorder = await stack.enter_async_context(Recorder())
            manifests = folder / name
            manifests.mkdir(parents=True)
            (manifests / "world.yaml").write_text(world.manifests(recorder.port), encoding="utf-8")
            options = (f"--lane={lane}", "--drain=0")
            return Side(await stack.enter_async_context(gateway(manifests, options=options)), recorder, world)

        yield Pair(await start("envoy", "auto"), await start("service", "service"))


def _read(arrived: Arrived, ask: Ask, world: World) -> Sent:
    message = Message(head=arrived.head, body=arrived.body or b"")
    headers = [(name, _REQUEST_ID.sub("…", value)) for name, value in message.headers]
    plain = tuple(header for header in headers if header[0] not in _OF_SIGNATURE)
    signature = tuple(header for header in headers if header[0] in _OF_SIGNATURE)
    fault = ""
    words = dict(signature).get("authorization", "")
    if words.startswith("AWS4-HMAC-SHA256 "):
        fault = _find_fault(message, words, ask, world)
        written = _AUTHORIZATION.fullmatch(words)
        shown = written.expand(r"\g<access> \g<region> \g<service> \g<names>") if written is not None else words
        new = {"authorization": shown, "x-amz-date": "…"}
        signature = tuple((name, new.get(name, value)) for name, value in signature)
    return Sent(line=message.first_line, headers=plain, signature=signature, body=arrived.body, fault=fault)


def _find_fault(message: Message, words: str, ask: Ask, world: World) -> str:
    """Why what arrived is not what was signed."""
    written = _AUTHORIZATION.fullmatch(words)
    policy = None if written is None else world.find_sign(written["access"])
    if written is None or policy is None:
        return f"no signature of ours: {words}"
    headers = message.headers
    names = [name for name, _ in headers]
    twice = [name for name in _OF_SIGNATURE if names.count(name) > 1]
    if twice:
        return f"more than one: {twice}"
    own = dict(headers)
    signed = written["names"].split(";")
    stray = [name for name in names if name.startswith("x-amz-") and name not in signed]
    if stray:
        return f"not signed: {stray}"
    if any(not value.isascii() for name, value in headers if name in signed):
        # Envoy tells the auth service another byte in place of one that is no UTF-8, and what is signed is that.
        return ""
    method, target, _ = message.first_line.split(" ")
    path, _, query = target.partition("?")
    if "x-amz-content-sha256" in own:
        hashes = [own["x-amz-content-sha256"]]
    else:
        # Of a body that is not read here the client's word is signed: whether it is true the service will find out.
        hashes = [sha256(message.body).hexdigest()]
        declared = [value.lower() for name, value in ask.headers if name.lower() == "x-amz-content-sha256"]
        hashes += [value for value in declared if _HASH.fullmatch(value)]
    expected = [
        sign(
            Request(
                method=method,
                host=own["host"],
                path=path,
                query=query,
                headers=tuple(header for header in headers if header[0] in signed),
                payload_hash=payload_hash,
            ),
            _credentials(policy),
            region=written["region"],
            service=written["service"],
            now=datetime.strptime(own["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC),
            content_sha256="x-amz-content-sha256" in own,
        ).authorization
        for payload_hash in hashes
    ]
    return "" if words in expected else f"signed something else: {words} and none of {expected}"


def _credentials(policy: SignPolicy) -> Credentials:
    held = policy.secret or {}
    token = held.get("aws_session_token")
    return Credentials(
        access_key=held["aws_access_key_id"].strip(),
        secret_key=SecretText(held["aws_secret_access_key"].strip()),
        session_token=SecretText(token) if token is not None else None,
    )
