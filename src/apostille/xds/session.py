"""One client's stream as a state machine: requests in, responses out, no gRPC and no waiting.

The rules are those of incremental xDS (docs/root/api-docs/xds_protocol.rst in Envoy's repository), plus an order of
delivery that never leaves a reference dangling: what others refer to comes first and goes last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource

from apostille.xds.cache import Published
from apostille.xds.feedback import Acked, Nack, NodeReport
from apostille.xds.snapshot import (
    CLUSTER,
    ENDPOINT,
    EXTENSION,
    KEY_RING,
    LISTENER,
    PROGRAM,
    ROUTE,
    SECRET,
    NamedResource,
)

# Types of a later rank wait until the earlier ones were answered. Types of one rank must not wait for each other:
# Envoy acknowledges clusters only when they are warm, and for that some of them need their endpoints, their secrets
# and their filters.
_RANKS: Mapping[str, int] = MappingProxyType(
    {CLUSTER: 0, ENDPOINT: 0, SECRET: 0, EXTENSION: 0, KEY_RING: 0, LISTENER: 1, PROGRAM: 1, ROUTE: 2}
)
_ORDER = tuple(_RANKS)
_OTHER_RANK = 1

# Envoy quotes what it refuses, and these hold secrets.
_SECRETIVE = frozenset({SECRET, EXTENSION})
_WITHHELD = "refused; Envoy's words are not repeated, since they may hold a secret"

# While a client refuses something it lives with something older, which may refer to what the snapshot no longer has:
# such things are withdrawn only when all is agreed. Key rings go at once, as a deleted key must not open a door.
_KEPT_WHILE_REFUSING = frozenset({CLUSTER, ENDPOINT, SECRET, EXTENSION})

# Room below the message limit; what does not fit follows in the next response.
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
_RESPONSE_BYTES = MAX_MESSAGE_BYTES // 2

_WILDCARD = "*"
# Stand in the place of a version: the client does not hold the resource; we cannot know which version it holds.
_ABSENT = ""
_UNKNOWN = "?"


@dataclass(slots=True, kw_only=True)
class _Flight:
    """A response that was not answered yet: for each name the version sent, `_ABSENT` when told removed."""

    nonce: str
    sent: Mapping[str, str]
    sent_at: float
    version: str


@dataclass(slots=True, kw_only=True)
class _Subscription:
    """One type on one stream."""

    type_url: str
    wildcard: bool
    names: set[str] = field(default_factory=set)
    held: dict[str, str] = field(default_factory=dict)
    refused: dict[str, tuple[str, Nack]] = field(default_factory=dict)
    owed: set[str] = field(default_factory=set)
    suspects: list[frozenset[str]] = field(default_factory=list)
    greeted: bool = False
    flight: _Flight | None = None
    acked: Acked | None = None

    @property
    def rank(self) -> int:
        return _RANKS.get(self.type_url, _OTHER_RANK)

    def covers(self, name: str) -> bool:
        return self.wildcard or name in self.names

    def subscribe(self, names: Iterator[str]) -> None:
        for name in names:
            if name == _WILDCARD:
                self.wildcard, self.greeted = True, False
                continue
            self.names.add(name)
            # The client may have forgotten what we think it holds; the protocol demands an answer for each name.
            self.owed.add(name)

    def unsubscribe(self, names: Iterator[str]) -> None:
        for name in names:
            if name == _WILDCARD:
                self.wildcard = False
                self._forget({*self.held, *self.refused} - self.names)
            elif name in self.names:
                self.names.discard(name)
                self.owed.discard(name)
                if self.wildcard:
                    # The client cannot know whether the wildcard still covers it.
                    self.owed.add(name)
                else:
                    self._forget({name})

    def _forget(self, names: set[str]) -> None:
        for name in names:
            self.held.pop(name, None)
            self.refused.pop(name, None)
            self.owed.discard(name)

    def additions(self, resources: Mapping[str, NamedResource]) -> dict[str, str]:
        """What to send now: new and changed resources, and answers to what was asked for and does not exist."""
        covered = resources if self.wildcard else (name for name in sorted(self.names) if name in resources)
        wanted = {name: resources[name].version for name in covered if self._is_news(name, resources[name].version)}
        return wanted | {name: _ABSENT for name in sorted(self.owed) if name not in resources}

    def withdrawals(self, resources: Mapping[str, NamedResource]) -> dict[str, str]:
        """What the client holds and should not hold any more."""
        return {
            name: _ABSENT
            for name in sorted(self.held)
            if name not in resources and self.covers(name) and self._is_news(name, _ABSENT)
        }

    def _is_news(self, name: str, version: str) -> bool:
        if name in self.owed:
            return True
        return self.held.get(name, _ABSENT) != version and not self.refuses(name, version)

    def refuses(self, name: str, version: str) -> bool:
        return name in self.refused and self.refused[name][0] == version

    def accept(self, flight: _Flight) -> None:
        for name, version in flight.sent.items():
            self.refused.pop(name, None)
            if version == _ABSENT:
                self.held.pop(name, None)
            elif self.covers(name):
                self.held[name] = version

    def reject(self, flight: _Flight, nack: Nack) -> bool:
        """Whether it is settled who is to blame. If not, the halves are tried apart, so that a bad resource is known
        by name and costs its neighbours nothing."""
        for name in flight.sent:
            # Envoy takes some of what it refuses as a whole: only sending it again makes this certain.
            if self.covers(name):
                self.held[name] = _UNKNOWN
        if len(flight.sent) > 1:
            names = tuple(flight.sent)
            middle = len(names) // 2
            self.suspects += [frozenset(names[middle:]), frozenset(names[:middle])]
            return False
        self.refused.update((name, (version, nack)) for name, version in flight.sent.items() if self.covers(name))
        return True

    def next_part(self, changes: Mapping[str, str]) -> Mapping[str, str]:
        """All that is to be sent, or the next group of suspects in it."""
        while self.suspects:
            group = self.suspects.pop()
            if not group.isdisjoint(changes):
                return {name: version for name, version in changes.items() if name in group}
        return changes


class Session:
    """What one client subscribes to, holds, was sent and refused."""

    def __init__(self, *, stream: int, group: str, node: str, patience: float) -> None:
        """`patience`: seconds that later types wait for an answer, after which a slow client (a cluster that does not
        get warm, say) no longer holds up the rest."""
        self._stream, self._group, self._node, self._patience = stream, group, node, patience
        self._subscriptions: dict[str, _Subscription] = {}
        self._nonces = 0

    def receive(self, request: DeltaDiscoveryRequest) -> Nack | None:
        """Take in one request; returns the NACK when it is one that settles who is to blame."""
        subscription = self._subscriptions.get(request.type_url)
        if subscription is None:
            # A first request without any names is how clients have always asked for everything.
            wildcard = not request.resource_names_subscribe and not request.resource_names_unsubscribe
            subscription = _Subscription(type_url=request.type_url, wildcard=wildcard)
            self._subscriptions[request.type_url] = subscription
            versions = request.initial_resource_versions.items()
            subscription.held.update((name, version or _UNKNOWN) for name, version in versions)
        nack = self._settle(subscription, request)
        # Even a request with a stale nonce changes the subscription.
        subscription.subscribe(iter(request.resource_names_subscribe))
        subscription.unsubscribe(iter(request.resource_names_unsubscribe))
        return nack

    def _settle(self, subscription: _Subscription, request: DeltaDiscoveryRequest) -> Nack | None:
        flight = subscription.flight
        if flight is None or request.response_nonce != flight.nonce:
            return None
        subscription.flight = None
        if not request.HasField("error_detail"):
            subscription.accept(flight)
            return None
        nack = Nack(
            group=self._group,
            node=self._node,
            type_url=subscription.type_url,
            names=tuple(flight.sent),
            version=flight.version,
            text=_WITHHELD if subscription.type_url in _SECRETIVE else request.error_detail.message,
        )
        return nack if subscription.reject(flight, nack) else None

    def advance(self, published: Published, now: float) -> tuple[DeltaDiscoveryResponse, ...]:
        """What to send now, in this order. Call again after every request and every new snapshot.

        `now` is monotonic, in seconds.
        """
        responses: list[DeltaDiscoveryResponse] = []
        for subscription in self._ordered():
            if self._is_held_up(subscription, now):
                break
            resources = published.snapshot.of(subscription.type_url)
            changes = subscription.additions(resources)
            if subscription.rank > 0:
                changes |= subscription.withdrawals(resources)
            first = subscription.wildcard and not subscription.greeted
            if subscription.flight is None and (changes or first):
                responses.append(self._send(subscription, changes, published, now))
        if all(each.flight is None for each in self._subscriptions.values()):
            refusing = bool(self._refusals(published))
            for subscription in self._ordered():
                withdrawals = _due_withdrawals(subscription, published, refusing)
                if withdrawals:
                    responses.append(self._send(subscription, withdrawals, published, now))
        return tuple(responses)

    def patience_left(self, now: float) -> float | None:
        """Seconds after which `advance` may have more to send though nothing happened; None: never."""
        waits = [
            each.flight.sent_at + self._patience - now
            for each in self._subscriptions.values()
            if each.flight is not None
        ]
        return min((left for left in waits if left > 0), default=None)

    def report(self, published: Published | None) -> NodeReport:
        refusals = () if published is None else self._refusals(published)
        if published is not None:
            acked = Acked(version=published.snapshot.version, generation=published.generation)
            for subscription in self._subscriptions.values():
                if self._agrees(subscription, published, bool(refusals)):
                    subscription.acked = acked
        return NodeReport(
            stream=self._stream,
            group=self._group,
            node=self._node,
            acked=MappingProxyType({each.type_url: each.acked for each in self._ordered()}),
            refusals=refusals,
        )

    def _agrees(self, subscription: _Subscription, published: Published, has_refusals: bool) -> bool:
        resources = published.snapshot.of(subscription.type_url)
        if subscription.flight is not None or (subscription.wildcard and not subscription.greeted):
            return False
        if subscription.additions(resources):
            return False
        if _due_withdrawals(subscription, published, has_refusals):
            return False
        # A listener that was just acknowledged asks for its routes a moment later; without them it is of no use.
        # One that was refused never asks.
        return has_refusals or subscription.type_url != ROUTE or all(subscription.covers(name) for name in resources)

    def _ordered(self) -> list[_Subscription]:
        return sorted(
            self._subscriptions.values(),
            key=lambda each: (each.rank, _ORDER.index(each.type_url) if each.type_url in _RANKS else -1, each.type_url),
        )

    def _is_held_up(self, subscription: _Subscription, now: float) -> bool:
        return any(
            each.flight is not None and each.rank < subscription.rank and now - each.flight.sent_at < self._patience
            for each in self._subscriptions.values()
        )

    def _refusals(self, published: Published) -> tuple[Nack, ...]:
        """NACKs that still concern the snapshot."""
        found: dict[int, Nack] = {}
        for subscription in self._ordered():
            resources = published.snapshot.of(subscription.type_url)
            for name, (version, nack) in subscription.refused.items():
                if version == (resources[name].version if name in resources else _ABSENT):
                    found[id(nack)] = nack
        return tuple(found.values())

    def _send(
        self, subscription: _Subscription, changes: Mapping[str, str], published: Published, now: float
    ) -> DeltaDiscoveryResponse:
        resources = published.snapshot.of(subscription.type_url)
        sent = _fit(subscription.next_part(changes), resources)
        subscription.greeted = True
        subscription.owed -= sent.keys()
        if subscription.type_url == CLUSTER and ENDPOINT in self._subscriptions:
            # A changed cluster stays cold until it hears of its endpoints again, though they are the same.
            endpoints = self._subscriptions[ENDPOINT]
            endpoints.owed |= sent.keys() & endpoints.names
        self._nonces += 1
        nonce = str(self._nonces)
        version = published.snapshot.version
        subscription.flight = _Flight(nonce=nonce, sent=sent, sent_at=now, version=version)
        response = DeltaDiscoveryResponse(
            type_url=subscription.type_url,
            nonce=nonce,
            system_version_info=version,
            removed_resources=[name for name, version in sent.items() if version == _ABSENT],
        )
        for name, version in sent.items():
            if version != _ABSENT:
                _emit_into(response.resources.add(), resources[name])
        return response


def _due_withdrawals(subscription: _Subscription, published: Published, refusing: bool) -> Mapping[str, str]:
    if refusing and subscription.type_url in _KEPT_WHILE_REFUSING:
        return {}
    return subscription.withdrawals(published.snapshot.of(subscription.type_url))


def _fit(changes: Mapping[str, str], resources: Mapping[str, NamedResource]) -> Mapping[str, str]:
    """As many as one message may carry; at least one."""
    fitting: dict[str, str] = {}
    size = 0
    for name, version in changes.items():
        size += 0 if version == _ABSENT else len(resources[name].body)
        if fitting and size > _RESPONSE_BYTES:
            break
        fitting[name] = version
    return fitting


def _emit_into(place: Resource, resource: NamedResource) -> None:
    """Into a message that is there, since one that is put into another is copied, and bodies may be large."""
    place.name, place.version = resource.name, resource.version
    place.resource.type_url, place.resource.value = resource.type_url, resource.body
