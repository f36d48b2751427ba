"""awsSigV4: AWS Signature Version 4 on the request, in the header form.

Everything a caller may not ask for is refused before a signature is made: the gateway's identity is stronger than the
caller's, and whatever is signed counts as wished by the gateway.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime
from hashlib import sha256

from apostille.integrations.aws_sigv4_native import compile_with_native
from apostille.integrations.aws_sigv4_spec import COPY_SOURCE, PRESIGNED, Allowed, AwsSigV4Config, AwsSigV4Spec
from apostille.sdk import (
    EMPTY_HASH,
    STREAMING_UNSIGNED_TRAILER,
    UNSIGNED_PAYLOAD,
    AsymmetricKeys,
    CredentialsUnavailable,
    Deny,
    IntegrationKind,
    OutboundRequest,
    RefusalSigns,
    Signature,
    Signed,
    SignerTools,
    SigningKeys,
    SigningRequest,
    canonical_path,
    is_s3,
    query_names,
    sign_v4,
    sign_v4a,
    signable_headers,
    takes_only_unsigned,
    takes_unsigned,
)

_HEX = re.compile(r"[0-9a-f]{64}")
_DECLARATION = re.compile(r"|[0-9a-fA-F]{64}|UNSIGNED-PAYLOAD|STREAMING-[A-Z0-9-]+")
_AWS_BUCKET = re.compile(r"(.+?)\.s3[.-]")
_PREFIX = "x-amz-"
# What SDKs send for a signature of their own. Never passed on; ours stand in their place.
_REPLACED = frozenset({"x-amz-date", "x-amz-content-sha256", "x-amz-region-set", "x-amz-security-token"})

_CHUNKS_SIGNED = (
    "This gateway signs requests itself and cannot take uploads whose chunks the client has signed.\n"
    "In boto3 and the AWS CLI set request_checksum_calculation = when_required; "
    "or send the body with x-amz-content-sha256: UNSIGNED-PAYLOAD.\n"
)
_DECLARATION_UNKNOWN = (
    "x-amz-content-sha256 must be one SHA-256 in hex, UNSIGNED-PAYLOAD, or a STREAMING- marker; a body with the "
    "content-encoding aws-chunked needs the marker.\n"
)
_LENGTH_NEEDED = "The service wants to know the length of an upload: send Content-Length instead of chunks.\n"

# What AWS's services say to a signature or a key, as opposed to what its owner may do: AccessDenied is not here.
_REFUSALS = RefusalSigns(
    statuses=(400, 401, 403),
    codes=(
        "AuthFailure", "AuthorizationHeaderMalformed", "ExpiredToken", "ExpiredTokenException",
        "IncompleteSignature", "IncompleteSignatureException", "InvalidAccessKeyId", "InvalidClientTokenId",
        "InvalidSecurity", "InvalidSignatureException", "InvalidToken", "MissingAuthenticationToken",
        "MissingAuthenticationTokenException", "RequestExpired", "RequestTimeTooSkewed",
        "SignatureDoesNotMatch", "TokenRefreshRequired", "UnrecognizedClientException",
    ),
)  # fmt: skip


class AwsSigV4Signer:
    """Signs for one service and region with one source of credentials."""

    def __init__(self, config: AwsSigV4Config, tools: SignerTools) -> None:
        self._config = config
        self._clock = tools.clock
        self._upstream = tools.upstream
        self._lease = tools.credentials.lease(config.source)
        self._keys = SigningKeys()
        self._key_pairs = AsymmetricKeys()
        self._s3 = is_s3(config.service)

    async def sign(self, request: OutboundRequest, /) -> Signed | Deny:
        void = self._void(request)
        if void:
            request = replace(request, headers={n: v for n, v in request.headers.items() if n not in void})
        signature = await self._signature(request)
        if isinstance(signature, Deny):
            return signature
        path = signature.target.partition("?")[0]
        replaced = () if _REPLACED.isdisjoint(request.headers) else tuple(sorted(_REPLACED & request.headers.keys()))
        return Signed(path=path, headers=signature.headers, remove=(*replaced, *void))

    def _void(self, request: OutboundRequest) -> tuple[str, ...]:
        """Headers that nobody allowed and that say nothing: they go no further, and are no reason to refuse. Envoy's
        signer, whose lane the request may have taken as well, does not even notice them."""
        if "" not in request.headers.values():
            return ()
        listed = self._config.allowed.headers
        return tuple(
            name
            for name, value in request.headers.items()
            if not value and name.startswith(_PREFIX) and name not in _REPLACED and not _is_listed(name, listed)
        )

    async def explain(self, request: OutboundRequest, /) -> tuple[tuple[str, str], ...] | Deny:
        signature = await self._signature(request)
        if isinstance(signature, Deny):
            return signature
        token = dict(signature.headers).get("x-amz-security-token")

        def shown(text: str) -> str:
            return text if token is None else text.replace(token, "[redacted]")

        headers = "\n".join(f"{name}: {shown(value)}" for name, value in (("host", request.host), *signature.headers))
        return (
            ("canonical request", shown(signature.canonical_request)),
            ("string to sign", signature.string_to_sign),
            ("request", f"{request.method} {signature.target}\n{headers}"),
        )

    def refused(self) -> None:
        self._lease.doubt()

    def _now(self) -> datetime:
        """The time to sign with: the service's own, where its clock is known to be off and the author wants that."""
        now = self._clock.now()
        return now + self._upstream.skew if self._config.correct_clock else now

    async def _signature(self, request: OutboundRequest) -> Signature | Deny:
        path = canonical_path(request.path, s3=self._s3)
        refusal = find_refusal(self._config.allowed, request, path)
        if refusal is not None:
            return Deny(status=403, reason=refusal)
        payload = self._payload(request)
        if isinstance(payload, Deny):
            return payload
        try:
            credentials = await self._lease.get(request.caller)
        except CredentialsUnavailable as error:
            return Deny(status=503, reason=error.reason.value, broken=True, cause=str(error))
        wanted = SigningRequest(
            method=request.method,
            host=request.host,
            path=path,
            query=request.query or "",
            # What the client says under the names of the signature's own headers is not signed: see OWN_HEADERS.
            headers=signable_headers(request.headers.items()),
            payload_hash=payload,
        )
        service, now = self._config.service, self._now()
        if self._config.region_set:
            regions = self._config.region_set
            return sign_v4a(wanted, credentials, region_set=regions, service=service, now=now, keys=self._key_pairs)
        region = self._config.region
        return sign_v4(wanted, credentials, region=region, service=service, now=now, keys=self._keys)

    def _payload(self, request: OutboundRequest) -> str | Deny:
        """The payload hash, or the marker in its place; or why there can be none."""
        declared = request.headers.get("x-amz-content-sha256", "")
        framed = "aws-chunked" in request.headers.get("content-encoding", "").lower()
        if not _DECLARATION.fullmatch(declared) or (framed and not declared.startswith("STREAMING-")):
            # Not to be guessed at: chunks that nobody announces would be stored, frames and all.
            return Deny(status=400, reason="payload_declaration_unknown", body=_DECLARATION_UNKNOWN)
        declared = declared.lower() if _HEX.fullmatch(declared.lower()) else declared
        if declared.startswith("STREAMING-"):
            if declared != STREAMING_UNSIGNED_TRAILER:
                # Its chunks carry signatures of a key that the service does not know: it would store them as content.
                return Deny(status=400, reason="chunk_signatures_refused", body=_CHUNKS_SIGNED)
            return self._uncovered(request, declared)
        if takes_only_unsigned(self._config.service):
            return self._uncovered(request, UNSIGNED_PAYLOAD)
        if not request.length and not request.chunked and not request.body:
            return EMPTY_HASH
        if request.length is None:
            return Deny(status=411, reason="length_required", body=_LENGTH_NEEDED)
        if self._config.payload == "UNSIGNED":
            return self._uncovered(request, UNSIGNED_PAYLOAD)
        if request.body is not None and request.body_complete:
            return sha256(request.body).hexdigest()
        if self._config.payload == "AUTO" and _HEX.fullmatch(declared):
            # The service compares it with the body, so the client's word need not be trusted.
            return declared
        if self._config.payload == "SIGNED":
            return self._too_large("Bodies are signed here")
        if declared != UNSIGNED_PAYLOAD and not takes_unsigned(self._config.service):
            # Sent uncovered, it would come back as a wrong signature, which says nothing to anybody.
            return self._too_large(f"{self._config.service} wants signed bodies")
        return self._uncovered(request, UNSIGNED_PAYLOAD)

    def _too_large(self, why: str) -> Deny:
        text = f"{why}, up to {self._config.body_limit} bytes (`bodyLimit`); this one is larger.\n"
        return Deny(status=413, reason="payload_too_large", body=text)

    def _uncovered(self, request: OutboundRequest, marker: str) -> str | Deny:
        if self._config.payload == "SIGNED":
            return Deny(
                status=400, reason="payload_not_signed", body="Bodies are signed here: send no unsigned upload.\n"
            )
        if not request.tls and not self._config.unsigned_over_plain:
            text = "An unsigned body goes out over TLS only; set `unsignedOverPlain` where that is meant otherwise.\n"
            return Deny(status=500, reason="unsigned_payload_over_plain", body=text, broken=True)
        return marker


def find_refusal(allowed: Allowed, request: OutboundRequest, path: str) -> str | None:
    """Why the author has not allowed this, as a reason; `path` is the one that will be sent."""
    if allowed.methods is not None and request.method.upper() not in allowed.methods:
        return "method_not_allowed"
    if not _is_below(path, allowed.path_prefixes):
        return "path_not_allowed"
    if request.query:
        names = query_names(request.query)
        if not names.isdisjoint(PRESIGNED):
            # Two signatures on one request: the service would refuse it, or believe the client's.
            return "presigned_query_refused"
        if allowed.query is not None and not names.issubset(allowed.query):
            return "query_not_allowed"
    for name in request.headers:
        if name.startswith(_PREFIX) and name not in _REPLACED and not _is_listed(name, allowed.headers):
            return "header_not_allowed"
    # After all the others, since headers come in any order, and the reason is to be always the same.
    source = request.headers.get(COPY_SOURCE)
    if source is not None and not _may_copy(source, allowed, request.host):
        return "copy_source_not_allowed"
    return None


def _is_below(path: str, prefixes: tuple[str, ...]) -> bool:
    if not prefixes:
        return True
    # To a server that resolves dots, a path with them leads elsewhere than its first letters say.
    if any(segment in (".", "..") for segment in path.split("/")):
        return False
    return any(path.startswith(prefix) for prefix in prefixes)


def _is_listed(name: str, listed: tuple[str, ...] | None) -> bool:
    if listed is None:
        return True
    return any(name == each or (each.endswith("*") and name.startswith(each[:-1])) for each in listed)


def _may_copy(source: str, allowed: Allowed, host: str) -> bool:
    """Whether an object may be read by copying it: only what could be read directly, unless the author lists more."""
    if "," in source:
        # Two headers come joined by a comma, and which of them a store believes is its own affair.
        return False
    path = canonical_path("/" + source.partition("?")[0].lstrip("/"), s3=True)
    if allowed.copy_sources is not None:
        return _is_below(path, tuple("/" + each.lstrip("/") for each in allowed.copy_sources)) and bool(
            allowed.copy_sources
        )
    bucket = _AWS_BUCKET.match(host)
    base = f"/{bucket[1]}" if bucket is not None else ""
    return _is_below(path, tuple(base + prefix for prefix in allowed.path_prefixes or ("/",)))


KIND = IntegrationKind(
    name="awsSigV4",
    spec=AwsSigV4Spec,
    config=AwsSigV4Config,
    compile_integration=compile_with_native,
    start_integration=AwsSigV4Signer,
    refusals=_REFUSALS,
)
