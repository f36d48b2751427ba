"""The twelve tamperings through the gateway: what it has signed cannot be changed on the way, nor signed wrongly."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from tests.e2e.signing_meddler import Meddler
from tests.e2e.signing_scene import ONE, Scene, signing_scene, unsigned
from tests.e2e.stage import tell
from tests.e2e.wire import Message
from tests.judge.tampering import TAMPERINGS, Premise, Signed

pytestmark = pytest.mark.asyncio(loop_scope="module")

BODY = b"the content that was signed"
META = ("x-amz-meta-who", "Alice")
KEY = "plain/tampered"
# Where a policy signs with something that is not so.
WRONG_ROUTES = {"wrong secret": "/wrong/", "wrong region": "/wrong-region/", "wrong service": "/wrong-service/"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def meddled(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Scene, Meddler]]:
    meddler = Meddler()
    async with signing_scene(tmp_path_factory.mktemp("tampering"), meddler=meddler) as scene:
        yield scene, meddler
        assert unsigned(scene.recorder.requests) == []


def _dated(age: timedelta) -> Callable[[Signed], Signed]:
    return lambda signed: signed.with_header("x-amz-date", lambda _: f"{datetime.now(UTC) - age:%Y%m%dT%H%M%SZ}")


@pytest.mark.parametrize("name", TAMPERINGS)
async def test_what_is_tampered_with_behind_the_gateway_is_refused(meddled: tuple[Scene, Meddler], name: str) -> None:
    scene, meddler = meddled
    tampering = TAMPERINGS[name]
    path = f"/files/{KEY}?x-id=PutObject"
    assert (await scene.ask("PUT", path, [META], BODY)).status == 200
    meddler.answers.clear()
    if name in WRONG_ROUTES:
        answer = await scene.ask("GET", WRONG_ROUTES[name] + ONE)
    else:
        # A gateway whose clock is wrong cannot be had without another clock: here the date is changed on the way.
        meddler.change = tampering.change if tampering.premise == Premise() else _dated(tampering.premise.age)
        try:
            answer = await scene.ask("PUT", path, [META], BODY)
        finally:
            meddler.change = lambda signed: signed
    (judgement,) = meddler.answers
    assert (judgement.status, _code(judgement)) == tampering.refusal, judgement
    # Whose fault it is may be told differently here; that it failed may not.
    tell(f"{name}: {judgement.status} {_code(judgement)} of the bucket, {answer.status} of the gateway")
    assert answer.status in (judgement.status, 502)
    assert (await scene.ask("GET", f"/files/{KEY}")).body == BODY


def _code(answer: Message) -> str:
    return answer.body.partition(b"<Code>")[2].partition(b"</Code>")[0].decode()
