"""What the worked example must do, tried one by one, each told as request → answer."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from apostille.base.clock import Clock
from apostille.demo.scenario import API_KEY, CONSUMER_MAIL, OBJECT, Scenario

_PATIENCE = 10.0
_PAUSE = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


class CheckFailed(Exception):
    """The text says what was expected and what came instead."""


@dataclass(slots=True)
class Checks:
    """Runs all checks; `say` gets a line for each."""

    scenario: Scenario
    http: aiohttp.ClientSession
    clock: Clock
    say: Callable[[str], None]
    failures: int = field(default=0)

    async def run(self) -> bool:
        """True when everything was as it should be."""
        for check in (
            self._open_routes,
            self._no_key,
            self._wrong_key,
            self._signed,
            self._signed_here,
            self._signer_refuses,
            self._signer_down,
            self._unknown_path,
            self._edit_under_load,
            self._without_control_plane,
        ):
            try:
                await check()
            except (CheckFailed, aiohttp.ClientError, TimeoutError) as error:
                self.failures += 1
                self.say(f"FAILED {check.__name__.strip('_').replace('_', ' ')}: {error!r}")
        return self.failures == 0

    async def _open_routes(self) -> None:
        for path in ("/get", "/headers"):
            answer = await self._get(path)
            _expect("status", answer.status, 200)
            self.say(f"GET {path}, no key → 200 from the internal service")

    async def _no_key(self) -> None:
        await self._denied({}, "no key")

    async def _wrong_key(self) -> None:
        await self._denied({"api-key": "wrong"}, "a wrong key")

    async def _denied(self, headers: Mapping[str, str], what: str) -> None:
        self._clear()
        answer = await self._get("/cake.json", headers)
        _expect("status", answer.status, 401)
        _expect("www-authenticate", answer.headers.get("www-authenticate"), "API key is missing or invalid")
        self._expect_calls(signer=0, bucket=0)
        self.say(f"GET /cake.json, {what} → 401 «API key is missing or invalid»; signer and bucket not called")

    async def _signed(self) -> None:
        self._clear()
        answer = await self._get("/cake.json", {"api-key": API_KEY})
        _expect("status", answer.status, 200)
        _expect("body", answer.body, OBJECT)
        self._expect_calls(signer=1, bucket=1)
        seen = self.scenario.at_bucket.requests[0]
        _expect("Host at the bucket", seen.values("host"), (self.scenario.host,))
        _expect("server name (SNI) at the bucket", seen.sni, self.scenario.host)
        _expect("x-user-email at the bucket", seen.values("x-user-email"), (CONSUMER_MAIL,))
        _expect("api-key at the bucket", seen.values("api-key"), ())
        self.say(
            f"GET /cake.json, the key → 200, {len(answer.body)} bytes equal to the object; "
            f"the bucket saw Host {self.scenario.host} and x-user-email {CONSUMER_MAIL}"
        )

    async def _signed_here(self) -> None:
        self._clear()
        key = {"api-key": API_KEY}
        unknown = await self._get("/files/cake.json")
        _expect("status", unknown.status, 401)
        answer = await self._get("/files/cake.json", key)
        _expect("status", answer.status, 200)
        _expect("body", answer.body, OBJECT)
        self._expect_calls(signer=0, bucket=1)
        refused = await self._get("/files/cake.json?acl", key)
        _expect("status", refused.status, 403)
        reason = refused.headers.get("x-apostille-reason")
        self._expect_calls(signer=0, bucket=1)
        self.say(
            "GET /files/cake.json, the key → 200, signed in the gateway, no signer asked; "
            f"without the key 401; ?acl → 403 {reason}"
        )

    async def _signer_refuses(self) -> None:
        await self.scenario.signer.start(allowed_paths="/another.json")
        try:
            self._clear()
            answer = await self._get("/cake.json", {"api-key": API_KEY})
        finally:
            await self.scenario.signer.start()
        _expect("status", answer.status, 403)
        reason = answer.headers.get("x-sign-error")
        if not reason:
            raise CheckFailed("the answer has no x-sign-error")
        self._expect_calls(signer=1, bucket=0)
        self.say(f"GET /cake.json, the signer refuses → 403, x-sign-error: {reason}; bucket not called")

    async def _signer_down(self) -> None:
        await self.scenario.signer.stop()
        try:
            self._clear()
            answer = await self._get("/cake.json", {"api-key": API_KEY})
        finally:
            await self.scenario.signer.start()
        _expect("status", answer.status, 500)
        self._expect_calls(signer=None, bucket=0)
        self.say(
            f"GET /cake.json, the signer is down → 500 {answer.headers.get('x-apostille-reason')}; bucket not called"
        )

    async def _unknown_path(self) -> None:
        answer = await self._get("/other")
        _expect("status", answer.status, 404)
        self.say("GET /other → 404")

    async def _edit_under_load(self) -> None:
        manifest = self.scenario.manifests / "70-notice.yaml"
        seconds = 0.0
        async with self._load() as load:
            for notice in ("one", "two"):
                began = self.clock.monotonic()
                manifest.write_text(_NOTICE.format(notice=notice))
                await self._wait_for_notice(notice)
                seconds = self.clock.monotonic() - began
        manifest.unlink()
        load.expect_none_failed()
        self.say(
            f"a file is edited → the answer changes after {seconds:.2f} s; {load.sent} requests meanwhile, none failed"
        )
        if seconds > 1:
            raise CheckFailed(f"the edit took {seconds:.2f} s to show, more than a second")

    async def _without_control_plane(self) -> None:
        pid = self.scenario.gateway.pid("control-plane")
        if pid is None:
            raise CheckFailed("there is no control plane to kill")
        async with self._load() as load:
            os.kill(pid, signal.SIGKILL)
            answer = await self._get("/cake.json", {"api-key": API_KEY})
            _expect("status", answer.status, 200)
            began = self.clock.monotonic()
            while self.scenario.gateway.pid("control-plane") in (pid, None):
                if self.clock.monotonic() - began > _PATIENCE:
                    raise CheckFailed("the control plane did not come back")
                await asyncio.sleep(_PAUSE)
        load.expect_none_failed()
        self.say(f"the control plane is killed → traffic goes on: {load.sent} requests meanwhile, none failed")

    async def _wait_for_notice(self, notice: str) -> None:
        deadline = self.clock.monotonic() + _PATIENCE
        while (await self._get("/notice")).body != notice.encode():
            if self.clock.monotonic() > deadline:
                raise CheckFailed(f"the edit did not show within {_PATIENCE:g} s")
            await asyncio.sleep(_PAUSE)

    @asynccontextmanager
    async def _load(self) -> AsyncIterator[Load]:
        load = Load()
        tasks = [asyncio.create_task(self._send(load)) for _ in range(4)]
        try:
            yield load
        finally:
            load.over = True
            await asyncio.gather(*tasks)

    async def _send(self, load: Load) -> None:
        while not load.over:
            try:
                answer = await self._get("/get")
                load.sent += 1
                if answer.status != 200:
                    load.failed.append(f"status {answer.status}")
            except (aiohttp.ClientError, TimeoutError) as error:
                load.failed.append(repr(error))

    async def _get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        async with self.http.get(
            self.scenario.url + path,
            headers=headers,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=_PATIENCE),
        ) as answer:
            return Answer(status=answer.status, headers=answer.headers, body=await answer.read())

    def _clear(self) -> None:
        self.scenario.at_signer.clear()
        self.scenario.at_bucket.clear()

    def _expect_calls(self, *, signer: int | None, bucket: int) -> None:
        if signer is not None:
            _expect("calls of the signer", len(self.scenario.at_signer.requests), signer)
        _expect("calls of the bucket", len(self.scenario.at_bucket.requests), bucket)


@dataclass(slots=True)
class Load:
    """Requests sent again and again while something else happens."""

    sent: int = 0
    failed: list[str] = field(default_factory=list)
    over: bool = False

    def expect_none_failed(self) -> None:
        if self.failed or not self.sent:
            raise CheckFailed(f"{len(self.failed)} of {self.sent} requests failed meanwhile: {self.failed[:3]}")


def _expect(what: str, seen: object, wanted: object) -> None:
    if seen != wanted:
        raise CheckFailed(f"{what} is {seen!r}, expected {wanted!r}")


_NOTICE = """\
apiVersion: networking.gloo.solo.io/v2
kind: RouteTable
metadata: {{name: notice, namespace: gateway}}
spec:
  hosts: ['*']
  virtualGateways:
  - {{name: ingress, namespace: gateway}}
  http:
  - name: notice
    matchers:
    - uri: {{exact: /notice}}
    directResponse: {{status: 200, body: {notice}}}
"""
