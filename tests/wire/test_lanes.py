"""The Envoy lane when its keys and credentials are missing, late or spoilt: a real Envoy and our xDS server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig

from apostille.base.secrets import SecretText
from apostille.control.reading import Reader
from apostille.integrations import INTEGRATIONS
from apostille.model.gateway import Gateway
from apostille.model.lane import EnvoyKey, EnvoyKeys, EnvoySigner
from apostille.proxy.bootstrap import compile_auth_cluster, compile_runtime, compile_xds_cluster
from apostille.sources.contract import Texts
from apostille.steps import STEPS
from apostille.translate.pipeline import translate
from apostille.xds.cache import ENVOY_GROUP
from apostille.xds.configuration import emit_configuration
from apostille.xds.feedback import Outcome
from apostille.xds.site import Site
from apostille.xds.snapshot import build_snapshot
from tests.e2e.upstream import Upstream
from tests.e2e.wire import Message, ask, emit_request
from tests.wire.conftest import ControlPlane
from tests.wire.envoy import DEADLINE, Envoy, run_envoy, until

KEY, SECRET, TOKEN = "lane-key-0001", "lane-secret-0001", "lane-token-0001"
LISTENER = "apps/ingress/8080"
MANIFESTS = f"""
apiVersion: networking.gloo.solo.io/v2
kind: VirtualGateway
metadata: {{name: ingress, namespace: apps}}
spec: {{listeners: [{{port: {{number: 8080}}, http: {{}}}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: shop, namespace: apps}}
spec: {{ports: [{{name: http, port: 80}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: shop-1, namespace: apps, labels: {{kubernetes.io/service-name: shop}}}}
addressType: IPv4
ports: [{{name: http, port: UPSTREAM}}]
endpoints: [{{addresses: [127.0.0.1]}}]
---
apiVersion: networking.gloo.solo.io/v2
kind: RouteTable
metadata: {{name: files, namespace: apps}}
spec:
  hosts: ['*']
  virtualGateways: [{{name: ingress}}]
  http:
  - name: signed
    labels: {{sign: s3}}
    matchers: [{{uri: {{prefix: /signed/}}}}]
    forwardTo: {{hostRewrite: bucket.example, destinations: [{{ref: {{name: shop}}, port: {{number: 80}}}}]}}
  - name: guarded
    labels: {{guard: users}}
    matchers: [{{uri: {{prefix: /guarded/}}}}]
    forwardTo: {{destinations: [{{ref: {{name: shop}}, port: {{number: 80}}}}]}}
---
apiVersion: security.policy.gloo.solo.io/v2
kind: ExtAuthPolicy
metadata: {{name: users, namespace: apps}}
spec:
  applyToRoutes: [{{route: {{labels: {{guard: users}}}}}}]
  config: {{glooAuth: {{configs: [{{apiKeyAuth: {{k8sSecretApikeyStorage: {{labelSelector: {{ring: users}}}}}}}}]}}}}
---
apiVersion: v1
kind: Secret
type: extauth.solo.io/apikey
metadata: {{name: anna, namespace: apps, labels: {{ring: users}}}}
stringData: {{api-key: {KEY}}}
---
apiVersion: apostille.dev/v1
kind: OutboundAuthPolicy
metadata: {{name: s3, namespace: apps}}
spec:
  applyToRoutes: [{{route: {{labels: {{sign: s3}}}}}}]
  config: {{awsSigV4: {{service: s3, region: eu-west-1, credentials: {{secretRef: {{name: aws}}}}}}}}
---
apiVersion: v1
kind: Secret
metadata: {{name: aws, namespace: apps}}
stringData: {{aws_access_key_id: AKIDLANES, aws_secret_access_key: {SECRET}, aws_session_token: {TOKEN}}}
"""

SIGNED = emit_request("GET", "/signed/x", [])
GUARDED = emit_request("GET", "/guarded/x", [("api-key", KEY)])


@dataclass(kw_only=True)
class Lane:
    """A gateway without an auth service: whatever is answered with 200 was let in by Envoy alone."""

    plane: ControlPlane
    envoy: Envoy
    upstream: Upstream
    gateway: Gateway

    @property
    def signer(self) -> EnvoySigner:
        (only,) = self.gateway.envoy_signers
        return only

    @property
    def ring(self) -> EnvoyKeys:
        (only,) = self.gateway.envoy_keys
        return only

    def offer(
        self,
        gateway: Gateway | None = None,
        *,
        but: Callable[[TypedExtensionConfig], bool] = lambda _extension: False,
    ) -> str:
        """Without waiting for Envoy; the version. `but`: of the resources with keys and credentials those that are not
        there."""
        site = Site(address="127.0.0.1", ca_file=None, signs={kind.name: kind.refusals for kind in INTEGRATIONS})
        emitted = emit_configuration(gateway or self.gateway, site)
        extensions = [each for each in emitted.extensions if not but(each)]
        snapshot = build_snapshot(
            [
                *((each.name, each) for each in emitted.clusters),
                *((each.name, each) for each in emitted.listeners),
                *((each.name, each) for each in emitted.route_configurations),
                *((each.name, each) for each in extensions),
            ]
        )
        self.plane.cache.set_snapshot(ENVOY_GROUP, snapshot)
        return snapshot.version

    async def publish(self, gateway: Gateway | None = None) -> Outcome:
        return await self.plane.feedback.wait_acked(ENVOY_GROUP, self.offer(gateway), DEADLINE)

    async def ask(self, request: bytes) -> Message:
        return await ask(await self.envoy.port(LISTENER), request)

    async def until_answered(self, request: bytes, good: bool) -> Message:
        """Until a request is answered with 200, or no more with 200."""
        found: list[Message] = []

        async def look() -> bool:
            found.append(await self.ask(request))
            return (found[-1].status == 200) is good

        await until(look)
        return found[-1]

    def sent_unsigned(self) -> list[bytes]:
        """What has reached the upstream without a signature of ours."""
        ours = "AWS4-HMAC-SHA256 Credential=AKIDLANES/"
        signed = [[v for v in each.values("authorization") if v.startswith(ours)] for each in self.upstream.requests]
        return [each.head for each, found in zip(self.upstream.requests, signed, strict=True) if len(found) != 1]


@asynccontextmanager
async def start_lane(plane: ControlPlane, folder: Path) -> AsyncIterator[Lane]:
    nowhere = folder / "nowhere.sock"
    more = {
        "layered_runtime": compile_runtime(),
        "clusters": (compile_auth_cluster([nowhere]), compile_xds_cluster(nowhere)),
    }
    async with Upstream() as upstream, run_envoy(folder, plane.socket, more) as envoy:
        reading = Reader().read(Texts(files={"all.yaml": MANIFESTS.replace("UPSTREAM", str(upstream.port))}))
        translation = translate(
            reading.snapshot,
            {kind.name: kind for kind in STEPS},
            {kind.name: kind for kind in INTEGRATIONS},
            {"8080": 0},
        )
        yield Lane(plane=plane, envoy=envoy, upstream=upstream, gateway=translation.gateway)


def _without_signing(gateway: Gateway) -> Gateway:
    (listener,) = gateway.listeners
    (host,) = listener.virtual_hosts
    plain = tuple(route for route in host.routes if not route.name.startswith("apps/files/signed"))
    listeners = (replace(listener, virtual_hosts=(replace(host, routes=plain),)),)
    return replace(gateway, envoy_signers=(), listeners=listeners)


def is_signer(extension: TypedExtensionConfig) -> bool:
    return extension.name.startswith("apostille.sign/")


def is_ring(extension: TypedExtensionConfig) -> bool:
    return extension.name == "apostille.keys-0"


async def test_with_keys_and_credentials_nobody_else_is_asked(control_plane: ControlPlane, tmp_path: Path) -> None:
    async with start_lane(control_plane, tmp_path) as lane:
        assert (await lane.publish()).acked
        await lane.until_answered(SIGNED, good=True)
        assert lane.sent_unsigned() == []
        assert (await lane.ask(GUARDED)).status == 200
        assert lane.upstream.requests[-1].values("api-key") == ()
        wrong = await lane.ask(emit_request("GET", "/guarded/x", [("api-key", "wrong")]))
        assert (wrong.status, wrong.values("x-apostille-reason")) == (401, ("api_key_missing_or_invalid",))


async def test_a_signed_route_whose_credentials_are_not_there_sends_nothing(
    hasty_plane: ControlPlane, tmp_path: Path
) -> None:
    async with start_lane(hasty_plane, tmp_path) as lane:
        await lane.publish(_without_signing(lane.gateway))
        assert (await lane.until_answered(GUARDED, good=True)).status == 200
        lane.offer(but=is_signer)

        async def is_routed() -> bool:
            return (await lane.ask(SIGNED)).status != 404

        await until(is_routed)
        seen = len(lane.upstream.requests)
        for _ in range(5):
            assert (await lane.ask(SIGNED)).status >= 500
        assert len(lane.upstream.requests) == seen


async def test_when_credentials_are_taken_back_nothing_is_sent_any_more(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    async with start_lane(control_plane, tmp_path) as lane:
        await lane.publish()
        await lane.until_answered(SIGNED, good=True)
        lane.offer(but=is_signer)
        assert (await lane.until_answered(SIGNED, good=False)).status >= 500
        assert lane.sent_unsigned() == []
        assert (await lane.ask(GUARDED)).status == 200


async def test_empty_credentials_are_refused_without_repeating_them(hasty_plane: ControlPlane, tmp_path: Path) -> None:
    """By the translation, that is; here somebody has forgotten to. Envoy's words hold what stands beside."""
    async with start_lane(hasty_plane, tmp_path) as lane:
        empty = replace(lane.signer, secret_key=SecretText(""))
        outcome = await lane.publish(replace(lane.gateway, envoy_signers=(empty,)))
        assert [nack.names for nack in outcome.refusals] == [(f"apostille.sign/{empty.id}",)]
        assert all(word not in str(outcome.refusals) for word in (SECRET, TOKEN, "AKIDLANES"))
        await lane.until_answered(GUARDED, good=True)
        seen = len(lane.upstream.requests)
        assert (await lane.ask(SIGNED)).status >= 500
        assert len(lane.upstream.requests) == seen


async def test_new_credentials_are_used_at_once_and_spoilt_ones_change_nothing(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    async with start_lane(control_plane, tmp_path) as lane:
        await lane.publish()
        await lane.until_answered(SIGNED, good=True)

        async def signs_as(name: str) -> bool:
            assert (await lane.ask(SIGNED)).status == 200
            return f"Credential={name}/" in lane.upstream.requests[-1].values("authorization")[0]

        other = replace(lane.signer, access_key="AKIDOTHER")
        assert (await lane.publish(replace(lane.gateway, envoy_signers=(other,)))).acked
        await until(lambda: signs_as("AKIDOTHER"))
        spoilt = replace(other, access_key="AKIDSPOILT", secret_key=SecretText(""))
        assert (await lane.publish(replace(lane.gateway, envoy_signers=(spoilt,)))).refusals
        assert await signs_as("AKIDOTHER")


async def test_a_guarded_route_whose_ring_is_taken_back_is_shut(control_plane: ControlPlane, tmp_path: Path) -> None:
    async with start_lane(control_plane, tmp_path) as lane:
        await lane.publish()
        await lane.until_answered(GUARDED, good=True)
        lane.offer(but=is_ring)
        assert (await lane.until_answered(GUARDED, good=False)).status >= 400
        seen = len(lane.upstream.requests)
        assert (await lane.ask(emit_request("GET", "/guarded/x", [("api-key", "")]))).status >= 400
        assert len(lane.upstream.requests) == seen


async def test_a_ring_that_envoy_refuses_leaves_the_old_one_and_no_key_in_the_words(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    async with start_lane(control_plane, tmp_path) as lane:
        await lane.publish()
        await lane.until_answered(GUARDED, good=True)
        twice = (*lane.ring.keys, *lane.ring.keys, EnvoyKey(key=SecretText("lane-key-0002"), consumer="bob"))
        outcome = await lane.publish(replace(lane.gateway, envoy_keys=(replace(lane.ring, keys=twice),)))
        assert [nack.names for nack in outcome.refusals] == [("apostille.keys-0",)]
        assert "lane-key" not in str((outcome.refusals, lane.plane.nacks))
        assert (await lane.ask(GUARDED)).status == 200
        late = emit_request("GET", "/guarded/x", [("api-key", "lane-key-0002")])
        assert (await lane.ask(late)).status == 401


async def test_no_dump_of_envoys_shows_a_key_or_a_credential(control_plane: ControlPlane, tmp_path: Path) -> None:
    async with start_lane(control_plane, tmp_path) as lane:
        await lane.publish()
        await lane.until_answered(SIGNED, good=True)
        for page in (
            "config_dump?include_eds",
            "config_dump",
            "clusters",
            "listeners",
            "stats",
            "init_dump",
            "server_info",
        ):
            async with lane.envoy.http.get(f"{lane.envoy.admin}/{page}") as answer:
                text = await answer.text()
            assert answer.status == 200
            assert [word for word in (KEY, SECRET, TOKEN) if word in text] == []
            # The resources are in there.
            assert page.startswith("config_dump") <= ("apostille.keys-0" in text and "apostille.sign/apps/s3" in text)
        log = (tmp_path / "envoy.log").read_text()
        assert [word for word in (KEY, SECRET, TOKEN) if word in log] == []
