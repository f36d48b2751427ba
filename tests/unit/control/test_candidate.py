"""What Envoy refuses while it runs; what it refuses in the proof is in the golden cases."""

from __future__ import annotations

import pytest

from apostille.base.refs import Origin, Ref
from apostille.control.candidate import refused_by_envoy
from apostille.control.reading import Reader
from apostille.model.destination import Destination
from apostille.model.gateway import Gateway, Listener
from apostille.resources.snapshot import Snapshot
from apostille.sources.contract import Texts
from apostille.status.reasons import Reason
from apostille.xds.feedback import Nack
from apostille.xds.snapshot import CLUSTER, LISTENER

INGRESS = Ref("VirtualGateway", "apps", "ingress")
SHOP = Ref("Service", "apps", "shop")
TEXT = """apiVersion: v1
kind: Service
metadata: {name: shop, namespace: apps}
spec: {ports: [{port: 80}]}
---
apiVersion: networking.gloo.solo.io/v2
kind: VirtualGateway
metadata: {name: ingress, namespace: apps}
spec: {listeners: [{port: {number: 8080}, http: {}}]}
"""
GATEWAY = Gateway(
    listeners=(
        Listener(name="apps/ingress/8080", owner=INGRESS, port=8080, virtual_hosts=()),
        Listener(name="apps/ingress/8081", owner=INGRESS, port=8081, virtual_hosts=()),
    ),
    destinations=(Destination(name="service/apps/shop/80", owner=SHOP, endpoints=()),),
)


@pytest.fixture
def snapshot() -> Snapshot:
    return Reader().read(Texts(files={"a.yaml": TEXT})).snapshot


def nack(type_url: str, *names: str, text: str) -> Nack:
    return Nack(group="envoy", node="one", type_url=type_url, names=names, version="1", text=text)


def test_the_owner_of_what_is_refused_is_told_in_the_words_of_envoy(snapshot: Snapshot) -> None:
    [finding] = refused_by_envoy(snapshot, [nack(CLUSTER, "service/apps/shop/80", text="no such thing")], GATEWAY)
    assert (finding.ref, finding.origin, finding.problem.reason) == (
        SHOP,
        Origin("a.yaml", 1, 1),
        Reason.REJECTED_BY_ENVOY,
    )
    assert finding.problem.message == "Envoy refuses service/apps/shop/80: no such thing"


def test_of_several_names_those_in_the_words_of_envoy_are_meant(snapshot: Snapshot) -> None:
    text = "error adding listener 'apps/ingress/8081': Address already in use"
    [finding] = refused_by_envoy(
        snapshot, [nack(LISTENER, "apps/ingress/8080", "apps/ingress/8081", text=text)], GATEWAY
    )
    assert finding.ref == INGRESS
    assert finding.origin.line == 6
    assert finding.problem.message.startswith("Envoy refuses apps/ingress/8081: ")


def test_of_envoys_way_down_to_what_it_refuses_the_end_is_told(snapshot: Snapshot) -> None:
    text = "Proto constraint validation failed (A.B: embedded message failed | caused by C.D: value is required)"
    [finding] = refused_by_envoy(snapshot, [nack(CLUSTER, "service/apps/shop/80", text=text)], GATEWAY)
    assert finding.problem.message == "Envoy refuses service/apps/shop/80: C.D: value is required"


def test_a_refusal_of_what_is_not_there_any_more_is_nobodys(snapshot: Snapshot) -> None:
    assert refused_by_envoy(snapshot, [nack(CLUSTER, "gone", text="no")], GATEWAY) == ()


def test_an_owner_that_is_gone_from_the_source_has_no_place(snapshot: Snapshot) -> None:
    gone = Gateway(
        listeners=(Listener(name="l", owner=Ref("VirtualGateway", "apps", "gone"), port=1, virtual_hosts=()),)
    )
    [finding] = refused_by_envoy(snapshot, [nack(LISTENER, "l", text="no")], gone)
    assert finding.origin == Origin("", 1, 1)
