"""What a step is at run time: it sees a request and says Allow or Deny."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

import aiohttp

from apostille.base.clock import Clock
from apostille.keys.outcome import Holder, Refusal
from apostille.model.auth import NOWHERE, Key, Place
from apostille.model.caller import NOBODY, Caller
from apostille.model.credentials import Source
from apostille.model.scopes import NOTHING, Asked
from apostille.signing.sigv4 import Credentials

State = Mapping[str, object]
Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthRequest:
    """The client's request as a step sees it.

    `path` is the path with its query, as on the wire; `host` what the client calls the host, with its port if any.
    Header names are in lower case; several header lines of one name reach us joined with commas (Envoy does that).
    `place`: where its route leads, for steps that ask for it. `body` is None unless the program asked for it,
    and `body_complete` says whether that is all of it. `length`: the client's content-length, None where it said none;
    `chunked`: its body comes in chunks, whose length nobody knows yet.
    `state` is what earlier steps left; a step never changes it, it returns a new one.
    All but the method may hold credentials, so nothing else is shown by `repr`.
    """

    method: str
    path: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    host: str = field(default="", repr=False)
    place: Place = NOWHERE
    body: bytes | None = field(default=None, repr=False)
    body_complete: bool = False
    length: int | None = None
    chunked: bool = False
    state: State = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Allow:
    """This step is content.

    `set_headers` replace, `append_headers` join (with a comma) what an earlier step has set; both go to the upstream.
    `state`: what later steps see from here on; None leaves it as it is. `query`: what the client's query is from here
    on, None where that is what it was; the step's header use must say that it may change. `consumer`: who is calling,
    once known; `key`: what stands for their key in logs; `metadata`: what else is known of them and may be told.
    `bypassed`: the step could not be asked and its author had said to let requests pass then; `cause` says why it
    could not, for the log only, never a secret.
    """

    set_headers: Headers = field(default=(), repr=False)
    append_headers: Headers = field(default=(), repr=False)
    state: State | None = field(default=None, repr=False)
    query: str | None = field(default=None, repr=False)
    consumer: str | None = None
    key: str | None = None
    metadata: Mapping[str, str] = field(default_factory=lambda: NOTHING, repr=False)
    bypassed: bool = False
    cause: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deny:
    """The request ends here. `reason` is a short word for logs and the ``x-apostille-reason`` header, never a secret.

    `status` is from 300 to 599; another one becomes 500. `broken`: nobody refused the caller, something on our side
    failed; `cause` says why, for the log only, never a secret. `consumer`, `key`: who was refused, where that is known.
    """

    status: int
    reason: str
    headers: Headers = field(default=(), repr=False)
    body: str = field(default="", repr=False)
    broken: bool = False
    cause: str | None = None
    consumer: str | None = None
    key: str | None = None


Verdict = Allow | Deny


class AuthStep(Protocol):
    async def check(self, request: AuthRequest, /) -> Verdict:
        """Raising means broken: the chain refuses with 503. So does running past the deadline."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundRequest:
    """The request as it will be sent, before it carries what its destination demands.

    `path` is rewritten already, in the client's spelling; `query` is what stands after the question mark, or None.
    `length`: the client's content-length, None where it said none; `chunked`: its body comes in chunks.
    `body`: what Envoy holds of it, None when it was not to be held; `body_complete`: that is all of it.
    `headers`: the client's, and over them what the steps of the chain have set.
    """

    method: str
    host: str
    path: str = field(repr=False)
    query: str | None = field(default=None, repr=False)
    tls: bool = False
    headers: Mapping[str, str] = field(repr=False)
    consumer: str | None = None
    key: str | None = None
    metadata: Mapping[str, str] = field(default_factory=lambda: NOTHING, repr=False)
    length: int | None = None
    chunked: bool = False
    body: bytes | None = field(default=None, repr=False)
    body_complete: bool = False

    @property
    def caller(self) -> Caller:
        """Who is calling, as a lease of credentials wants to know it."""
        return Caller(consumer=self.consumer, key=self.key, metadata=self.metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """`path` is what is sent, to the byte. `headers` replace, `remove` take away what must not go along."""

    path: str
    headers: Headers = field(default=(), repr=False)
    remove: tuple[str, ...] = ()


class Signer(Protocol):
    async def sign(self, request: OutboundRequest, /) -> Signed | Deny:
        """Raising means broken: nothing is sent, the caller gets 503."""
        ...

    async def explain(self, request: OutboundRequest, /) -> tuple[tuple[str, str], ...] | Deny:
        """How `sign` comes to its result, as titled texts for people; what could be used by itself is masked."""
        ...

    def refused(self) -> None:
        """The destination has refused what this signer put on a request: its credentials may have been revoked."""
        ...


class StoredKeys(Protocol):
    def prepare(self) -> None:
        """To be called when a step starts that will ask: what takes its time is done before the first request."""
        ...

    async def open(self, shown: str, asked: Asked, labels: Mapping[str, str], /) -> Holder | Refusal:
        """Whether the key that was shown is one of the store, with all of `labels`, and good for what is asked."""
        ...


class KeyRings(Protocol):
    def find(self, ring: str, key: str, /) -> Key | None:
        """The key in the ring, or None.

        Looks up the SHA-256 of what was presented and compares in constant time.
        Raises LookupError when the ring itself is not known (yet): that is not the caller's fault.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTools:
    """What a step may use. Nothing else of the process is its business.

    `http` follows no redirects, adds no headers of its own and reads no proxy settings. `stored` is None where the
    gateway has no key store.
    """

    clock: Clock
    keyrings: KeyRings
    http: aiohttp.ClientSession
    stored: StoredKeys | None = None


class CredentialLease(Protocol):
    async def get(self, caller: Caller = NOBODY) -> Credentials:
        """What to sign with now. `caller`: who is calling, for sources that take a role for each.

        Raises CredentialsUnavailable when there is nothing to sign with: then nothing is sent.
        """
        ...

    def doubt(self) -> None:
        """The destination refused them: fetch them again soon, and keep those held meanwhile."""
        ...


class CredentialSources(Protocol):
    def lease(self, source: Source, /) -> CredentialLease:
        """Credentials of just this source, fetched and refreshed off the request path while the lease lives."""
        ...


class Upstream(Protocol):
    """What is known of the destination that is signed for."""

    @property
    def skew(self) -> timedelta:
        """How far its clock is ahead of ours; zero as long as nothing else is known."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerTools:
    """What an integration may use."""

    clock: Clock
    credentials: CredentialSources
    upstream: Upstream


class SignerRunner(Protocol):
    """The run-time half of an integration kind; `config` is the frozen dataclass it was compiled to."""

    @property
    def name(self) -> str: ...

    @property
    def config(self) -> type: ...

    def start(self, config: object, tools: SignerTools, /) -> Signer: ...


class StepRunner(Protocol):
    """The run-time half of a step kind; `config` is the frozen dataclass it was compiled to."""

    @property
    def name(self) -> str: ...

    @property
    def config(self) -> type: ...

    def start(self, config: object, tools: StepTools, /) -> AuthStep: ...
