"""Canaries: secrets with a value of their own, planted everywhere, and looked for wherever something comes out."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from tests.e2e.canaries import KEPT, Canaries, files, pages, processes
from tests.e2e.gateway import Run, gateway, start_run
from tests.e2e.stage import key_secret, tell
from tests.e2e.stand_ins import StandIns, stand_ins
from tests.e2e.wire import ask, emit_request

MANIFESTS = Path(__file__).with_name("canaries.yaml")
_POLICY = """\
apiVersion: security.policy.gloo.solo.io/v2
kind: ExtAuthPolicy
metadata: {name: broken, namespace: apps}
spec:
  applyToRoutes: [{route: {labels: {broken: "yes"}}}]
  config:
    glooAuth:
      configs:
      - passThroughAuth: {http: %s, config: {date: CANARY}}
"""
# Each of these holds a canary in a place where an error message might quote it.
BROKEN = {
    "syntax": "stringData: {api-key: CANARY, [}\n",
    "tab": "stringData:\n\tapi-key: CANARY\n",
    "twice": "stringData:\n  api-key: CANARY\n  api-key: CANARY\n",
    "base64": "apiVersion: v1\nkind: Secret\nmetadata: {name: b, namespace: apps}\ndata: {api-key: 'CANARY!'}\n",
    "number": "apiVersion: v1\nkind: Secret\nmetadata: {name: c, namespace: apps}\nstringData: {api-key: [CANARY]}\n",
    "key": key_secret("spaced", "'CANARY '"),
    "field": "apiVersion: v1\nkind: Secret\nmetadata: {name: d, namespace: apps}\nstringDatta: {api-key: CANARY}\n",
    "anchor": "apiVersion: v1\nkind: Secret\nmetadata: {name: e, namespace: apps}\nstringData: {api-key: *CANARY}\n",
    "tag": "apiVersion: v1\nkind: Secret\nmetadata: {name: f, namespace: apps}\nstringData: {api-key: !CANARY x}\n",
    "list": _POLICY % "{url: http://127.0.0.1/, request: {headersToAdd: {x-one: [CANARY]}}}",
    "url": _POLICY % "{url: http://user:CANARY@127.0.0.1/}",
    "port": _POLICY % "{url: http://127.0.0.1:CANARY/}",
    "header": _POLICY % '{url: http://127.0.0.1/, request: {headersToAdd: {x-one: "CANARY\\n"}}}',
    "timeout": _POLICY % "{url: http://127.0.0.1/, request: {headersToAdd: {x-one: CANARY}}, connectionTimeout: never}",
}


@pytest.fixture
def canaries() -> Canaries:
    return Canaries()


async def test_no_secret_is_found_outside_its_place(tmp_path: Path, canaries: Canaries) -> None:
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    async with stand_ins(frozenset({"echo", "decider", "closed"}), tmp_path) as cast:
        text = cast.fill(MANIFESTS.read_text())
        for name in ("api-key", "metadata", "sent-to-service", "config", "from-service", "denial", "data"):
            value = canaries[name]
            text = text.replace(
                f"CANARY-{name}", value if name != "data" else base64.b64encode(value.encode()).decode()
            )
        assert "CANARY" not in text
        (manifests / "resources.yaml").write_text(text)
        env = {"DATABASE_PASSWORD": canaries["environment"], "AWS_SECRET_ACCESS_KEY": canaries["aws"]}
        async with gateway(manifests, workers=2, env=env) as run:
            answers = await _make_requests(run, cast, canaries)
            await _break_manifests(run, manifests, canaries)
            places = {**answers, **await pages(run), **processes(run, workers=2), **files(run.state)}
            assert await run.stop() == 0
            places |= {"standard output": run.out.raw, "standard error": run.err.raw}
    tell(f"{len(places)} places looked at")
    # The search itself works: the canaries are where they belong.
    assert {"api-key", "data", "config"} <= set(canaries.found_in(places.pop(KEPT)))
    # Only who signs may know what to sign with.
    for worker in ("auth-0", "auth-1"):
        environment = places[f"environment of {worker}"]
        places[f"environment of {worker}"] = environment.replace(canaries["aws"].encode(), b"")
    found = {place: names for place, content in places.items() if (names := canaries.found_in(content))}
    assert not found


async def test_a_refusal_to_start_quotes_no_secret(tmp_path: Path, canaries: Canaries) -> None:
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    _write_broken(manifests, canaries)
    # What stops a start for certain, whatever the other files do.
    (manifests / "hopeless.yaml").write_text("[\n")
    run = await start_run(manifests, tmp_path / "state")
    try:
        assert await run.wait_end() == 1
    finally:
        await run.kill()
    assert "hopeless.yaml" in run.err.raw.decode()
    assert not canaries.found_in(run.out.raw + run.err.raw)


def _write_broken(manifests: Path, canaries: Canaries) -> None:
    for name, text in BROKEN.items():
        (manifests / f"broken-{name}.yaml").write_text(text.replace("CANARY", canaries["broken"]))


async def _make_requests(run: Run, cast: StandIns, canaries: Canaries) -> dict[str, bytes]:
    """The answers to clients. Every route, with and without a key, and whatever else a client may send by mistake."""
    key = canaries["api-key"]
    mistakes = [
        ("authorization", f"Bearer {canaries['bearer']}"),
        ("cookie", f"session={canaries['cookie']}"),
        ("x-amz-security-token", canaries["token"]),
        ("referer", f"http://x.example/?key={canaries['referer']}"),
    ]
    answers = {}
    for path in ("/ok", "/denied", "/error", "/slow", "/down", "/plain", "/none"):
        for shown in (key, canaries["wrong-key"], canaries["data"]):
            request = emit_request("GET", f"{path}?key={canaries['query']}", [("api-key", shown), *mistakes])
            answer = await ask(run.port, request)
            # What the upstream says is its own business.
            answers[f"answer of {path} to {shown[-4:]}"] = answer.head + (b"" if answer.status == 200 else answer.body)
    upstream = [request for request in cast.upstreams["echo"].requests if "/ok" in request.first_line][-1]
    assert upstream.values("x-from-service") == (canaries["from-service"],)
    assert canaries["sent-to-service"] in str(cast.upstreams["decider"].requests[0].headers)
    # A client that is told by the policy's author may see this one.
    allowed = canaries["denial"].encode()
    return {
        place: content.replace(allowed, b"") if "denied" in place else content for place, content in answers.items()
    }


async def _break_manifests(run: Run, manifests: Path, canaries: Canaries) -> None:
    since = len(run.err.all)
    _write_broken(manifests, canaries)
    expected = {f"broken-{name}.yaml" for name in BROKEN}
    for file in expected:
        await run.err.wait_for(
            lambda line, file=file: line.get("event") == "configuration.finding" and file in line["finding"],  # type: ignore[misc]
            since=since,
        )
