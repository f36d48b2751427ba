"""What destinations say of the credentials that the gateway puts on requests, and of the time."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from pathlib import Path
from urllib.parse import quote

from tests.e2e.gateway import START_SECONDS, Line, Run, gateway
from tests.e2e.load import load
from tests.e2e.upstream import Upstream
from tests.e2e.wire import Message, ask, emit_request

# Looks like a session token, and opens nothing.
TOKEN = "FwoGZXIvYXdzEBYaDH"
_CANONICAL = f"<CanonicalRequest>x-amz-security-token:{TOKEN}</CanonicalRequest>"
QUOTING = f"<Error><Code>SignatureDoesNotMatch</Code>{_CANONICAL}</Error>"
RESOURCES = """\
apiVersion: networking.gloo.solo.io/v2
kind: VirtualGateway
metadata: {name: ingress, namespace: gateway}
spec:
  listeners:
  - {port: {number: 8080}, http: {}}
---
apiVersion: networking.gloo.solo.io/v2
kind: ExternalService
metadata: {name: cloud, namespace: gateway}
spec:
  addresses: [127.0.0.1]
  ports: [{name: http, number: PORT, protocol: HTTP}]
---
apiVersion: networking.gloo.solo.io/v2
kind: RouteTable
metadata: {name: cloud, namespace: gateway}
spec:
  hosts: ['*']
  virtualGateways: [{name: ingress, namespace: gateway}]
  http:
  - name: signed
    labels: {sign: plainly}
    matchers: [{uri: {prefix: /signed}}]
    forwardTo: &cloud
      hostRewrite: cloud.example.com
      destinations: [{kind: EXTERNAL_SERVICE, ref: {name: cloud, namespace: gateway}, port: {number: PORT}}]
  - name: dated
    labels: {sign: by-their-clock}
    matchers: [{uri: {prefix: /dated}}]
    forwardTo: *cloud
  - name: unsigned
    matchers: [{uri: {prefix: /unsigned}}]
    forwardTo: *cloud
---
apiVersion: apostille.dev/v1
kind: OutboundAuthPolicy
metadata: {name: plainly, namespace: gateway}
spec:
  applyToRoutes: [{route: {labels: {sign: plainly}}}]
  config:
    awsSigV4: {service: execute-api, region: eu-west-1, credentials: {secretRef: {name: aws}}}
---
apiVersion: apostille.dev/v1
kind: OutboundAuthPolicy
metadata: {name: by-their-clock, namespace: gateway}
spec:
  applyToRoutes: [{route: {labels: {sign: by-their-clock}}}]
  config:
    awsSigV4: {service: execute-api, region: eu-west-1, correctClock: true, credentials: {secretRef: {name: aws}}}
---
apiVersion: v1
kind: Secret
metadata: {name: aws, namespace: gateway}
stringData:
  aws_access_key_id: AKIAIOSFODNN7EXAMPLE
  aws_secret_access_key: wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY
  aws_session_token: TOKEN
"""


def _is_of(request_id: str, line: Line) -> bool:
    return line.get("request_id") == request_id


@dataclass(frozen=True, kw_only=True)
class Scene:
    run: Run
    upstream: Upstream

    async def ask(
        self, path: str, status: int = 200, body: str = "", headers: tuple[str, ...] = (), method: str = "GET"
    ) -> Message:
        """What the upstream is to answer: `headers` as ``name:value``."""
        said = [f"status={status}", f"body={quote(body)}", *(f"header={quote(header)}" for header in headers)]
        return await ask(self.run.port, emit_request(method, f"{path}?{'&'.join(said)}", []))

    async def known(self, policy: str) -> dict[str, object]:
        """What the status page says of the policy's destination."""
        found = json.loads((await self.run.page("/status"))[1])["upstreams"]
        return next((each for each in found if each["policy"] == f"gateway/{policy}"), {})


@asynccontextmanager
async def scene(folder: Path, *options: str) -> AsyncIterator[Scene]:
    async with Upstream() as upstream:
        manifests = folder / "manifests"
        manifests.mkdir()
        text = RESOURCES.replace("PORT", str(upstream.port)).replace("TOKEN", TOKEN)
        (manifests / "all.yaml").write_text(text)
        async with gateway(manifests, options=options) as run:
            yield Scene(run=run, upstream=upstream)


async def test_a_refused_signature_is_told_as_a_fault_of_the_gateway(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        for status, body, headers, code in (
            (403, QUOTING, ["content-type:application/xml"], "SignatureDoesNotMatch"),
            (400, '{"__type":"com.amazon.coral#UnrecognizedClientException"}', [], "UnrecognizedClientException"),
            (403, '{"message":"no"}', ["x-amzn-errortype:InvalidSignatureException:x"], "InvalidSignatureException"),
        ):
            answer = await it.ask("/signed", status, body, (*headers, "x-apostille-reason:forged", "etag:1"))
            assert answer.status == 502
            assert answer.values("x-apostille-reason") == ("signature_refused",)
            [request_id] = answer.values("x-request-id")
            text = answer.body.decode()
            assert code in text
            assert request_id in text
            assert TOKEN not in text
            assert answer.values("etag") == ()
            line = await it.run.out.wait_for(partial(_is_of, request_id))
            assert (line["path"], line["reason"], line["status"]) == ("/signed", "signature_refused", 502)
        warning = await it.run.err.wait_for_event("upstream.refused", code="SignatureDoesNotMatch")
        assert warning["policy"] == "gateway/plainly"


async def test_without_an_access_log_an_answer_names_no_id_that_could_be_looked_up_there(tmp_path: Path) -> None:
    async with scene(tmp_path, "--no-access-log") as it:
        answer = await it.ask("/signed", 403, QUOTING)
        assert (answer.status, answer.values("x-request-id")) == (502, ())
        assert answer.body.endswith(b"(SignatureDoesNotMatch).\n")
        assert (await it.ask("/signed")).status == 200
    assert it.run.out.raw == b""


async def test_now_and_then_the_clock_of_a_good_answer_is_looked_at(tmp_path: Path) -> None:
    async with scene(tmp_path) as it, load(it.run.port, {"good": emit_request("GET", "/signed", [])}) as traffic:
        # Of 2,000 answers about one.
        async with asyncio.timeout(2 * START_SECONDS):
            while not (known := await it.known("plainly")):
                await traffic.wait_more(100)
        assert (known["clock_skew_seconds"], known["refusals"]) == (0, {})
        assert not traffic.failures


async def test_refusals_are_counted(tmp_path: Path) -> None:
    body = "<Error><Code>ExpiredToken</Code></Error>"
    async with scene(tmp_path) as it:
        async with asyncio.timeout(START_SECONDS):
            while (await it.known("plainly")).get("refusals") != {"ExpiredToken": len(it.upstream.requests)}:
                await it.ask("/signed", 400, body)
                # Of each policy Envoy tells once a second at most, and then of all refusals since.
                await asyncio.sleep(1.1)
        metrics = (await it.run.page("/metrics"))[1]
        count = f"{len(it.upstream.requests)}.0"
        assert f'apostille_upstream_refusals_total{{code="ExpiredToken",policy="gateway/plainly"}} {count}' in metrics


async def test_other_refusals_are_the_destinations_word_to_the_caller(tmp_path: Path) -> None:
    denied = "<Error><Code>AccessDenied</Code><Resource>/SignatureDoesNotMatch</Resource></Error>"
    async with scene(tmp_path) as it:
        for path, status, body, method in (
            ("/signed", 403, denied, "GET"),
            ("/signed", 404, QUOTING, "GET"),
            ("/signed", 403, "", "HEAD"),
            ("/signed", 403, "\x00" * 20, "GET"),
            ("/unsigned", 403, QUOTING, "GET"),
        ):
            answer = await it.ask(path, status, body, method=method)
            assert (answer.status, answer.body) == (status, body.encode())
            assert answer.values("x-apostille-reason") == ()
        compressed = await it.ask("/signed", 403, QUOTING, ("content-encoding:x-odd",))
        assert (compressed.status, compressed.body) == (403, QUOTING.encode())
        assert (await it.known("plainly")).get("refusals", {}) == {}


async def test_a_skewed_clock_is_reported_and_corrected_where_the_policy_says_so(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:

        async def refuse_until(path: str, wanted: bool) -> timedelta:
            """Refuse for the time until requests are dated by the destination's clock, or not; the difference then."""
            async with asyncio.timeout(START_SECONDS):
                while True:
                    theirs = datetime.now(UTC) + timedelta(minutes=20)
                    body = "<Error><Code>RequestTimeTooSkewed</Code></Error>"
                    date = f"date:{format_datetime(theirs, usegmt=True)}"
                    assert (await it.ask(path, 403, body, (date,))).status == 502
                    [stamp] = it.upstream.requests[-1].values("x-amz-date")
                    off = theirs - datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
                    policy = "by-their-clock" if path == "/dated" else "plainly"
                    known = (await it.known(policy)).get("clock_skew_seconds", 0)
                    if (
                        isinstance(known, int)
                        and abs(known - 1200) <= 3
                        and (abs(off) < timedelta(seconds=9)) == wanted
                    ):
                        return off
                    # Envoy tells of each policy once a second at most.
                    await asyncio.sleep(0.1)

        await refuse_until("/dated", wanted=True)
        await refuse_until("/signed", wanted=False)
        metrics = (await it.run.page("/metrics"))[1]
        found = re.findall(r'apostille_upstream_clock_skew_seconds\{policy="gateway/([^"]+)"\} ([0-9.]+)', metrics)
        assert {policy: round(float(seconds) / 10) for policy, seconds in found} == {
            "by-their-clock": 120,
            "plainly": 120,
        }
        assert (await it.run.err.wait_for_event("upstream.clock_skew", policy="gateway/plainly"))["seconds"] > 1190


async def test_the_status_page_says_how_the_credentials_stand(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        page = (await it.run.page("/status"))[1]
        [found] = json.loads(page)["credentials"]
        assert (found["worker"], found["state"], found["reason"]) == ("auth-0", "fresh", None)
        assert found["source"] == "static keys …MPLE"
        assert TOKEN not in page
