"""Where a route's requests are judged and signed: inside Envoy, or by the auth service.

The auth service is always right. Envoy's own filters are faster, and right for plain requests only; so a route in the
Envoy lane keeps its program, and every request that is not plain goes the way of the service lane.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from apostille.base.secrets import SecretText

# Filters of every listener that check keys, one ring each. A constant: a route that names a filter that the listener
# does not have would pass unguarded.
KEY_SLOTS = 8


class Lanes(Enum):
    """Which lanes routes may take. SERVICE: no route the Envoy lane, whatever it asks for."""

    AUTO = "auto"
    SERVICE = "service"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderPattern:
    """`pattern` (RE2) is for the whole value, all lines of the header joined with commas; `name` in lower case."""

    name: str
    pattern: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """Which requests Envoy's filters treat exactly as the auth service does; all of it must be true, and the route's
    own path must match besides.

    `path`: RE2 for the client's path with its query, None: any ordinary spelling. `methods` None: all. `absent`:
    headers that are not there. `only`: headers that are not there or match; `never`: those that are not there or do
    not match.
    """

    path: str | None = None
    methods: tuple[str, ...] | None = None
    absent: tuple[str, ...] = ()
    only: tuple[HeaderPattern, ...] = ()
    never: tuple[HeaderPattern, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyLane:
    """`name`: what the route is called in logs. `slot`: the filter with the key ring, None without one. `signer`: the
    id of an `EnvoySigner`, None without. `replacement`: what takes the place of the matched path before it is signed,
    None: it stays."""

    name: str
    plain: Plain
    slot: int | None = None
    signer: str | None = None
    replacement: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLane:
    """`reason`: why not Envoy, for people."""

    reason: str


Lane = EnvoyLane | ServiceLane


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyKey:
    key: SecretText
    consumer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyKeys:
    """The ring `id` in filter `slot`: no key is empty, and none is there twice. `header` is in lower case."""

    id: str
    slot: int
    header: str
    keys: tuple[EnvoyKey, ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoySigner:
    """AWS Signature Version 4 by Envoy's filter, for requests without a body and without ``x-amz-`` headers of their
    own. `id`: ``namespace/policy`` and a digest of all but the secrets, so that new credentials touch no route.
    """

    id: str
    service: str
    region: str
    access_key: str
    secret_key: SecretText
    session_token: SecretText | None = None
