from __future__ import annotations

from collections.abc import Mapping, Sequence

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse
from google.rpc.status_pb2 import Status

from apostille.xds.cache import Published, SnapshotCache
from apostille.xds.feedback import NodeReport
from apostille.xds.session import Session
from apostille.xds.snapshot import CLUSTER, ENDPOINT, EXTENSION, KEY_RING, LISTENER, PROGRAM, ROUTE, build_snapshot

PATIENCE = 5.0
Resources = Mapping[str, Mapping[str, bytes]]


class Talk:
    """A session and what was said in it. `advance` gives (type, added, removed) of each response."""

    def __init__(self) -> None:
        self.session = Session(stream=1, group="envoy", node="n", patience=PATIENCE)
        self.cache = SnapshotCache()
        self.now = 100.0
        self.open: dict[str, DeltaDiscoveryResponse] = {}

    @property
    def published(self) -> Published:
        current = self.cache.current("envoy")
        assert current is not None
        return current

    def publish(self, resources: Resources) -> None:
        raw = [(type_url, name, body) for type_url, named in resources.items() for name, body in named.items()]
        self.cache.set_snapshot("envoy", build_snapshot(raw=raw))

    def ask(self, type_url: str, *subscribe: str, unsubscribe: Sequence[str] = ()) -> None:
        self.session.receive(
            DeltaDiscoveryRequest(
                type_url=type_url, resource_names_subscribe=subscribe, resource_names_unsubscribe=unsubscribe
            )
        )

    def ack(self, type_url: str) -> None:
        response = self.open.pop(type_url)
        assert self.session.receive(DeltaDiscoveryRequest(type_url=type_url, response_nonce=response.nonce)) is None

    def nack(self, type_url: str) -> bool:
        """Whether it was taken for a verdict."""
        response = self.open.pop(type_url)
        request = DeltaDiscoveryRequest(
            type_url=type_url, response_nonce=response.nonce, error_detail=Status(code=13, message="no")
        )
        return self.session.receive(request) is not None

    def advance(self) -> list[tuple[str, list[str], list[str]]]:
        responses = self.session.advance(self.published, self.now)
        self.open.update({response.type_url: response for response in responses})
        return [
            (response.type_url, [each.name for each in response.resources], list(response.removed_resources))
            for response in responses
        ]

    def settle(self) -> list[tuple[str, list[str], list[str]]]:
        """Acknowledge everything until nothing more comes."""
        said: list[tuple[str, list[str], list[str]]] = []
        while True:
            said += self.advance()
            if not self.open:
                return said
            for type_url in tuple(self.open):
                self.ack(type_url)

    def report(self) -> NodeReport:
        return self.session.report(self.published)

    def agreed(self) -> set[str]:
        generation = self.published.generation
        return {url for url, acked in self.report().acked.items() if acked and acked.generation == generation}


def build_envoy(resources: Resources) -> Talk:
    """A client that has subscribed as Envoy does, and holds everything."""
    talk = Talk()
    talk.publish(resources)
    talk.ask(CLUSTER)
    talk.ask(LISTENER)
    if resources.get(ROUTE):
        talk.ask(ROUTE, *resources[ROUTE])
    talk.settle()
    return talk


def test_endpoints_do_not_wait_for_the_clusters_that_wait_for_them() -> None:
    # Envoy acknowledges a cluster when it is warm, and it warms with its endpoints.
    talk = Talk()
    talk.publish({CLUSTER: {"c": b"1"}, ENDPOINT: {"c": b"1"}, LISTENER: {"l": b"1"}})
    talk.ask(CLUSTER)
    talk.ask(LISTENER)
    assert talk.advance() == [(CLUSTER, ["c"], [])]
    talk.ask(ENDPOINT, "c")
    assert talk.advance() == [(ENDPOINT, ["c"], [])]
    talk.ack(CLUSTER)
    assert talk.advance() == []
    talk.ack(ENDPOINT)
    assert talk.advance() == [(LISTENER, ["l"], [])]


def test_a_changed_cluster_is_told_of_its_endpoints_again() -> None:
    talk = build_envoy({CLUSTER: {"c": b"1", "d": b"1"}, ENDPOINT: {"c": b"1", "d": b"1"}})
    talk.ask(ENDPOINT, "c", "d")
    talk.settle()
    talk.publish({CLUSTER: {"c": b"2", "d": b"1"}, ENDPOINT: {"c": b"1", "d": b"1"}})
    assert talk.advance() == [(CLUSTER, ["c"], []), (ENDPOINT, ["c"], [])]


def test_patience_with_a_cold_cluster_ends() -> None:
    talk = build_envoy({CLUSTER: {"c": b"1"}, LISTENER: {"l": b"1"}, ROUTE: {"l": b"1"}})
    assert talk.session.patience_left(talk.now) is None
    talk.publish({CLUSTER: {"c": b"1", "cold": b"1"}, LISTENER: {"l": b"1"}, ROUTE: {"l": b"2"}})
    assert talk.advance() == [(CLUSTER, ["cold"], [])]
    talk.now += PATIENCE - 1
    assert talk.advance() == []
    assert talk.session.patience_left(talk.now) == 1
    talk.now += 1
    assert talk.advance() == [(ROUTE, ["l"], [])]
    talk.ack(ROUTE)
    assert talk.agreed() == {LISTENER, ROUTE}


def test_nothing_that_an_old_table_may_need_is_withdrawn_while_a_new_one_is_refused() -> None:
    talk = build_envoy({CLUSTER: {"old": b"1"}, LISTENER: {"l": b"1"}, ROUTE: {"l": b"to old"}})
    talk.publish({CLUSTER: {"new": b"1"}, LISTENER: {"l": b"1"}, ROUTE: {"l": b"bad"}})
    assert talk.advance() == [(CLUSTER, ["new"], [])]
    talk.ack(CLUSTER)
    assert talk.advance() == [(ROUTE, ["l"], [])]
    assert talk.nack(ROUTE)
    assert talk.settle() == []
    assert talk.agreed() == {CLUSTER, LISTENER, ROUTE}
    assert len(talk.report().refusals) == 1

    talk.publish({CLUSTER: {"new": b"1"}, LISTENER: {"l": b"1"}, ROUTE: {"l": b"good"}})
    assert talk.settle() == [(ROUTE, ["l"], []), (CLUSTER, [], ["old"])]
    assert talk.report().refusals == ()


def test_a_key_ring_is_withdrawn_even_while_a_program_is_refused() -> None:
    talk = Talk()
    talk.publish({KEY_RING: {"ring": b"1"}, PROGRAM: {"p": b"1"}})
    talk.ask(KEY_RING, "*")
    talk.ask(PROGRAM, "*")
    talk.settle()
    talk.publish({PROGRAM: {"p": b"bad"}})
    assert talk.advance() == [(PROGRAM, ["p"], [])]
    assert talk.nack(PROGRAM)
    assert talk.settle() == [(KEY_RING, [], ["ring"])]


def test_a_refused_cluster_that_is_deleted_is_withdrawn() -> None:
    talk = build_envoy({CLUSTER: {"a": b"1"}})
    talk.publish({CLUSTER: {"a": b"1", "bad": b"1"}})
    talk.advance()
    assert talk.nack(CLUSTER)
    talk.publish({CLUSTER: {"a": b"1"}})
    assert talk.settle() == [(CLUSTER, [], ["bad"])]


def test_a_removal_that_was_refused_with_others_is_made_certain() -> None:
    talk = build_envoy({LISTENER: {"old": b"1"}})
    talk.publish({LISTENER: {"bad": b"1"}})
    assert talk.advance() == [(LISTENER, ["bad"], ["old"])]
    assert not talk.nack(LISTENER)
    assert talk.advance() == [(LISTENER, ["bad"], [])]
    assert talk.nack(LISTENER)
    assert talk.settle() == [(LISTENER, [], ["old"])]


def test_a_refusal_of_several_extensions_is_no_verdict_on_any_of_them() -> None:
    talk = Talk()
    talk.publish({EXTENSION: {"a": b"1", "b": b"1"}})
    talk.ask(EXTENSION, "a", "b")
    assert talk.advance() == [(EXTENSION, ["a", "b"], [])]
    assert not talk.nack(EXTENSION)
    assert talk.report().refusals == ()
    assert talk.agreed() == set()
    assert talk.advance() == [(EXTENSION, ["a"], [])]
    talk.publish({EXTENSION: {"a": b"1", "b": b"2", "c": b"1"}})
    assert talk.nack(EXTENSION)
    assert talk.advance() == [(EXTENSION, ["b"], [])]
    talk.ack(EXTENSION)
    assert talk.settle() == []


def test_asking_again_for_a_refused_resource_brings_it_again() -> None:
    talk = build_envoy({ROUTE: {"r": b"1"}})
    talk.publish({ROUTE: {"r": b"bad"}})
    talk.advance()
    assert talk.nack(ROUTE)
    assert talk.advance() == []
    talk.ask(ROUTE, "r")
    assert talk.advance() == [(ROUTE, ["r"], [])]


def test_the_end_of_a_wildcard_leaves_what_was_asked_for_by_name() -> None:
    talk = Talk()
    talk.publish({CLUSTER: {"a": b"1", "b": b"1"}})
    talk.ask(CLUSTER, "*", "a")
    assert talk.settle() == [(CLUSTER, ["a", "b"], [])]
    talk.ask(CLUSTER, unsubscribe=["*"])
    talk.publish({CLUSTER: {"a": b"2", "b": b"2"}})
    assert talk.settle() == [(CLUSTER, ["a"], [])]


def test_the_end_of_a_name_under_a_wildcard_is_answered_with_what_the_wildcard_holds() -> None:
    # The client cannot know whether the wildcard still covers the name.
    talk = Talk()
    talk.publish({CLUSTER: {"a": b"1"}})
    talk.ask(CLUSTER, "*", "a", "none")
    assert talk.settle() == [(CLUSTER, ["a"], ["none"])]
    talk.ask(CLUSTER, unsubscribe=["a", "none", "never asked for"])
    assert talk.settle() == [(CLUSTER, ["a"], ["none"])]
    talk.publish({CLUSTER: {"a": b"2"}})
    assert talk.settle() == [(CLUSTER, ["a"], [])]


def test_a_wildcard_that_comes_after_names_is_answered_though_there_is_nothing_more() -> None:
    talk = Talk()
    talk.publish({CLUSTER: {"a": b"1"}})
    talk.ask(CLUSTER, "a")
    assert talk.settle() == [(CLUSTER, ["a"], [])]
    talk.ask(CLUSTER, "*")
    assert talk.settle() == [(CLUSTER, [], [])]


def test_a_wildcard_stays_when_names_are_added_to_it() -> None:
    talk = build_envoy({CLUSTER: {"a": b"1", "b": b"1"}})
    talk.ask(CLUSTER, "a")
    assert talk.settle() == [(CLUSTER, ["a"], [])]
    talk.publish({CLUSTER: {"a": b"1", "b": b"2"}})
    assert talk.settle() == [(CLUSTER, ["b"], [])]


def test_what_is_dropped_while_on_its_way_and_asked_for_again_is_sent_again() -> None:
    talk = Talk()
    talk.publish({ROUTE: {"r": b"1"}})
    talk.ask(ROUTE, "r")
    assert talk.advance() == [(ROUTE, ["r"], [])]
    talk.ask(ROUTE, unsubscribe=["r"])
    talk.ask(ROUTE, "r")
    assert talk.settle() == [(ROUTE, ["r"], [])]


def test_a_refusal_of_what_is_no_longer_wanted_is_not_held_against_the_client() -> None:
    talk = Talk()
    talk.publish({ROUTE: {"r": b"1"}})
    talk.ask(ROUTE, "r")
    talk.advance()
    talk.ask(ROUTE, unsubscribe=["r"])
    assert talk.nack(ROUTE)
    assert talk.report().refusals == ()


def test_a_listener_without_its_routes_is_not_agreed() -> None:
    talk = build_envoy({LISTENER: {"a": b"1"}, ROUTE: {"a": b"1"}})
    assert talk.agreed() == {CLUSTER, LISTENER, ROUTE}
    talk.publish({LISTENER: {"a": b"1", "b": b"1"}, ROUTE: {"a": b"1", "b": b"1"}})
    assert talk.settle() == [(LISTENER, ["b"], [])]
    assert talk.agreed() == {CLUSTER, LISTENER}
    talk.ask(ROUTE, "b")
    assert talk.agreed() == {CLUSTER, LISTENER}
    talk.settle()
    assert talk.agreed() == {CLUSTER, LISTENER, ROUTE}


def test_withdrawals_are_part_of_the_agreement() -> None:
    talk = build_envoy({CLUSTER: {"a": b"1", "b": b"1"}})
    talk.publish({CLUSTER: {"a": b"1"}})
    assert talk.agreed() == {LISTENER}
    assert talk.advance() == [(CLUSTER, [], ["b"])]
    assert talk.agreed() == {LISTENER}
    talk.ack(CLUSTER)
    assert talk.agreed() == {CLUSTER, LISTENER}
