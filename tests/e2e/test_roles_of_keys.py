"""Roles taken in the name of a key: who asks STS through the gateway who they are is told what stands for their key."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from apostille.base.clock import SystemClock
from apostille.base.secrets import SecretText
from apostille.demo.recorder import Recorder, start_recorder
from apostille.keys.record import Pepper, to_second
from apostille.keys.settings import PepperSource
from tests.e2e.gateway import Run, gateway
from tests.e2e.stage import until
from tests.e2e.wire import Message, ask, emit_request
from tests.unit.keys.valkey import make_key, make_record, server_in

PEPPER_TEXT = "5e" * 32
PEPPER = Pepper(bytes.fromhex(PEPPER_TEXT))
ROLE = "arn:aws:iam::123456789012:role/reader"
SECRET_KEY = "e2e-key-of-a-secret"
WHO = "/?Action=GetCallerIdentity&Version=2011-06-15"

_MANIFESTS = """\
apiVersion: networking.gloo.solo.io/v2
kind: VirtualGateway
metadata: {name: ingress, namespace: gateway}
spec:
  listeners: [{port: {number: 8080}, http: {}}]
---
apiVersion: networking.gloo.solo.io/v2
kind: ExternalService
metadata: {name: sts, namespace: gateway}
spec:
  hosts: [sts.eu-west-1.amazonaws.com]
  selector: {service: sts}
  ports: [{name: http, number: 80, protocol: HTTP, targetPort: {name: http}}]
---
apiVersion: networking.gloo.solo.io/v2
kind: ExternalEndpoint
metadata: {name: sts, namespace: gateway, labels: {service: sts}}
spec:
  address: 127.0.0.1
  ports: [{name: http, number: ${sts}}]
---
apiVersion: networking.gloo.solo.io/v2
kind: RouteTable
metadata: {name: sts, namespace: gateway}
spec:
  hosts: ['*']
  virtualGateways: [{name: ingress, namespace: gateway}]
  http:
  - name: sts
    labels: {keys: users}
    matchers: [{uri: {prefix: /}}]
    forwardTo: {destinations: [{kind: EXTERNAL_SERVICE, ref: {name: sts, namespace: gateway}, port: {number: 80}}]}
---
apiVersion: security.policy.gloo.solo.io/v2
kind: ExtAuthPolicy
metadata: {name: users, namespace: gateway}
spec:
  applyToRoutes: [{route: {labels: {keys: users}}}]
  config:
    glooAuth:
      configs:
      - apiKeyAuth: {keyStore: {}, k8sSecretApikeyStorage: {labelSelector: {keys: users}}}
---
apiVersion: v1
kind: Secret
type: extauth.solo.io/apikey
metadata: {name: bob, namespace: gateway, labels: {keys: users}}
stringData: {api-key: ${secret}}
---
apiVersion: v1
kind: Secret
metadata: {name: aws, namespace: gateway}
stringData: {aws_access_key_id: AKIABASE, aws_secret_access_key: the-key-of-the-base}
---
apiVersion: apostille.dev/v1
kind: OutboundAuthPolicy
metadata: {name: sts, namespace: gateway}
spec:
  applyToDestinations: [{kind: EXTERNAL_SERVICE, selector: {name: sts}}]
  config:
    awsSigV4:
      service: sts
      region: eu-west-1
      credentials:
        assumeRole:
          roleArn: ${role}
          base: {secretRef: {name: aws}}
          stsEndpoint: http://127.0.0.1:${sts}
          sessionName: "{key}@{metadata.team}"
          tags: {caller: "{consumer}", team: "{metadata.team}"}
"""


@pytest.fixture
def moto() -> Iterator[int]:
    """Somebody else's idea of STS; its port."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield int(server.get_host_and_port()[1])
    server.stop()


@dataclass(kw_only=True)
class Scene:
    """`keys` by name; `shown` is what stands for each in logs. `recorder` saw what reached STS."""

    run: Run
    recorder: Recorder
    keys: Mapping[str, SecretText] = field(repr=False)
    shown: Mapping[str, str]

    async def ask(self, key: str) -> Message:
        return await ask(self.run.port, emit_request("GET", WHO, [("api-key", key)]))

    async def session(self, key: str) -> str:
        """The name of the session, as STS tells it to whoever asks. A slow STS is waited for."""
        answer = await self.ask(key)

        async def answers() -> bool:
            nonlocal answer
            answer = answer if answer.status == 200 else await self.ask(key)
            return answer.status == 200

        await until(answers, within=20.0)
        found = re.search(r"<Arn>arn:aws:sts::123456789012:assumed-role/reader/(.*)</Arn>", answer.body.decode())
        assert found is not None
        return found[1]

    def assumed(self) -> list[Mapping[str, str]]:
        """The forms in which a role was asked for."""
        forms = [parse_qs(each.body.decode()) for each in self.recorder.requests if each.method == "POST"]
        return [{name: values[0] for name, values in form.items()} for form in forms]

    async def credentials(self) -> list[Mapping[str, Any]]:
        return list(json.loads((await self.run.page("/status"))[1])["credentials"])


@asynccontextmanager
async def scene(
    folder: Path, sockets: Path, moto: int, metadata: Mapping[str, Mapping[str, str]]
) -> AsyncIterator[Scene]:
    """Keys of alice with this metadata, by their names."""
    valkey = server_in(sockets / "store")
    valkey.start()
    made = {name: make_key("live") for name in metadata}
    try:
        async with valkey.opened() as store:
            await store.pepper_check(PepperSource(PEPPER)).claim()
            for name, parts in made.items():
                created = to_second(SystemClock().now())
                digest = PEPPER.digest(parts.key)
                await store.put(make_record(parts, digest=digest, created=created, metadata=metadata[name]))
        async with start_recorder("127.0.0.1", moto) as recorder:
            text = _MANIFESTS
            for name, value in (("sts", str(recorder.port)), ("secret", SECRET_KEY), ("role", ROLE)):
                text = text.replace(f"${{{name}}}", value)
            manifests = folder / "manifests"
            manifests.mkdir()
            (manifests / "resources.yaml").write_text(text)
            env = {"APOSTILLE_KEYS_URL": f"unix://{valkey.embedded.socket}", "APOSTILLE_KEYS_PEPPER": PEPPER_TEXT}
            async with gateway(manifests, env=env) as run:
                keys = {name: parts.key for name, parts in made.items()}
                yield Scene(
                    run=run, recorder=recorder, keys=keys, shown={name: parts.shown for name, parts in made.items()}
                )
    finally:
        valkey.kill()


async def test_sts_knows_each_key_by_its_session_and_tags(tmp_path: Path, socket_dir: Path, moto: int) -> None:
    metadata = {
        "one": {"team": "blue", "mail": "one@example.com"},
        "two": {"team": "red"},
        "bare": {"mail": "bare@example.com"},
    }
    async with scene(tmp_path, socket_dir, moto, metadata) as it:
        for name, team in (("one", "blue"), ("two", "red"), ("one", "blue")):
            assert await it.session(it.keys[name].reveal()) == f"{it.shown[name]}@{team}"
        sent = [
            (form["RoleSessionName"], form["Tags.member.1.Value"], form["Tags.member.2.Value"]) for form in it.assumed()
        ]
        assert sent == [(f"{it.shown['one']}@blue", "alice", "blue"), (f"{it.shown['two']}@red", "alice", "red")]

        reached = len(it.recorder.requests)
        since = len(it.run.err.all)
        for key, lacking in ((it.keys["bare"].reveal(), "{metadata.team}"), (SECRET_KEY, "{key}")):
            answer = await it.ask(key)
            assert (answer.status, answer.values("x-apostille-reason")) == (503, ("credentials_unavailable",))
            said = await it.run.err.wait_for(
                lambda line, lacking=lacking: f"{lacking} stands for " in str(line.get("cause")),  # type: ignore[misc]
                since=since,
            )
            assert said["reason"] == "credentials_unavailable"
        assert len(it.recorder.requests) == reached

        standing = [
            (each["consumer"], each["key"], each["metadata"]) for each in await it.credentials() if each["consumer"]
        ]
        assert sorted(standing) == sorted(
            ("alice", it.shown[name], {"team": team}) for name, team in (("one", "blue"), ("two", "red"))
        )
        assert (await it.run.page("/metrics"))[1].count("alice") == 0
        assert await it.run.stop() == 0
        said_anywhere = it.run.err.raw + it.run.out.raw
        assert not [name for name, key in it.keys.items() if key.reveal().encode() in said_anywhere]
