from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote

import pytest
import re2

from apostille.base.refs import Ref
from apostille.base.secrets import SecretText
from apostille.integrations import INTEGRATIONS
from apostille.model.gateway import Gateway
from apostille.model.lane import EnvoyKey, EnvoyLane, Lanes, Plain, ServiceLane
from apostille.model.route import HeaderMatch, Match, PathKind, PathMatch, PathRewrite, RegexRewrite, Route
from apostille.routing.spellings import Spelling, spelling_of
from apostille.signing.canonical import PLAIN_S3_PATH
from apostille.steps import STEPS
from apostille.translate.contract import EnvoyKeyCheck, EnvoySigning
from apostille.translate.lanes import NativeDoor, compile_lane, compile_rings, compile_signers, signer_id
from apostille.translate.pipeline import Translator
from tests.unit.translate.conftest import GATEWAY, PORTS, SHOP, policy, snapshot_of, table

POLICY = Ref("OutboundAuthPolicy", "apps", "sign")
KEYS = EnvoyKeyCheck(ring="apps/keys/0", header="api-key", keys=(EnvoyKey(key=SecretText("k"), consumer="c"),))
SIGNING = EnvoySigning(
    service="s3",
    region="eu-west-1",
    access_key="AKID",
    secret_key=SecretText("secret"),
    session_token=None,
    methods=("DELETE", "GET"),
    path=PLAIN_S3_PATH,
    path_prefixes=(),
    query=("prefix", "list-type"),
    absent=("content-length",),
)
BELOW = Match(path=PathMatch(kind=PathKind.PREFIX, value="/files/"))
DOOR = NativeDoor(name="files", match=BELOW, rewrite=None, keys=KEYS, slot=3, signing=SIGNING, signer="apps/sign@1")
ROOT = PathRewrite(replacement="/")


def plain_of(door: NativeDoor) -> Plain:
    lane = compile_lane(door)
    assert isinstance(lane, EnvoyLane)
    return lane.plain


def matches(pattern: str | None, text: str) -> bool:
    assert pattern is not None
    return re2.fullmatch(pattern, text) is not None


def test_a_door_that_envoy_can_be_says_where_its_keys_and_its_signer_are() -> None:
    lane = compile_lane(replace(DOOR, rewrite=ROOT))
    assert isinstance(lane, EnvoyLane)
    assert (lane.name, lane.slot, lane.signer, lane.replacement) == ("files", 3, "apps/sign@1", "/")
    assert (lane.plain.methods, lane.plain.absent) == (("DELETE", "GET"), ("content-length",))


def test_keys_alone_ask_for_no_method_and_no_path_of_its_own() -> None:
    plain = plain_of(replace(DOOR, signing=None, signer=None))
    assert (plain.path, plain.methods, plain.absent) == (None, None, ())


@pytest.mark.parametrize("value", ["key", "", "a b", "-", "Bearer", "bearer x", "+-.~"])
def test_one_line_of_a_key_is_plain(value: str) -> None:
    [one_line], [bearer] = plain_of(DOOR).only, plain_of(DOOR).never
    assert one_line.name == bearer.name == "api-key"
    assert matches(one_line.pattern, value)
    assert not matches(bearer.pattern, value)


@pytest.mark.parametrize("value", ["a,b", ",", "key,", "a\tb", "café", "\x80"])
def test_several_lines_and_bytes_beyond_ascii_are_not_plain(value: str) -> None:
    [one_line] = plain_of(DOOR).only
    assert not matches(one_line.pattern, value)


@pytest.mark.parametrize("value", ["Bearer x", "Bearer "])
def test_what_envoy_would_take_for_another_key_is_not_plain(value: str) -> None:
    [bearer] = plain_of(DOOR).never
    assert matches(bearer.pattern, value)


@pytest.mark.parametrize(
    "target",
    [
        "/files/x",
        "/files/",
        "/files/x?",
        "/files/x?prefix=a/b&list-type=2",
        "/files/x?prefix",
        "/x?PREFIX=a&",
        "/x?prefix=a=b?c+%zz",
    ],
)
def test_allowed_parameters_are_plain(target: str) -> None:
    assert matches(plain_of(DOOR).path, target)


@pytest.mark.parametrize(
    "target",
    [
        *("/files//x", "/files/../x", "/files/%7E", "/files/a+b", "/files/%2f", "files/x", "/files/x;y"),
        *("/x?acl", "/x?prefix=a&acl", "/x?pre%66ix=a", "/x?&prefix=a", "/x?prefixes=a", "/x?prefix=<", '/x?prefix="'),
    ],
)
def test_odd_paths_and_other_parameters_are_not_plain(target: str) -> None:
    assert not matches(plain_of(DOOR).path, target)


def test_no_plain_path_is_spelled_oddly() -> None:
    """Plain requests are routed as ordinary ones are; an odd spelling would find routes that should not see it."""
    escapes = [quote(bytes([byte]), safe="~") for byte in range(256)]
    parts = [*escapes, *(escape.lower() for escape in escapes), "/", "//", ".", "..", "...", "\\", "%", ";", "a/./b"]
    plain = [
        f"/x{one}{other}"
        for one in parts
        for other in ("", "y", "/", "/.", ".")
        if matches(PLAIN_S3_PATH, f"/x{one}{other}")
    ]
    assert len(plain) > 500
    assert [path for path in plain if spelling_of(f"{path}?prefix=%") is not Spelling.ORDINARY] == []


def test_without_allowed_parameters_no_query_is_plain_and_with_all_allowed_any() -> None:
    nothing, everything = (plain_of(replace(DOOR, signing=replace(SIGNING, query=q))).path for q in ((), None))
    assert [matches(nothing, text) for text in ("/x", "/x?", "/x?a")] == [True, True, False]
    assert [matches(everything, text) for text in ("/x", "/x?", "/x?a&=%zz", "/x?<")] == [True, True, True, False]


def exactly(path: str) -> Match:
    return Match(path=PathMatch(kind=PathKind.EXACT, value=path))


@pytest.mark.parametrize(
    ("door", "said"),
    [
        (replace(DOOR, keys="the first reason"), "the first reason"),
        (replace(DOOR, signing="the second reason", signer=None), "the second reason"),
        (replace(DOOR, rewrite=RegexRewrite(pattern="^/a", substitution="/b")), "rewritten by a regular expression"),
        (replace(DOOR, match=replace(BELOW, headers=(HeaderMatch(name="a"),))), "headers or query parameters"),
        (replace(DOOR, match=Match(path=PathMatch(kind=PathKind.REGEX, value="/.*"))), "regular expression"),
        (replace(DOOR, match=Match(path=PathMatch(kind=PathKind.EXACT, value="/a", ignore_case=True))), "ignores case"),
        (replace(DOOR, slot=None), "more key rings than Envoy has filters for"),
        (replace(DOOR, match=replace(BELOW, method="PUT")), "no method whose requests have no body"),
        (replace(DOOR, signing=replace(SIGNING, methods=())), "no method whose requests have no body"),
        (replace(DOOR, rewrite=PathRewrite(replacement="/a b/")), "'/a b/' that it sends"),
        (replace(DOOR, match=exactly("/a+b")), "'/a+b' that it sends"),
        (replace(DOOR, match=Match(path=PathMatch(kind=PathKind.PREFIX, value="/files"))), "end with a slash"),
        (replace(DOOR, rewrite=PathRewrite(replacement="/sent")), "end with a slash"),
        (replace(DOOR, signing=replace(SIGNING, path_prefixes=("/files/team/",))), "`allow.pathPrefixes`"),
        (replace(DOOR, rewrite=ROOT, signing=replace(SIGNING, path_prefixes=("/files/",))), "`allow.pathPrefixes`"),
    ],
)  # fmt: skip
def test_why_not_is_said(door: NativeDoor, said: str) -> None:
    lane = compile_lane(door)
    assert isinstance(lane, ServiceLane)
    assert said in lane.reason


def test_an_exact_path_may_have_any_spelling_as_long_as_what_is_sent_has_the_signed_one() -> None:
    assert isinstance(
        compile_lane(replace(DOOR, match=exactly("/a+b"), rewrite=PathRewrite(replacement="/x"))), EnvoyLane
    )
    assert isinstance(compile_lane(replace(DOOR, match=exactly("/x"))), EnvoyLane)


def test_a_signer_has_a_new_name_with_a_new_region_and_not_with_new_credentials() -> None:
    other = replace(SIGNING, access_key="other", secret_key=SecretText("other"))
    assert signer_id(POLICY, SIGNING) == signer_id(POLICY, other)
    assert signer_id(POLICY, SIGNING) != signer_id(POLICY, replace(SIGNING, region="us-east-1"))
    assert signer_id(POLICY, "a reason") is None
    assert str(signer_id(POLICY, SIGNING)).startswith("apps/sign@")


def test_policies_that_envoy_cannot_sign_for_have_no_signer() -> None:
    [signer] = compile_signers([(POLICY, SIGNING), (Ref("OutboundAuthPolicy", "apps", "other"), "a reason")])
    assert (signer.id, signer.access_key, signer.region) == (signer_id(POLICY, SIGNING), "AKID", "eu-west-1")


def test_rings_stand_in_the_order_of_their_slots_and_those_without_one_are_left_out() -> None:
    rings = [replace(KEYS, ring=name) for name in ("a", "b", "c")]
    found = compile_rings([*rings, "a reason"], {"a": 5, "c": 0})
    assert [(ring.id, ring.slot) for ring in found] == [("c", 0), ("a", 5)]


GUARD = policy(
    "users", "{config: {glooAuth: {configs: [{apiKeyAuth: {k8sSecretApikeyStorage: {labelSelector: {a: b}}}}]}}}"
)
SIGN = """
apiVersion: apostille.dev/v1
kind: OutboundAuthPolicy
metadata: {name: sign, namespace: apps}
spec:
  applyToRoutes: [{route: {labels: {sign: s3}}}]
  config: {awsSigV4: {service: s3, region: eu-west-1, credentials: {secretRef: {name: aws}}}}
---
apiVersion: v1
kind: Secret
metadata: {name: aws, namespace: apps}
stringData: {aws_access_key_id: AKID, aws_secret_access_key: secret}
"""
TO = "forwardTo: {hostRewrite: bucket.example, %sdestinations: [{ref: {name: shop}, port: {number: 80}}]}"
SIGNED = "{name: signed, labels: {sign: s3}, matchers: [{uri: {prefix: /files/}}], " + TO % "" + "}"


def gateway_of(*manifests: str, lanes: Lanes = Lanes.AUTO) -> Gateway:
    steps = {kind.name: kind for kind in STEPS}
    integrations = {kind.name: kind for kind in INTEGRATIONS}
    return Translator(steps, integrations, PORTS, lanes=lanes).translate(snapshot_of(*manifests)).gateway


def routes_of(gateway: Gateway) -> dict[str, Route]:
    return {
        route.name: route for listener in gateway.listeners for host in listener.virtual_hosts for route in host.routes
    }


def test_with_the_service_lane_for_everything_envoy_gets_neither_keys_nor_credentials() -> None:
    manifests = (GATEWAY, SHOP, GUARD, SIGN, table("files", SIGNED))
    auto, service = gateway_of(*manifests), gateway_of(*manifests, lanes=Lanes.SERVICE)
    assert (len(auto.envoy_keys), len(auto.envoy_signers)) == (1, 1)
    assert (service.envoy_keys, service.envoy_signers) == ((), ())
    lanes = [route.lane for route in routes_of(service).values()]
    assert [lane for lane in lanes if not isinstance(lane, ServiceLane)] == [None]
    # And nothing else is another.
    assert (service.programs, service.keyrings) == (auto.programs, auto.keyrings)


def test_what_stands_in_for_a_route_has_no_lane() -> None:
    """Its requests are answered, not judged: in the Envoy lane they would be asked for a key first."""
    rewritten = "{name: plain, matchers: [{uri: {prefix: /a}}], " + TO % "pathRewrite: /b/, " + "}"
    found = routes_of(gateway_of(GATEWAY, SHOP, GUARD, table("files", rewritten)))
    assert isinstance(found["apps/files/plain"].lane, EnvoyLane)
    assert (found["apps/files/plain!"].lane, found["apps/files/plain!"].guard) == (None, None)
    lost = "{name: lost, matchers: [{uri: 5}], " + TO % "" + "}"
    found = routes_of(gateway_of(GATEWAY, SHOP, GUARD, table("files", lost, rewritten)))
    assert {route.lane for route in found.values()} == {None}
