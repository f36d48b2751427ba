"""AWS Signature Version 4A: asymmetric, good for a set of regions, as multi-region access points of S3 demand.

The key pair is derived from the secret access key, so both sides have it without sending it. The signature is ECDSA on
P-256 and differs each time. Source: "AWS Signature Version 4A" in the IAM User Guide; the derivation is NIST SP 800-108
in counter mode, as published in aws-c-auth.
"""

from __future__ import annotations

import hmac
from datetime import datetime
from typing import TYPE_CHECKING

from apostille.signing.sigv4 import (
    Credentials,
    Request,
    Scope,
    Signed,
    amz_date,
    amz_headers,
    authorization_header,
    signed_input,
    string_to_sign,
)

if TYPE_CHECKING:
    # Loading it takes longer than everything else here, and only few sign this way.
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

ALGORITHM = "AWS4-ECDSA-P256-SHA256"

# The order of the group of P-256, less two: a candidate up to this, plus one, is a private key.
_HIGHEST = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551 - 2


def derive_private_number(credentials: Credentials) -> int:
    """The private key that belongs to `credentials`, as a number."""
    key = f"AWS4A{credentials.secret_key.reveal()}".encode()
    label = ALGORITHM.encode() + b"\0" + credentials.access_key.encode()
    for attempt in range(1, 255):
        fixed = (1).to_bytes(4, "big") + label + attempt.to_bytes(1, "big") + (256).to_bytes(4, "big")
        candidate = int.from_bytes(hmac.digest(key, fixed, "sha256"), "big")
        if candidate <= _HIGHEST:
            return candidate + 1
    raise ValueError("no key for SigV4A can be derived from these credentials")


def derive_key_pair(credentials: Credentials) -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.derive_private_key(derive_private_number(credentials), ec.SECP256R1())


class AsymmetricKeys:
    """Derived key pairs, one for each credential. Bounded as `SigningKeys` is; its keys are hashes, never secrets."""

    __slots__ = ("_keys", "_limit")

    def __init__(self, limit: int = 64) -> None:
        self._keys: dict[bytes, EllipticCurvePrivateKey] = {}
        self._limit = limit

    def get(self, credentials: Credentials) -> EllipticCurvePrivateKey:
        if (found := self._keys.get(credentials.digest)) is not None:
            return found
        derived = derive_key_pair(credentials)
        if len(self._keys) >= self._limit:
            self._keys.clear()
        self._keys[credentials.digest] = derived
        return derived

    def __len__(self) -> int:
        return len(self._keys)


def sign(
    request: Request,
    credentials: Credentials,
    *,
    region_set: tuple[str, ...],
    service: str,
    now: datetime,
    keys: AsymmetricKeys | None = None,
    content_sha256: bool | None = None,
) -> Signed:
    """Sign `request` for every region of `region_set`, such as ``("us-east-1", "eu-*")`` or ``("*",)``.

    Otherwise as `sigv4.sign`, with the header ``x-amz-region-set`` besides.
    """
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    if not region_set:
        raise ValueError("SigV4A needs at least one region; write * for all of them")
    stamp = amz_date(now)
    for region in region_set:
        # Only looked at: no region is part of the scope.
        Scope(date=stamp[:8], region=region, service=service)
    scope = str(Scope(date=stamp[:8], region=None, service=service))
    own = [
        *amz_headers(request, credentials, service, stamp, content_sha256),
        ("x-amz-region-set", ",".join(region_set)),
    ]
    target, canonical_request, names = signed_input(request, service, own)
    text = string_to_sign(ALGORITHM, stamp, scope, canonical_request)
    key = (AsymmetricKeys() if keys is None else keys).get(credentials)
    signature = key.sign(text.encode(), ec.ECDSA(hashes.SHA256())).hex()
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
