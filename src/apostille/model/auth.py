"""Auth programs: the compiled chains that the auth service runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from apostille.base.refs import Ref
from apostille.base.secrets import SecretText
from apostille.model.outbound import Outbound
from apostille.model.scopes import EVERYTHING, NOTHING, Scopes


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderUse:
    """What one step does with request headers; all names in lower case.

    `reads`: it looks at the client's header. `credentials`: those of them that are the client's proof of
    identity and must not go further. `writes`: it may set them on the upstream request, so the client's
    copy is not to be trusted. `query`: it may take parameters out of the client's query.
    """

    reads: tuple[str, ...] = ()
    credentials: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    body: bool = False
    query: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a chain. `config` is the frozen dataclass that the step kind `kind` compiles to. `asks_store`: it
    looks into the key store, which has to run then."""

    name: str
    kind: str
    config: object
    headers: HeaderUse = field(default_factory=HeaderUse)
    asks_store: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a request is going, as far as its route says it: what keys may be narrowed to.

    `destinations`: ``namespace/name`` of each service that the route may choose.
    """

    labels: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    destinations: tuple[str, ...] = ()


NOWHERE = Place()


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A chain: every step must allow, in order; the first denial is the answer. Then what the destination demands is
    put on the request, if anything.

    `id` is ``namespace/name`` of the policy and a digest of the content, so that a route names exactly the
    program it was compiled with. `deadline_ms` is for the whole chain. `place` is there where a step asks for it.
    """

    id: str
    policy: Ref
    steps: tuple[Step, ...]
    deadline_ms: int
    outbound: Outbound | None = None
    place: Place | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One API key: `digest` is the SHA-256 of the key, in hex. The key itself stays in its Secret.

    `consumer` is the Secret's name; `metadata` the Secret's entries that the policies of this ring ask for. It is valid
    until just before `expires`, in seconds since 1970, and for what `scopes` say.
    """

    digest: str
    consumer: str
    metadata: Mapping[str, SecretText]
    expires: int | None = None
    scopes: Scopes = EVERYTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRing:
    """The keys one policy step accepts. Separate from the program, so that a new key touches no route."""

    id: str
    keys: tuple[Key, ...]
