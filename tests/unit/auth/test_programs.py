from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from apostille.auth.codec import emit_keyring, emit_program
from apostille.auth.contract import (
    Allow,
    AuthRequest,
    AuthStep,
    Deny,
    OutboundRequest,
    Signed,
    Signer,
    SignerTools,
    StepTools,
    Upstream,
    Verdict,
)
from apostille.auth.keyrings import KeyRingStore
from apostille.auth.programs import ProgramError, Programs, Signing
from apostille.auth.upstreams import UpstreamNews, UpstreamStore, emit_news
from apostille.base.clock import SystemClock
from apostille.base.refs import Ref
from apostille.credentials.keepers import Keepers
from apostille.model.auth import HeaderUse, KeyRing, Program, Step
from apostille.model.outbound import Outbound, Target
from apostille.model.route import PathKind, PathMatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    text: str


@dataclass(frozen=True)
class Step1:
    text: str

    async def check(self, request: AuthRequest, /) -> Verdict:
        return Allow(set_headers=(("x-text", self.text),))


class Kind:
    name = "sample"
    config = Config

    def start(self, config: object, tools: StepTools, /) -> AuthStep:
        assert isinstance(config, Config)
        if config.text.startswith("bad"):
            raise ValueError(config.text)
        return Step1(config.text)


def program(text: str, *, name: str = "n/p@1", deadline_ms: int = 5, use: HeaderUse | None = None) -> Program:
    step = Step(name="s", kind="sample", config=Config(text=text), headers=use or HeaderUse())
    return Program(id=name, policy=Ref("ExtAuthPolicy", "n", "p"), steps=(step,), deadline_ms=deadline_ms)


@pytest.fixture
async def programs() -> AsyncIterator[Programs]:
    keyrings = KeyRingStore()
    async with aiohttp.ClientSession() as http:
        tools = StepTools(clock=SystemClock(), keyrings=keyrings, http=http)
        yield Programs({"sample": Kind()}, tools, keyrings)


def text_of(programs: Programs, name: str = "n/p@1") -> str:
    started = programs.find(name)
    assert started is not None
    (_, step) = started.steps[0]
    assert isinstance(step, Step1)
    return step.text


async def test_a_program_is_found_once_it_was_put_and_until_it_is_dropped(programs: Programs) -> None:
    assert programs.find("n/p@1") is None
    programs.put_program("n/p@1", emit_program(program("one")))
    assert text_of(programs) == "one"
    assert programs.program_ids() == {"n/p@1"}
    programs.drop_program("n/p@1")
    programs.drop_program("n/p@1")
    assert programs.find("n/p@1") is None


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"canary", "is not JSON"),
        (emit_program(program("bad canary")), "a step did not start (ValueError)"),
        (emit_program(program("canary", name="n/other@1")), "calls itself 'n/other@1'"),
        (emit_program(program("canary", deadline_ms=0)), "no time to run"),
        (emit_program(program("canary")).replace(b'"sample"', b'"later"'), "unknown kind 'later'"),
    ],
)
async def test_a_program_that_cannot_be_used_says_why_and_leaves_the_older_one(
    programs: Programs, data: bytes, told: str
) -> None:
    programs.put_program("n/p@1", emit_program(program("one")))
    with pytest.raises(ProgramError) as caught:
        programs.put_program("n/p@1", data)
    assert told in str(caught.value)
    assert "canary" not in str(caught.value)
    assert text_of(programs) == "one"


async def test_a_program_without_steps_would_guard_nothing_and_is_refused(programs: Programs) -> None:
    data = emit_program(Program(id="n/p@1", policy=Ref("ExtAuthPolicy", "n", "p"), steps=(), deadline_ms=5))
    with pytest.raises(ProgramError, match="no steps"):
        programs.put_program("n/p@1", data)


async def test_what_the_steps_say_of_headers_is_settled_at_the_start(programs: Programs) -> None:
    use = HeaderUse(reads=("api-key", "x-a"), credentials=("API-Key",), writes=("x-a", "x-b"), body=True)
    programs.put_program("n/p@1", emit_program(program("one", use=use)))
    started = programs.find("n/p@1")
    assert started is not None
    assert started.removable == {"api-key", "x-a"}
    assert started.wants_body
    assert started.policy == "n/p"


async def test_key_rings_are_put_and_dropped_by_name(programs: Programs) -> None:
    programs.put_keyring("r", emit_keyring(KeyRing(id="r", keys=())))
    assert programs.keyring_ids() == {"r"}
    with pytest.raises(ProgramError, match="calls itself 'r'"):
        programs.put_keyring("other", emit_keyring(KeyRing(id="r", keys=())))
    with pytest.raises(ProgramError, match="not JSON"):
        programs.put_keyring("r", b"")
    assert programs.keyring_ids() == {"r"}
    programs.drop_keyring("r")
    assert programs.keyring_ids() == frozenset()


@dataclass
class StubSigner:
    upstream: Upstream
    refusals: int = 0

    async def sign(self, request: OutboundRequest, /) -> Signed | Deny:
        return Signed(path=request.path)

    async def explain(self, request: OutboundRequest, /) -> tuple[tuple[str, str], ...] | Deny:
        return ()

    def refused(self) -> None:
        self.refusals += 1


class SignerKind:
    name = "signing"
    config = Config

    def __init__(self) -> None:
        self.started: list[StubSigner] = []

    def start(self, config: object, tools: SignerTools, /) -> Signer:
        self.started.append(StubSigner(tools.upstream))
        return self.started[-1]


async def test_signers_hear_what_their_own_destination_says() -> None:
    kind, keyrings = SignerKind(), KeyRingStore()
    clock = SystemClock()
    keepers = Keepers(clock=clock, environ={}, registry=CollectorRegistry())
    signing = Signing(kinds={"signing": kind}, clock=clock, credentials=keepers, upstreams=UpstreamStore())
    async with aiohttp.ClientSession() as http:
        programs = Programs({}, StepTools(clock=clock, keyrings=keyrings, http=http), keyrings, signing)
        for policy in ("s3", "other"):
            outbound = Outbound(
                policy=Ref("OutboundAuthPolicy", "n", policy),
                kind="signing",
                config=Config(text=""),
                target=Target(host="h", path=PathMatch(kind=PathKind.PREFIX, value="/")),
            )
            made = Program(id=f"n/{policy}@1", policy=outbound.policy, steps=(), deadline_ms=5, outbound=outbound)
            programs.put_program(made.id, emit_program(made))
        programs.put_upstream("n/s3", emit_news(UpstreamNews(skew=timedelta(minutes=20))))
        programs.put_upstream("n/s3", emit_news(UpstreamNews(skew=timedelta(minutes=20), refusals=3)))
        s3, other = kind.started
        assert (s3.upstream.skew, s3.refusals) == (timedelta(minutes=20), 1)
        assert (other.upstream.skew, other.refusals) == (timedelta(0), 0)
        with pytest.raises(ProgramError, match="not the news of a destination"):
            programs.put_upstream("n/s3", b"{")
        programs.drop_upstream("n/s3")
        assert s3.upstream.skew == timedelta(0)
    await keepers.close()
