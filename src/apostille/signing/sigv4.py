"""AWS Signature Version 4 in its header form. Every intermediate is a value, so that it can be shown and compared.

It must not know where a request or its credentials come from; the time is an argument. Source: "Create a signed AWS API
request" in the IAM User Guide.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256

from apostille.base.headers import is_header_name
from apostille.base.secrets import SecretText
from apostille.signing import canonical
from apostille.signing.services import demands_hash_header

ALGORITHM = "AWS4-HMAC-SHA256"

EMPTY_HASH = sha256(b"").hexdigest()
"""The payload hash of a request without a body."""
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
"""In place of the payload hash: the body is not covered. Over TLS only."""
STREAMING_UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
"""In place of the payload hash: the body is in `aws-chunked` framing, its checksum in a trailer, and not covered."""

# Set by the signature itself: what a client sent under these names never takes part.
OWN_HEADERS = frozenset(
    {"authorization", "host", "x-amz-content-sha256", "x-amz-date", "x-amz-region-set", "x-amz-security-token"}
)

_ACCESS_KEY = re.compile(r"[!-+\--~]+")
_SCOPE_PART = re.compile(r"[!-+\--.0-~]+")
_HOST = re.compile(r"[!-+\--~]+")
_TOKEN = re.compile(r"[!-~]+")
_HASH = re.compile(r"[0-9a-f]{64}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PAYLOAD = re.compile(rf"{_HASH.pattern}|UNSIGNED-PAYLOAD|STREAMING-[0-9A-Z-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """An AWS identity. Raises ValueError, without the value, for what can be no credential."""

    access_key: str
    secret_key: SecretText
    session_token: SecretText | None = None
    # Names this credential in caches, so that no cache key holds the secret.
    digest: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not _ACCESS_KEY.fullmatch(self.access_key):
            raise ValueError("the access key id is empty or has a blank, a comma or a character beyond ASCII")
        if not _is_secret_key(self.secret_key):
            raise ValueError("the secret access key is empty, or has white space or a line feed around it")
        if self.session_token is not None and not _TOKEN.fullmatch(self.session_token.reveal()):
            raise ValueError("the session token is empty or has a blank or a line feed; leave it out if there is none")
        object.__setattr__(self, "digest", _digest(self.access_key, self.secret_key))


# Functions of their own, so that what is revealed is no local variable where an error is raised: some tools show them.
def _is_secret_key(secret_key: SecretText) -> bool:
    text = secret_key.reveal()
    return bool(text) and text == text.strip()


def _digest(access_key: str, secret_key: SecretText) -> bytes:
    return sha256(f"{access_key}\n{secret_key.reveal()}".encode()).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a signing key is good for. `date` is ``YYYYMMDD`` in UTC; with SigV4A there is no `region`."""

    date: str
    region: str | None
    service: str

    def __post_init__(self) -> None:
        for part in (self.region, self.service):
            if part is not None and not _SCOPE_PART.fullmatch(part):
                raise ValueError(f"{part!r} is no region or service: it is empty or has a blank, a comma or a slash")

    def __str__(self) -> str:
        parts = (self.date, self.service) if self.region is None else (self.date, self.region, self.service)
        return "/".join((*parts, "aws4_request"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be signed.

    `host` is the Host header exactly as it will be sent, with the port if one is sent. `path` and `query` are as the
    client spelled them. All of `headers` are signed, but `OWN_HEADERS`: `canonical.signable_headers` chooses them.
    `payload_hash` is the SHA-256 of the body in lower-case hex, or one of the markers above.
    """

    method: str
    host: str
    path: str | bytes
    query: str | bytes = field(default="", repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    payload_hash: str = EMPTY_HASH

    def __post_init__(self) -> None:
        if not is_header_name(self.method):
            raise ValueError(f"{self.method!r} is no method, so it cannot be signed")
        if not _is_host(self.host):
            raise ValueError(f"{self.host!r} is no host, so it cannot be signed")
        if self.payload_hash is not EMPTY_HASH and not _PAYLOAD.fullmatch(self.payload_hash):
            raise ValueError(f"{self.payload_hash!r} is neither a SHA-256 in lower-case hex nor a marker in its place")


# The host comes from configuration, so it is the same few again and again.
@lru_cache(1024)
def _is_host(host: str) -> bool:
    return _HOST.fullmatch(host) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A signature and all that led to it. What could be used or holds a session token does not show.

    `target` is the path and query to send. `headers` are to be set on the request, in place of any of the same names.
    """

    target: str = field(repr=False)
    canonical_request: str = field(repr=False)
    string_to_sign: str
    signed_headers: str
    signature: str = field(repr=False)
    authorization: str = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(repr=False)


class SigningKeys:
    """Derived keys, one for each credential, day, region and service. Its keys are hashes, never secrets.

    A derived key is held as a MAC that has taken it in already, which is half of the work of a signature.

    At `limit` it starts over: deriving takes microseconds, and so nothing outlives its use for long.
    """

    __slots__ = ("_keys", "_limit")

    def __init__(self, limit: int = 256) -> None:
        self._keys: dict[tuple[bytes, str, str, str], tuple[hmac.HMAC, str]] = {}
        self._limit = limit

    def get(self, credentials: Credentials, date: str, region: str, service: str) -> tuple[hmac.HMAC, str]:
        """A MAC with the signing key, for `sign_text`, and the key's scope. `date` is ``YYYYMMDD``.

        Raises ValueError as `Scope` does.
        """
        where = (credentials.digest, date, region, service)
        if (found := self._keys.get(where)) is not None:
            return found
        scope = Scope(date=date, region=region, service=service)
        derived = (hmac.new(derive_key(credentials.secret_key, scope), digestmod="sha256"), str(scope))
        if len(self._keys) >= self._limit:
            self._keys.clear()
        self._keys[where] = derived
        return derived

    def __len__(self) -> int:
        return len(self._keys)


def derive_key(secret_key: SecretText, scope: Scope) -> bytes:
    """The key that signs everything within `scope`."""
    key = f"AWS4{secret_key.reveal()}".encode()
    for part in str(scope).split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def sign_text(key: hmac.HMAC, text: str) -> str:
    """The signature of a string to sign, in hex. `key` stays as it is."""
    mac = key.copy()
    mac.update(text.encode())
    return mac.hexdigest()


def amz_date(now: datetime) -> str:
    """``YYYYMMDD'T'HHMMSS'Z'``. Raises ValueError for a time without a zone."""
    if now.tzinfo is None:
        raise ValueError("the time to sign at needs a time zone")
    since = now - _EPOCH
    return _stamp(since.days, since.seconds)


# Of one second there are many requests; of two seconds at once, as a clock that is off gives them, hardly any.
@lru_cache(16)
def _stamp(days: int, seconds: int) -> str:
    moment = _EPOCH + timedelta(days=days, seconds=seconds)
    return moment.isoformat()[:19].replace("-", "").replace(":", "") + "Z"


def string_to_sign(algorithm: str, stamp: str, scope: str, canonical_request: str) -> str:
    return f"{algorithm}\n{stamp}\n{scope}\n{sha256(canonical_request.encode()).hexdigest()}"


def amz_headers(
    request: Request, credentials: Credentials, service: str, stamp: str, content_sha256: bool | None
) -> list[tuple[str, str]]:
    """The headers, besides ``authorization``, that a signature puts on the request, in the order in which Envoy's own
    signer does: nobody can tell by whom a request was signed."""
    headers = []
    if content_sha256 is None:
        # A service that is not told of a marker hashes the body itself, and finds another signature.
        content_sha256 = demands_hash_header(service) or not _HASH.fullmatch(request.payload_hash)
    if content_sha256:
        headers.append(("x-amz-content-sha256", request.payload_hash))
    if credentials.session_token is not None:
        headers.append(("x-amz-security-token", credentials.session_token.reveal()))
    headers.append(("x-amz-date", stamp))
    return headers


def given_headers(request: Request) -> list[tuple[str, str]]:
    """The client's headers that are signed."""
    if not request.headers:
        return []
    return [header for header in request.headers if header[0].lower() not in OWN_HEADERS]


def signed_input(request: Request, service: str, own: list[tuple[str, str]]) -> tuple[str, str, str]:
    """The target to send, the canonical request and the list of signed headers; `own` are the signature's headers."""
    s3 = canonical.is_s3(service)
    path = canonical.canonical_path(request.path, s3=s3)
    query = canonical.canonical_query(request.query)
    target = canonical.joined_target(path, query if s3 else canonical.wire_query(request.query, s3=False))
    block, names = canonical.canonical_headers(given_headers(request), (("host", request.host), *own))
    uri = canonical.canonical_uri(path, s3=s3)
    return target, canonical.canonical_request(request.method, uri, query, block, names, request.payload_hash), names


def sign(
    request: Request,
    credentials: Credentials,
    *,
    region: str,
    service: str,
    now: datetime,
    keys: SigningKeys | None = None,
    content_sha256: bool | None = None,
) -> Signed:
    """Sign `request` as of `now`; the services accept it for about 15 minutes around that time.

    `service` is the name in the scope, such as ``s3`` or ``execute-api``. `content_sha256`: whether the payload hash is
    also sent as a header. When not said, it is where the service demands it, and where it is a marker.

    Raises ValueError when the request, the region, the service or the time can have no signature.
    """
    stamp = amz_date(now)
    key, scope = (SigningKeys() if keys is None else keys).get(credentials, stamp[:8], region, service)
    own = amz_headers(request, credentials, service, stamp, content_sha256)
    target, canonical_request, names = signed_input(request, service, own)
    text = string_to_sign(ALGORITHM, stamp, scope, canonical_request)
    signature = sign_text(key, text)
    authorization = authorization_header(ALGORITHM, credentials, scope, names, signature)
    return Signed(
        target=target,
        canonical_request=canonical_request,
        string_to_sign=text,
        signed_headers=names,
        signature=signature,
        authorization=authorization,
        headers=(*own, ("authorization", authorization)),
    )


def authorization_header(algorithm: str, credentials: Credentials, scope: str, names: str, signature: str) -> str:
    return f"{algorithm} Credential={credentials.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
