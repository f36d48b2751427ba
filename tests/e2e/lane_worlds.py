"""Random gateways for the comparison of lanes: policies that check keys, policies that sign, and routes behind them."""

from __future__ import annotations

import string
from dataclasses import dataclass
from random import Random
from typing import Any

import yaml

from apostille.model.lane import KEY_SLOTS

NAMESPACE = "lanes"
BUCKET_HOST = "example-bucket.s3.eu-west-1.amazonaws.com"

Manifest = dict[str, Any]

# Of all that a header may be called, what HTTP, Envoy or a signature has a use for, and the rest of the alphabet.
_KEY_HEADERS = (
    "api-key", "X-API-Key", "x-key", "apikey", "accept", "user-agent", "range", "origin", "referer", "if-match",
    "date", "accept-encoding", "foo!#$%&'*+.^`|~1", "proxy-authorization", "forwarded", "via", "authorization",
    "cookie", "x-amz-key", "content-type", "x-real-ip", "traceparent", "server", "cache-control",
    "x-http-method-override",
)  # fmt: skip
_PRINTABLE = "".join(chr(code) for code in range(0x21, 0x7F))
_ODD_KEYS = (
    "Bearer demo-key", "bearer demo-key", "Bearer", "Basic demo", "demo,key", ",", "a,b,c", "demo key", "demo  key",
    '"quoted"', "'single'", "{curly}", "%20", "%2C", "demo;key", "=", "-", "k" * 2000, "back\\slash", "<angle>",
    "#hash", "null", "*",
)  # fmt: skip
_UNUSABLE_KEYS = ("", " ahead", "behind ", "café", "line\nfeed", "nul\x00")
_METHODS = ("GET", "HEAD", "DELETE", "PUT", "POST", "OPTIONS", "get", "PROPFIND")
_PREFIXES = ("/", "/plain/", "/plain", "/a b/", "/%7E/", "/deep/a/", "/plain/x.json", "//", "/../")
_QUERY_NAMES = (
    "uploads",
    "partNumber",
    "versionId",
    "tagging",
    "X-Amz-Signature",
    "x-amz-credential",
    "a b",
    "%41",
    "x",
)
_AMZ_HEADERS = (
    "x-amz-meta-color",
    "x-amz-copy-source",
    "x-amz-acl",
    "X-Amz-Mfa",
    "x-amz-meta-*",
    "x-amz-*",
    "content-md5",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPolicy:
    """`header` as the author spells it; `keys` are those that its Secrets hold, usable or not."""

    name: str
    header: str
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SignPolicy:
    """`settings` of awsSigV4; `secret` is what its Secret holds, None: it has none."""

    name: str
    settings: Manifest
    secret: dict[str, str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneRoute:
    """`path` is matched as a prefix, or exactly."""

    name: str
    path: str
    exact: bool
    method: str | None
    keys: KeyPolicy | None
    sign: SignPolicy | None
    action: Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    keys: tuple[KeyPolicy, ...]
    signs: tuple[SignPolicy, ...]
    routes: tuple[LaneRoute, ...]

    def find_sign(self, access_key: str) -> SignPolicy | None:
        """Every policy has an access key of its own."""
        return next((p for p in self.signs if p.secret and access_key == p.secret["aws_access_key_id"].strip()), None)

    def manifests(self, upstream: int) -> str:
        """`upstream`: the port of all destinations but one, where nobody listens."""
        found: list[Manifest] = [*_places(upstream)]
        for policy in self.keys:
            found += _key_manifests(policy)
        for each in self.signs:
            found += _sign_manifests(each)
        found.append(_table(self.routes))
        return yaml.safe_dump_all(found, sort_keys=False, allow_unicode=True, width=10_000)


def make_world(random: Random, *, routes: int = 40) -> World:
    # Only a few ideas of what is plain find room in front of the matcher tree, and each header and policy makes more.
    headers = [random.choice(_KEY_HEADERS) if random.random() < 0.4 else "x-key" for _ in range(2)]
    keys = tuple(
        _make_keys(random, number, random.choice(headers)) for number in range(random.choice((2, 3, 4, KEY_SLOTS + 1)))
    )
    signs = tuple(_make_sign(random, number) for number in range(random.choice((1, 2, 2, 3, 7))))
    return World(keys=keys, signs=signs, routes=tuple(_make_route(random, n, keys, signs) for n in range(routes)))


def _make_keys(random: Random, number: int, header: str) -> KeyPolicy:
    keys = []
    for _ in range(random.choice((0, 1, 1, 1, 2, 2, 3, 3, 10))):
        chance = random.random()
        if chance < 0.35:
            keys.append(random.choice(_ODD_KEYS))
        elif chance < 0.45:
            keys.append(random.choice(_UNUSABLE_KEYS))
        elif chance < 0.5 and keys:
            keys.append(random.choice(keys))
        else:
            keys.append("".join(random.choices(_PRINTABLE, k=random.choice((1, 8, 40)))))
    return KeyPolicy(name=f"keys-{number}", header=header, keys=tuple(keys))


def _make_sign(random: Random, number: int) -> SignPolicy:
    allow: Manifest = {}
    if random.random() < 0.6:
        allow["methods"] = random.sample(_METHODS, random.randint(0, 5)) + ["GET"] * (random.random() < 0.8)
    if random.random() < 0.3:
        allow["pathPrefixes"] = random.sample(_PREFIXES, random.randint(1, 3))
    if random.random() < 0.5:
        allow["query"] = random.sample(_QUERY_NAMES, random.randint(1, 4))
    if random.random() < 0.5:
        allow["headers"] = random.sample(_AMZ_HEADERS, random.randint(1, 3))
    settings: Manifest = {
        "service": random.choice(("s3",) * 12 + ("s3express", "s3-outposts", "execute-api")),
        "region": random.choice(("eu-west-1", "us-east-1", "auto", "A.b_c-9")),
        "credentials": {"secretRef": {"name": f"aws-{number}"}},
        "payload": random.choice(("AUTO", "AUTO", "SIGNED", "UNSIGNED")),
        **({"unsignedOverPlain": True} if random.random() < 0.5 else {}),
        **({"bodyLimit": 1024} if random.random() < 0.3 else {}),
        **({"correctClock": True} if random.random() < 0.05 else {}),
        **({"allow": allow} if allow else {}),
    }
    return SignPolicy(name=f"sign-{number}", settings=settings, secret=_make_secret(random, number))


def _make_secret(random: Random, number: int) -> dict[str, str] | None:
    chance = random.random()
    if chance < 0.03:
        return None
    access = f"AKID{number}" + "".join(random.choices(string.ascii_uppercase + "/+=!.", k=random.choice((0, 12))))
    secret = "".join(random.choices(_PRINTABLE, k=random.choice((1, 40, 200))))
    held = {"aws_access_key_id": access, "aws_secret_access_key": secret}
    if chance < 0.06:
        name = random.choice(sorted(held))
        held[name] = random.choice(("", "with\nline", " ahead", "beyond-é"))
    elif chance < 0.5:
        held["aws_session_token"] = "".join(random.choices(_PRINTABLE, k=random.choice((1, 16, 800))))
    return held


def _make_route(random: Random, number: int, keys: tuple[KeyPolicy, ...], signs: tuple[SignPolicy, ...]) -> LaneRoute:
    chance = random.random()
    guard = random.choice(keys) if chance < 0.7 else None
    sign = random.choice(signs) if chance < 0.4 or chance >= 0.7 else None
    exact = random.random() < 0.2
    path = random.choice((f"/r{number}/", f"/r{number}/", f"/r{number}/in/", f"/r{number}", f"/r{number}/a%20b/"))
    if exact:
        path += random.choice(("", "x.json", "~x", "a+b", ".hidden"))
    return LaneRoute(
        name=f"r{number}",
        path=path,
        exact=exact,
        method=random.choice(_METHODS) if random.random() < 0.04 else None,
        keys=guard,
        sign=sign,
        action=_make_action(random, signed=sign is not None),
    )


def _make_action(random: Random, *, signed: bool) -> Manifest:
    if not signed and random.random() < 0.15:
        return random.choice(
            (
                {"directResponse": {"status": 200, "body": "said"}},
                {"redirect": {"hostRedirect": "other.example", "responseCode": "FOUND"}},
            )
        )
    chance = random.random()
    if chance < 0.6:
        to: Manifest = {"kind": "EXTERNAL_SERVICE", "ref": {"name": "bucket", "namespace": NAMESPACE}}
        forward: Manifest = {}
    else:
        to = {"ref": {"name": "down" if chance > 0.95 else "echo", "namespace": NAMESPACE}}
        forward = {"hostRewrite": random.choice(("internal.example", "internal.example:9000"))} if signed else {}
    forward["destinations"] = [{**to, "port": {"number": 80}}]
    chance = random.random()
    if chance < 0.5:
        forward["pathRewrite"] = random.choice(("/", "/", "/plain/", "/deep/a/b/", "/a b/", "", "/x", "/%7e/"))
    elif chance < 0.55:
        forward["regexRewrite"] = {"pattern": {"regex": "^/r[0-9]+"}, "substitution": "/re"}
    return {"forwardTo": forward}


def _table(routes: tuple[LaneRoute, ...]) -> Manifest:
    http = []
    for route in routes:
        labels = {
            **({"guard": route.keys.name} if route.keys else {}),
            **({"sign": route.sign.name} if route.sign else {}),
        }
        matcher: Manifest = {"uri": {"exact" if route.exact else "prefix": route.path}}
        if route.method is not None:
            matcher["method"] = route.method
        http.append({"name": route.name, "labels": labels, "matchers": [matcher], **route.action})
    gateways = [{"name": "ingress", "namespace": NAMESPACE}]
    return _manifest(
        "networking.gloo.solo.io/v2", "RouteTable", "table", {"hosts": ["*"], "virtualGateways": gateways, "http": http}
    )


def _places(upstream: int) -> tuple[Manifest, ...]:
    gateway = {"listeners": [{"port": {"number": 8080}, "http": {}}]}
    port = {"name": "http", "number": 80, "protocol": "HTTP", "targetPort": {"name": "http"}}
    bucket = {"hosts": [BUCKET_HOST], "selector": {"is": "bucket"}, "ports": [port]}
    address = {"address": "127.0.0.1", "ports": [{"name": "http", "number": upstream}]}
    return (
        _manifest("networking.gloo.solo.io/v2", "VirtualGateway", "ingress", gateway),
        _manifest("networking.gloo.solo.io/v2", "ExternalService", "bucket", bucket),
        _manifest("networking.gloo.solo.io/v2", "ExternalEndpoint", "bucket", address, labels={"is": "bucket"}),
        *_service("echo", upstream),
        # Nobody can listen there but root.
        *_service("down", 1),
    )


def _service(name: str, port: int) -> tuple[Manifest, ...]:
    meta = {"name": f"{name}-1", "namespace": NAMESPACE, "labels": {"kubernetes.io/service-name": name}}
    return (
        _manifest("v1", "Service", name, {"ports": [{"name": "http", "port": 80}]}),
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": meta,
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": port}],
            "endpoints": [{"addresses": ["127.0.0.1"]}],
        },
    )


def _key_manifests(policy: KeyPolicy) -> list[Manifest]:
    step = {"headerName": policy.header, "k8sSecretApikeyStorage": {"labelSelector": {"ring": policy.name}}}
    spec = {
        "applyToRoutes": [{"route": {"labels": {"guard": policy.name}}}],
        "config": {"glooAuth": {"configs": [{"apiKeyAuth": step}]}},
    }
    secrets = [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "extauth.solo.io/apikey",
            "metadata": {
                "name": f"{policy.name}-{number}",
                "namespace": NAMESPACE,
                "labels": {"ring": policy.name},
            },
            "stringData": {"api-key": key},
        }
        for number, key in enumerate(policy.keys)
    ]
    return [_manifest("security.policy.gloo.solo.io/v2", "ExtAuthPolicy", policy.name, spec), *secrets]


def _sign_manifests(policy: SignPolicy) -> list[Manifest]:
    spec = {
        "applyToRoutes": [{"route": {"labels": {"sign": policy.name}}}],
        "config": {"awsSigV4": policy.settings},
    }
    found = [_manifest("apostille.dev/v1", "OutboundAuthPolicy", policy.name, spec)]
    if policy.secret is not None:
        meta = {"name": policy.settings["credentials"]["secretRef"]["name"], "namespace": NAMESPACE}
        found.append({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": policy.secret})
    return found


def _manifest(version: str, kind: str, name: str, spec: Manifest, *, labels: dict[str, str] | None = None) -> Manifest:
    meta: Manifest = {"name": name, "namespace": NAMESPACE, **({"labels": labels} if labels else {})}
    return {"apiVersion": version, "kind": kind, "metadata": meta, "spec": spec}
