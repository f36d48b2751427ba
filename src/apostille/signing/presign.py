"""AWS Signature Version 4 in its query form: a link that works by itself until it expires.

Source: "Authenticating Requests: Using Query Parameters" in the Amazon S3 API Reference.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from apostille.signing import canonical
from apostille.signing.sigv4 import (
    ALGORITHM,
    UNSIGNED_PAYLOAD,
    Credentials,
    Request,
    SigningKeys,
    amz_date,
    given_headers,
    sign_text,
    signed_input,
    string_to_sign,
)

LONGEST = timedelta(days=7)

# What makes a query a signed one: Signature Version 4 and 4A, and Version 2 of old SDKs.
_SIGNING_NAMES = frozenset(
    {
        "awsaccesskeyid",
        "signature",
        "x-amz-algorithm",
        "x-amz-credential",
        "x-amz-date",
        "x-amz-expires",
        "x-amz-region-set",
        "x-amz-security-token",
        "x-amz-signature",
        "x-amz-signedheaders",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Presigned:
    """A link is a credential: nothing that is enough to use it shows. `target` is the path and query to use."""

    target: str = field(repr=False)
    canonical_request: str = field(repr=False)
    string_to_sign: str
    signed_headers: str
    signature: str = field(repr=False)


def signing_names(query: str | bytes) -> tuple[str, ...]:
    """The names, in lower case, by which a query already carries a signature of any version or a part of one.

    The services refuse a request that is signed in two ways, so whoever signs one refuses or removes these first.
    """
    return tuple(sorted(canonical.query_names(query) & _SIGNING_NAMES)) if query else ()


def presign(
    request: Request,
    credentials: Credentials,
    *,
    region: str,
    service: str,
    now: datetime,
    expires: timedelta,
    keys: SigningKeys | None = None,
) -> Presigned:
    """Sign `request` into its query. The user of the link must send the same method, host and signed headers.

    With S3 the body is never covered; with other services `payload_hash` is. `expires` counts in whole seconds, at most
    a week; with temporary credentials the link ends with them, if that is sooner.

    Raises ValueError as `sign` does, when `expires` is out of range, and when the query is signed already.
    """
    seconds = expires // timedelta(seconds=1)
    if seconds < 1 or expires > LONGEST:
        raise ValueError("a presigned link expires after 1 second to 7 days")
    if carried := signing_names(request.query):
        raise ValueError(f"the query is signed already, by {', '.join(carried)}; remove these to sign it again")
    stamp = amz_date(now)
    key, scope = (SigningKeys() if keys is None else keys).get(credentials, stamp[:8], region, service)
    _, names = canonical.canonical_headers(given_headers(request), (("host", request.host),))
    parameters = {
        "X-Amz-Algorithm": ALGORITHM,
        "X-Amz-Credential": f"{credentials.access_key}/{scope}",
        "X-Amz-Date": stamp,
        "X-Amz-Expires": str(seconds),
        "X-Amz-SignedHeaders": names,
    }
    if credentials.session_token is not None:
        parameters["X-Amz-Security-Token"] = credentials.session_token.reveal()
    s3 = canonical.is_s3(service)
    carried_on = canonical.wire_query(request.query, s3=s3)
    added = "&".join([f"{name}={canonical.encode_value(text)}" for name, text in parameters.items()])
    query = f"{carried_on}&{added}" if carried_on else added
    payload = UNSIGNED_PAYLOAD if s3 else request.payload_hash
    target, canonical_request, names = signed_input(replace(request, query=query, payload_hash=payload), service, [])
    text = string_to_sign(ALGORITHM, stamp, scope, canonical_request)
    signature = sign_text(key, text)
    return Presigned(
        target=f"{target}&X-Amz-Signature={signature}",
        canonical_request=canonical_request,
        string_to_sign=text,
        signed_headers=names,
        signature=signature,
    )
