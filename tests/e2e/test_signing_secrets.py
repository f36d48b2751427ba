"""Canaries in everything that signs, taken through what can go wrong, and looked for wherever something comes out."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from asyncio.subprocess import PIPE
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from apostille.base.secrets import SecretText
from apostille.signing.sigv4 import Scope, derive_key
from tests.e2e.canaries import KEPT, Canaries, files, pages, processes
from tests.e2e.gateway import Run, gateway
from tests.e2e.signing_service import Keys, SignedService
from tests.e2e.stage import tell, until
from tests.e2e.upstream import Upstream
from tests.e2e.wire import Message, ask, emit_request

MANIFESTS = Path(__file__).with_name("signing_canaries.yaml")
ROLE = "arn:aws:iam::123456789012:role/reader"
# Route and policy of this name → where its credentials come from.
SOURCES = {
    "static": "{secretRef: {name: static}}",
    "denied": "{secretRef: {name: denied}}",
    "blank": "{secretRef: {name: blank}}",
    "environment": "{environment: {}}",
    "container": "{container: {}}",
    "role": f"{{assumeRole: {{roleArn: '{ROLE}', stsEndpoint: '${{sts}}', base: {{secretRef: {{name: static}}}}}}}}",
    "each": f"{{assumeRole: {{roleArn: '{ROLE}', stsEndpoint: '${{sts}}', sessionName: 'for-{{consumer}}', "
    "base: {secretRef: {name: static}}}}",
    "web": f"{{webIdentity: {{roleArn: '{ROLE}', stsEndpoint: '${{sts}}', tokenFile: '${{folder}}/token'}}}}",
    "program": "{profile: {name: program, configFile: '${folder}/config', credentialsFile: /dev/null}}",
}
_ROUTE = """\
  - name: {name}
    labels: {{keys: users, sign: {name}}}
    matchers: [{{uri: {{prefix: /{name}/}}}}]
    forwardTo:
      pathRewrite: /
      destinations: [{{kind: EXTERNAL_SERVICE, ref: {{name: bucket, namespace: gateway}}, port: {{number: 80}}}}]
"""
_POLICY = """\
---
apiVersion: apostille.dev/v1
kind: OutboundAuthPolicy
metadata: {{name: {name}, namespace: gateway}}
spec:
  applyToRoutes: [{{route: {{labels: {{sign: {name}}}}}}}]
  config:
    awsSigV4: {{service: s3, region: eu-west-1, bodyLimit: 1024, payload: SIGNED, credentials: {credentials}}}
"""
# People write keys where none belong; the text of the error has to do without the value.
MISPLACED = {
    "inline": "{accessKeyId: AKIA, secretAccessKey: CANARY}",
    "text": "CANARY",
    "list": "[CANARY]",
    "beside": "{secretRef: {name: static}, secretAccessKey: CANARY}",
    "as-name": "{secretRef: {name: [CANARY]}}",
    "two": "{secretRef: {name: static}, environment: {secretAccessKey: CANARY}}",
    "role": "{assumeRole: {roleArn: 'CANARY', base: {container: {}}}}",
}
_MISTAKES = (
    (
        "GET",
        "x",
        (("x-amz-security-token", "CANARY-of-client"), ("authorization", "AWS4-HMAC-SHA256 CANARY-of-client")),
    ),
    ("GET", "x?X-Amz-Signature=CANARY-of-client", ()),
    ("PUT", "x", (("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),)),
    ("GET", "x", (("x-amz-server-side-encryption-customer-key", "CANARY-of-client"),)),
    ("GET", "%ff%zz", ()),
)


class Sayer(Upstream):
    """Says the same to whoever asks: an STS, or a container's endpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.says: tuple[int, str] = (500, "")

    async def _answer(self, request: Message, writer: asyncio.StreamWriter) -> None:
        status, text = self.says
        writer.write(f"HTTP/1.1 {status} Said\r\ncontent-length: {len(text.encode())}\r\n\r\n{text}".encode())
        await writer.drain()


def _in_json(canaries: Canaries, name: str, end: object) -> str:
    return json.dumps(
        {
            "AccessKeyId": "ASIACONTAINER",
            "SecretAccessKey": canaries[f"{name}-key"],
            "Token": canaries[f"{name}-token"],
            "Expiration": end,
        }
    )


def _in_xml(canaries: Canaries, name: str, end: object) -> str:
    credentials = (
        f"<Credentials><AccessKeyId>ASIAROLE</AccessKeyId><SecretAccessKey>{canaries[f'{name}-key']}</SecretAccessKey>"
        f"<SessionToken>{canaries[f'{name}-token']}</SessionToken><Expiration>{end}</Expiration></Credentials>"
    )
    results = "".join(
        f"<{action}Result>{credentials}</{action}Result>" for action in ("AssumeRole", "AssumeRoleWithWebIdentity")
    )
    return f"<Response>{results}</Response>"


def _refusal(canaries: Canaries) -> str:
    said = f"{canaries['refusal']} {canaries['web-token']} {canaries['static-key']} {canaries['static-token']}"
    return f"<ErrorResponse><Error><Code>AccessDenied</Code><Message>{said}</Message></Error></ErrorResponse>"


@pytest.mark.timeout(180)
async def test_no_secret_of_signing_is_found_outside_its_place(tmp_path: Path) -> None:
    canaries = Canaries()
    async with SignedService() as service, Sayer() as container, Sayer() as sts:
        manifests = _write_manifests(tmp_path, canaries, service, sts)
        env = {
            "HOME": str(tmp_path),
            "AWS_ACCESS_KEY_ID": "AKIAENVIRONMENT",
            "AWS_SECRET_ACCESS_KEY": canaries["environment-key"],
            "AWS_SESSION_TOKEN": canaries["environment-token"],
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{container.port}/x",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": canaries["container-authorization"],
        }
        service.admit(_keys(canaries, "AKIASTATIC", "static"))
        service.admit(_keys(canaries, "ASIACONTAINER", "container"))
        service.admit(_keys(canaries, "ASIAROLE", "role"))
        container.says, sts.says = (200, _in_json(canaries, "container", [canaries["odd"]])), (200, canaries["odd"])
        async with gateway(manifests, env=env) as run:
            places = await _go_through(run, canaries, container, sts)
            places |= await _misplace(run, manifests, canaries)
            places |= {**await pages(run), **processes(run, workers=1), **files(run.state)}
            assert await run.stop() == 0
            places |= {"standard output": run.out.raw, "standard error": run.err.raw}
        places |= await _commands(manifests, env)
    _add_derived(canaries, service)
    tell(f"{len(places)} places looked at for {len(canaries)} canaries")
    # The search itself works: the canaries are where they belong, and there alone.
    assert {"api-key", "static-key", "static-token", "denied-key"} <= set(canaries.found_in(places.pop(KEPT)))
    allowed = {"environment of auth-0": {"environment-key", "environment-token", "container-authorization"}}
    assert set(canaries.found_in(places["environment of auth-0"])) == allowed["environment of auth-0"]
    found = {
        place: names
        for place, content in places.items()
        if (names := set(canaries.found_in(content)) - allowed.get(place, set()))
    }
    assert not found


def _write_manifests(folder: Path, canaries: Canaries, service: SignedService, sts: Sayer) -> Path:
    manifests = folder / "manifests"
    manifests.mkdir()
    (folder / "token").write_text(canaries["web-token"])
    program = folder / "program"
    program.write_text(f"#!/bin/sh\necho {canaries['program']}\necho {canaries['program']} >&2\nexit 1\n")
    program.chmod(0o700)
    (folder / "config").write_text(f"[profile program]\ncredential_process = {program}\n")
    text = MANIFESTS.read_text()
    text = text.replace("${routes}", "".join(_ROUTE.format(name=name) for name in SOURCES))
    text = text.replace(
        "${policies}", "".join(_POLICY.format(name=name, credentials=source) for name, source in SOURCES.items())
    )
    for name, value in (
        ("service.port", str(service.port)),
        ("sts", f"http://127.0.0.1:{sts.port}"),
        ("folder", str(folder)),
    ):
        text = text.replace(f"${{{name}}}", value)
    for name in ("api-key", "static-key", "static-token", "denied-key", "blank-key"):
        text = text.replace(f"CANARY-{name}", canaries[name])
    assert "CANARY" not in text
    assert "${" not in text
    (manifests / "resources.yaml").write_text(text)
    return manifests


def _keys(canaries: Canaries, access_key: str, name: str) -> Keys:
    return Keys(access_key=access_key, secret_key=canaries[f"{name}-key"], token=canaries[f"{name}-token"])


def _add_derived(canaries: Canaries, service: SignedService) -> None:
    """What is derived of the keys signs as well as they do, for a day."""
    for keys in service.keys.values():
        for day in (datetime.now(UTC), datetime.now(UTC) - timedelta(days=1)):
            scope = Scope(date=f"{day:%Y%m%d}", region="eu-west-1", service="s3")
            derived = derive_key(SecretText(keys.secret_key), scope)
            canaries.add(f"derived of {keys.access_key} {scope}", derived.hex())
            canaries.add(f"derived of {keys.access_key} {scope} in base64", base64.b64encode(derived).decode())


async def _go_through(run: Run, canaries: Canaries, container: Sayer, sts: Sayer) -> dict[str, bytes]:
    """Odd answers, refusals, good ones, and at last none: what clients were told meanwhile."""
    places: dict[str, bytes] = {}

    async def look(stage: str) -> None:
        for name in SOURCES:
            answers = await _ask_all(run, canaries, name)
            # What the service serves is its own business.
            places.update({f"{stage}: answer {at} of {name}": each for at, each in enumerate(answers)})

    async def told(name: str, *wanted: str) -> None:
        async def tells() -> bool:
            answer = await _ask(run, canaries, name)
            return (str(answer.status), *answer.values("x-apostille-reason")) == wanted

        await until(tells)

    fetched = ("container", "role", "each", "web")
    for name in fetched:
        await told(name, "503", "credentials_unavailable")
    await look("odd")
    await _asked_again(run, canaries, container, sts)
    container.says, sts.says = (403, _refusal(canaries)), (403, _refusal(canaries))
    await _asked_again(run, canaries, container, sts)
    await look("refused")
    end = f"{datetime.now(UTC) + timedelta(seconds=8):%Y-%m-%dT%H:%M:%SZ}"
    container.says = (200, _in_json(canaries, "container", end))
    sts.says = (200, _in_xml(canaries, "role", end))
    for name in (*fetched, "static"):
        await told(name, "200")
    await told("denied", "502", "signature_refused")
    await look("good")
    container.says = sts.says = (500, canaries["broken"])
    for name in fetched:
        await told(name, "503", "credentials_expired")
    await look("expired")
    return places


async def _asked_again(run: Run, canaries: Canaries, container: Sayer, sts: Sayer) -> None:
    """Until what is said now has been heard by each source."""
    before = len(container.requests), len(sts.requests)

    async def heard() -> bool:
        # Of a consumer's own credentials nothing is renewed unless it calls.
        await _ask(run, canaries, "each")
        forms = [parse_qs(each.body.decode()) for each in sts.requests[before[1] :]]
        asked = {(form["Action"][0], form["RoleSessionName"][0]) for form in forms}
        return len(container.requests) > before[0] and len(asked) == 3

    await until(heard, within=20.0)


async def _ask(run: Run, canaries: Canaries, name: str) -> Message:
    return await ask(run.port, emit_request("GET", f"/{name}/x", [("api-key", canaries["api-key"])]))


async def _ask_all(run: Run, canaries: Canaries, name: str) -> list[bytes]:
    key = ("api-key", canaries["api-key"])
    requests = [emit_request("GET", f"/{name}/x", [key]), emit_request("GET", f"/{name}/x", [("api-key", "another")])]
    for method, path, headers in _MISTAKES:
        own = [(header, value.replace("CANARY-of-client", canaries["of-client"])) for header, value in headers]
        target = f"/{name}/{path}".replace("CANARY-of-client", canaries["of-client"])
        requests.append(emit_request(method, target, [key, *own], b"x" if method == "PUT" else b""))
    requests.append(emit_request("PUT", f"/{name}/x", [key], b"x" * 2048))
    answers = [await ask(run.port, request) for request in requests]
    return [each.head + (b"" if each.status == 200 else each.body) for each in answers]


async def _misplace(run: Run, manifests: Path, canaries: Canaries) -> dict[str, bytes]:
    since = len(run.err.all)
    for name, written in MISPLACED.items():
        text = _POLICY.format(name=f"misplaced-{name}", credentials=written.replace("CANARY", canaries["misplaced"]))
        (manifests / f"misplaced-{name}.yaml").write_text(text)
    for name in MISPLACED:
        await run.err.wait_for(
            lambda line, name=name: (  # type: ignore[misc]
                line.get("event") == "configuration.finding" and f"misplaced-{name}" in str(line["finding"])
            ),
            since=since,
        )
    return {f"{page} with keys out of place": content for page, content in (await pages(run)).items()}


async def _commands(manifests: Path, env: dict[str, str]) -> dict[str, bytes]:
    """What people see who look at the same manifests by hand."""
    url = "http://example-bucket.s3.eu-west-1.amazonaws.com/x"
    commands = {
        "check": ("check", str(manifests)),
        "check as JSON": ("check", str(manifests), "-o", "json"),
        **{
            f"sign {name}": ("--debug", "sign", "GET", url, f"--policy=gateway/{name}", f"--dir={manifests}")
            for name in ("static", "blank", "environment", "container", "role", "program")
        },
        "sign nonsense": ("--debug", "sign", "G T", url, "--policy=gateway/static", f"--dir={manifests}"),
    }
    width = asyncio.Semaphore(3)

    async def said(arguments: tuple[str, ...]) -> bytes:
        async with width:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "apostille", *arguments),
                env={"PATH": os.defpath, **env},
                stdout=PIPE,
                stderr=PIPE,
            )
            out, err = await asyncio.wait_for(process.communicate(), 60)
        assert out + err
        return out + b"\n" + err

    found = await asyncio.gather(*(said(arguments) for arguments in commands.values()))
    places = dict(zip(commands, found, strict=True))
    # Something was signed, with a token that does not show.
    assert b"[redacted]" in places["sign static"]
    assert b"AWS4-HMAC-SHA256 Credential=AKIASTATIC/" in places["sign static"]
    return places
