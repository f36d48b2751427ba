"""Credentials that come, end, fail and are replaced while 200 requests a second run, through a whole gateway.

In each of these a request reaches the service if and only if it is answered by it, and whatever reaches it is signed
with keys that are good at that moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.gateway import Run, gateway
from tests.e2e.open_loop import OpenLoop, open_loop
from tests.e2e.signing_scene import API_KEY
from tests.e2e.signing_service import Issuer, Keys, SignedService, make_keys
from tests.e2e.stage import tell, until
from tests.e2e.wire import emit_request, read_message

RESOURCES = Path(__file__).with_name("signing_load.yaml")
RATE = 200.0
WORKERS = 2
# Seconds: long enough for renewals to be tried and to fail, short enough to see the end.
SHORT_LIFE = 8.0
LONG_LIFE = 3600.0
EXPIRED = (503, "credentials_expired")
UNAVAILABLE = (503, "credentials_unavailable")
REFUSED = (502, "signature_refused")
# The slack that the promise of recovery has, in seconds.
RECOVERY = 5.0
# A machine with other work to do must not make a promise look broken: seconds around the very end of credentials.
EDGE = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadScene:
    run: Run
    manifests: Path
    service: SignedService
    issuer: Issuer

    def write_keys(self, keys: Keys) -> None:
        """The Secret of the route ``/rotated/``, whole at any time."""
        write_keys(self.manifests, keys)

    async def states(self) -> dict[str, float]:
        """How many of the container's credentials the workers hold in each state."""
        _, text = await self.run.page("/metrics")
        found: dict[str, float] = {}
        for line in text.splitlines():
            if line.startswith("apostille_credentials_held{") and 'source="container"' in line:
                labels, _, value = line.rpartition(" ")
                state = labels.partition('state="')[2].partition('"')[0]
                found[state] = found.get(state, 0.0) + float(value)
        return found


def write_keys(manifests: Path, keys: Keys) -> None:
    token = f', aws_session_token: "{keys.token}"' if keys.token else ""
    text = (
        "apiVersion: v1\nkind: Secret\nmetadata: {name: rotated, namespace: gateway}\n"
        f'stringData: {{aws_access_key_id: "{keys.access_key}", aws_secret_access_key: "{keys.secret_key}"{token}}}\n'
    )
    new = manifests.parent / "rotated.new"
    new.write_text(text)
    new.rename(manifests / "rotated.yaml")


@asynccontextmanager
async def load_scene(
    folder: Path, *, rotated: Keys | None = None, life: float | None = None
) -> AsyncIterator[LoadScene]:
    """`rotated`: the keys of that route at the start. `life`: see `Issuer`."""
    manifests = folder / "manifests"
    manifests.mkdir()
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(SignedService())
        issuer = await stack.enter_async_context(Issuer(service.admit))
        issuer.life = life
        (manifests / "load.yaml").write_text(RESOURCES.read_text().replace("${service.port}", str(service.port)))
        write_keys(manifests, rotated or make_keys())
        run = await stack.enter_async_context(gateway(manifests, workers=WORKERS, env=issuer.environment))
        yield LoadScene(run=run, manifests=manifests, service=service, issuer=issuer)


def check_nothing_slipped_through(scene: LoadScene, loop: OpenLoop) -> None:
    """What arrived, and what was answered by the service, are the same requests; no key was past its end."""
    arrived = sorted(each.path for each in scene.service.arrivals)
    served = sorted(f"/{each.number}" for each in loop.outcomes if each.told in ((200, ""), REFUSED))
    assert arrived == served
    assert {each.refusal for each in scene.service.arrivals} - {"", "InvalidAccessKeyId"} == set()
    began, ended = loop.outcomes[0].sent, max(each.sent for each in loop.outcomes)
    rate = loop.sent / max(ended - began, 1.0)
    tell(f"{loop.sent} requests sent, {rate:.0f} a second; {len(arrived)} reached the service, all of them signed")
    assert rate > 0.9 * RATE


async def test_missing_fresh_failing_expired_and_recovered_credentials_under_load(tmp_path: Path) -> None:
    async with load_scene(tmp_path) as scene, open_loop(scene.run.port, "/container/", [API_KEY]) as loop:
        # Missing from the start.
        await loop.wait_steady(*UNAVAILABLE)
        assert set(loop.last(loop.sent)) == {UNAVAILABLE}
        assert scene.service.arrivals == []

        # Fresh: nothing but the source has changed.
        scene.issuer.life = SHORT_LIFE
        took = await loop.wait_steady(200, count=200)
        assert took <= RECOVERY
        await loop.wait_for(lambda: len(scene.issuer.issued) == WORKERS)
        # The source fails, and what it gave is still valid.
        scene.issuer.life, failures, failing = None, scene.issuer.failures, time.time()
        tell(f"with the first credentials it served after {took:.2f} s")
        ends = sorted(keys.ends or 0.0 for keys in scene.issuer.issued)

        async def stale() -> bool:
            # The workers began apart: when the last one has failed to renew, the first may have reached the end.
            return (await scene.states()).get("stale_but_valid", 0.0) >= 1

        await until(stale)
        assert time.time() < ends[0]
        assert scene.issuer.failures > failures

        # Expired.
        await loop.wait_steady(*EXPIRED)
        expired = time.time()
        assert set(loop.between(failing, ends[0] - EDGE)) == {(200, "")}
        assert set(loop.between(ends[0] - EDGE, ends[-1] + EDGE)) <= {(200, ""), EXPIRED}
        assert set(loop.between(ends[-1] + EDGE, expired)) == {EXPIRED}
        arrived = len(scene.service.arrivals)
        await loop.wait_steady(*EXPIRED)
        assert len(scene.service.arrivals) == arrived
        assert (await scene.states()).get("expired") == WORKERS

        # Recovery, without a restart.
        scene.issuer.life = LONG_LIFE
        took = await loop.wait_steady(200, count=200)
        tell(f"after the source had recovered it served again after {took:.2f} s")
        assert took <= RECOVERY
        assert (await scene.states()).get("fresh") == WORKERS
    assert {each.told for each in loop.outcomes} == {UNAVAILABLE, (200, ""), EXPIRED}
    check_nothing_slipped_through(scene, loop)


async def test_rotating_a_secret_under_load_fails_no_request(tmp_path: Path) -> None:
    keys = make_keys()
    async with load_scene(tmp_path, rotated=keys) as scene:
        scene.service.admit(keys)
        async with open_loop(scene.run.port, "/rotated/", [API_KEY]) as loop:
            await loop.wait_steady(200)
            for rotation in range(6):
                old, keys = keys, make_keys(token=rotation % 2 == 0)
                # As with AWS: the new ones are valid before they are handed out, the old ones until they are deleted.
                scene.service.admit(keys)
                scene.write_keys(keys)
                await loop.wait_for(lambda name=keys.access_key: _all_by(scene, name))  # type: ignore[misc]
                del scene.service.keys[old.access_key]
                await loop.wait_steady(200, count=20)
    assert {each.told for each in loop.outcomes} == {(200, "")}
    assert len({each.access_key for each in scene.service.arrivals}) == 7
    check_nothing_slipped_through(scene, loop)


def _all_by(scene: LoadScene, access_key: str) -> bool:
    """Both workers sign with it, and nothing is under way that was signed with another."""
    last = scene.service.arrivals[-100:]
    return len(last) == 100 and {each.access_key for each in last} == {access_key}


async def test_a_request_whose_body_is_still_coming_outlives_a_rotation(tmp_path: Path) -> None:
    """Its route was chosen before, its signature is made afterwards: the program it names must still be there."""
    old, new = make_keys(), make_keys()
    async with load_scene(tmp_path, rotated=old) as scene:
        scene.service.admit(old)
        scene.service.admit(new)
        reader, writer = await asyncio.open_connection("127.0.0.1", scene.run.port)
        with contextlib.closing(writer):
            writer.write(emit_request("GET", "/rotated/slow", [API_KEY, ("content-length", "10")], b"01234"))
            await writer.drain()
            scene.write_keys(new)
            async with open_loop(scene.run.port, "/rotated/", [API_KEY]) as loop:
                await loop.wait_for(lambda: _all_by(scene, new.access_key))
            writer.write(b"56789")
            async with asyncio.timeout(15):
                answer = await read_message(reader, answers="GET")
    assert answer is not None
    assert (answer.status, answer.values("x-apostille-reason")) == (200, ())
    assert {each.told for each in loop.outcomes} == {(200, "")}


async def test_denied_credentials_are_told_as_our_fault_under_load(tmp_path: Path) -> None:
    # Nobody admits the keys of the Secret.
    async with load_scene(tmp_path) as scene, open_loop(scene.run.port, "/rotated/", [API_KEY]) as loop:
        await loop.wait_steady(*REFUSED, count=400)
    assert {each.told for each in loop.outcomes} == {REFUSED}
    answers = [each.answer for each in loop.outcomes if each.answer is not None]
    ids = [answer.values("x-request-id") for answer in answers]
    assert all(len(each) == 1 for each in ids)
    assert len(set(ids)) == len(answers)
    logged = {line.get("request_id") for line in scene.run.out.all}
    assert {each[0] for each in ids} <= logged
    check_nothing_slipped_through(scene, loop)


async def test_revoked_credentials_are_fetched_anew_under_load(tmp_path: Path) -> None:
    async with (
        load_scene(tmp_path, life=LONG_LIFE) as scene,
        open_loop(scene.run.port, "/container/", [API_KEY]) as loop,
    ):
        await loop.wait_steady(200)
        scene.service.keys.clear()
        revoked = time.time()
        await loop.wait_for(lambda: loop.outcomes[-1].told == REFUSED)
        took = await loop.wait_steady(200)
        tell(f"{time.time() - revoked:.2f} s after they were revoked others were in use; steady after {took:.2f} s")
        assert took <= 2 * RECOVERY
    assert {each.told for each in loop.outcomes} == {(200, ""), REFUSED}
    check_nothing_slipped_through(scene, loop)
