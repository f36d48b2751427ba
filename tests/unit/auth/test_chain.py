from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest

from apostille.auth.chain import ChainResult, Passed, Refused, run_chain
from apostille.auth.contract import Allow, AuthRequest, Deny, Verdict
from apostille.auth.programs import StartedProgram
from apostille.base.refs import Ref
from apostille.model.auth import HeaderUse, Program, Step

GET = AuthRequest(method="GET", path="/", headers={})


class Scripted:
    """Gives the verdict it was made with, and keeps what it was asked."""

    def __init__(self, answer: Verdict | Callable[[AuthRequest], Verdict] | Exception) -> None:
        self.answer = answer
        self.asked: list[AuthRequest] = []

    async def check(self, request: AuthRequest, /) -> Verdict:
        self.asked.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer(request) if callable(self.answer) else self.answer


class Waiting:
    """Waits for what never comes; `stubborn` swallows being told to stop."""

    def __init__(self, *, stubborn: bool = False) -> None:
        self.stubborn = stubborn
        self.told_to_stop = False

    async def check(self, request: AuthRequest, /) -> Verdict:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.told_to_stop = True
            if not self.stubborn:
                raise
        return Allow()


def started(
    *steps: Scripted | Waiting, deadline_ms: int = 60_000, uses: Mapping[str, HeaderUse] | None = None
) -> StartedProgram:
    names = [f"step-{index}" for index in range(len(steps))]
    uses = uses or {}
    every = [uses.get(name, HeaderUse()) for name in names]
    reads = {header for use in every for header in use.reads}
    writes = {header for use in every for header in use.writes}
    return StartedProgram(
        program=Program(
            id="n/p@1",
            policy=Ref("ExtAuthPolicy", "n", "p"),
            steps=tuple(Step(name=name, kind="scripted", config=None) for name in names),
            deadline_ms=deadline_ms,
        ),
        steps=tuple(zip(names, steps, strict=True)),
        removable=frozenset({header for use in every for header in use.credentials} | (reads & writes)),
        wants_body=False,
    )


def headers_of(result: ChainResult) -> dict[str, str]:
    assert isinstance(result, Passed)
    return dict(result.set_headers)


def denial_of(result: ChainResult) -> Deny:
    assert isinstance(result, Refused)
    return result.denial


async def test_the_first_denial_is_the_answer_and_later_steps_are_not_asked() -> None:
    last = Scripted(Allow())
    refusal = Deny(status=401, reason="no_key", headers=(("www-authenticate", "x"),))
    result = await run_chain(started(Scripted(Allow()), Scripted(refusal), last), GET)
    assert result == Refused(denial=refusal, step="step-1")
    assert last.asked == []


async def test_set_replaces_and_append_joins_whatever_the_spelling() -> None:
    result = await run_chain(
        started(
            Scripted(Allow(set_headers=(("X-A", "1"), ("x-b", "1")))),
            Scripted(Allow(set_headers=(("x-a", "2"),), append_headers=(("X-B", "2"), ("x-c", "1"), ("x-c", "2")))),
        ),
        GET,
    )
    assert headers_of(result) == {"x-a": "2", "x-b": "1,2", "x-c": "1,2"}


async def test_state_and_consumer_go_along_the_chain() -> None:
    second = Scripted(lambda request: Allow(state={**request.state, "b": 2}))
    third = Scripted(Allow())
    result = await run_chain(started(Scripted(Allow(state={"a": 1}, consumer="alice")), second, third), GET)
    assert second.asked[0].state == {"a": 1}
    assert third.asked[0].state == {"a": 1, "b": 2}
    assert result.consumer == "alice"
    assert GET.state == {}


async def test_the_callers_credentials_and_forgeable_headers_are_taken_away_unless_a_step_sets_them() -> None:
    result = await run_chain(
        started(
            Scripted(Allow(set_headers=(("authorization", "signed"),))),
            Scripted(Allow()),
            uses={
                "step-0": HeaderUse(reads=("api-key", "x-plan", "x-seen"), credentials=("api-key", "authorization")),
                "step-1": HeaderUse(writes=("x-plan", "x-user")),
            },
        ),
        GET,
    )
    assert isinstance(result, Passed)
    assert result.remove == ("api-key", "x-plan")


async def test_a_step_that_raises_refuses_with_its_type_and_not_its_text() -> None:
    result = await run_chain(started(Scripted(RuntimeError("canary"))), GET)
    assert denial_of(result) == Deny(status=503, reason="step_failed", broken=True, cause="RuntimeError")
    assert isinstance(result, Refused)
    assert result.step == "step-0"
    assert "canary" not in repr(result)


async def test_a_steps_own_timeout_is_not_taken_for_the_chains() -> None:
    assert denial_of(await run_chain(started(Scripted(TimeoutError())), GET)).reason == "step_failed"


@pytest.mark.parametrize("stubborn", [False, True])
async def test_the_chain_ends_at_its_deadline_even_for_a_step_that_will_not_stop(stubborn: bool) -> None:
    waiting, after = Waiting(stubborn=stubborn), Scripted(Allow())
    result = await run_chain(started(Scripted(Allow(consumer="alice")), waiting, after, deadline_ms=10), GET)
    assert waiting.told_to_stop
    assert denial_of(result) == Deny(status=503, reason="auth_deadline", broken=True)
    assert result.consumer == "alice"


async def test_a_chain_that_waits_goes_on_where_it_was() -> None:
    class Slow(Scripted):
        async def check(self, request: AuthRequest, /) -> Verdict:
            await asyncio.sleep(0)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await asyncio.Event().wait()
            return await super().check(request)

    last = Slow(Deny(status=403, reason="no"))
    result = await run_chain(started(Slow(Allow(consumer="alice")), Scripted(Allow()), last), GET)
    assert result == Refused(denial=Deny(status=403, reason="no"), step="step-2", consumer="alice")
    result = await run_chain(started(Slow(Allow()), Slow(RuntimeError("canary"))), GET)
    assert denial_of(result) == Deny(status=503, reason="step_failed", broken=True, cause="RuntimeError")


async def test_the_deadline_counts_from_the_beginning_and_not_from_the_first_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()
    clock = loop.time

    def an_hour_passes(request: AuthRequest) -> Verdict:
        monkeypatch.setattr(loop, "time", lambda: clock() + 3600)
        return Allow()

    result = await run_chain(started(Scripted(an_hour_passes), Waiting(), deadline_ms=1_800_000), GET)
    assert denial_of(result).reason == "auth_deadline"


async def test_being_cancelled_from_outside_is_no_verdict() -> None:
    waiting = Waiting()
    task = asyncio.create_task(run_chain(started(waiting), GET))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert waiting.told_to_stop


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-a", "1\r\nx-admin: true"),
        ("x-a", "1\n"),
        ("x-a", "\0"),
        ("x-a", "\udcff"),
        (":path", "/admin"),
        ("host", "evil"),
        ("Content-Length", "5"),
        ("transfer-encoding", "chunked"),
        ("connection", "x-a"),
        ("x-envoy-auth-headers-to-remove", "x-user"),
        ("X-Apostille-Consumer", "admin"),
        ("x a", "1"),
    ],
)
async def test_a_header_that_must_not_go_out_ends_the_request(name: str, value: str) -> None:
    refusal = Deny(status=500, reason="invalid_header", broken=True)
    for verdict in (
        Allow(set_headers=((name, value),)),
        Allow(append_headers=((name, value),)),
        Deny(status=403, reason="no", headers=((name, value),)),
    ):
        assert denial_of(await run_chain(started(Scripted(verdict)), GET)) == refusal


@pytest.mark.parametrize("status", [0, 100, 200, 204, 299, 600])
async def test_a_denial_never_has_a_status_that_could_pass_for_an_approval(status: int) -> None:
    assert denial_of(await run_chain(started(Scripted(Deny(status=status, reason="no"))), GET)).status == 500


async def test_a_reason_that_is_no_word_is_not_passed_on() -> None:
    result = await run_chain(started(Scripted(Deny(status=403, reason="key canary\r\nrefused"))), GET)
    assert denial_of(result).reason == "denied"


async def test_a_bypassed_step_is_reported_and_the_next_one_asked() -> None:
    last = Scripted(Allow(set_headers=(("x-a", "1"),)))
    result = await run_chain(started(Scripted(Allow(bypassed=True, cause="timeout")), last), GET)
    assert result.bypassed == ("step-0",)
    assert headers_of(result) == {"x-a": "1"}
    assert len(last.asked) == 1
