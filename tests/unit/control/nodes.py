"""Connected clients without a wire: the real cache and the real feedback, with somebody who answers at once."""

from __future__ import annotations

from dataclasses import dataclass, field

from apostille.auth.upstreams import UPSTREAM_TYPE_URL
from apostille.xds.cache import AUTH_GROUP, ENVOY_GROUP, Published, SnapshotCache
from apostille.xds.feedback import Acked, Feedback, Nack, NodeReport
from apostille.xds.snapshot import CLUSTER, EXTENSION, KEY_RING, LISTENER, PROGRAM, ROUTE

_TYPES = {ENVOY_GROUP: (CLUSTER, EXTENSION, LISTENER, ROUTE), AUTH_GROUP: (KEY_RING, PROGRAM, UPSTREAM_TYPE_URL)}


@dataclass
class Nodes:
    """`seen`: group and names of each snapshot that was published, in order. `refuses`: group → words; such a node
    refuses everything in those words."""

    cache: SnapshotCache = field(default_factory=SnapshotCache)
    feedback: Feedback = field(default_factory=Feedback)
    refuses: dict[str, str] = field(default_factory=dict)
    seen: list[tuple[str, set[str]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cache.listen(self.feedback.published)
        self.cache.listen(self._watch)

    def connect(self, *groups: str) -> None:
        """One client for each group, which answers everything from now on."""

        def answer(group: str, published: Published) -> None:
            if group in groups:
                self._answer(group, published)

        self.cache.listen(answer)

    def _watch(self, group: str, published: Published) -> None:
        self.seen.append((group, {name for named in published.snapshot.resources.values() for name in named}))

    def _answer(self, group: str, published: Published) -> None:
        version = published.snapshot.version
        refusals: tuple[Nack, ...] = ()
        if group in self.refuses:
            names = tuple(published.snapshot.of(LISTENER))
            text = self.refuses[group]
            refusals = (Nack(group=group, node="one", type_url=LISTENER, names=names, version=version, text=text),)
        acked = Acked(version=version, generation=published.generation)
        self.feedback.update(
            NodeReport(
                stream=sorted(_TYPES).index(group),
                group=group,
                node="one",
                acked=dict.fromkeys(_TYPES[group], acked),
                refusals=refusals,
            )
        )
