"""The twelve ways to tamper with a signed request, each by name. They change bytes and know nothing of any signer.

Seven change a request after it was signed; five are signed well, but with something that is not so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from types import MappingProxyType

MISMATCH = (403, "SignatureDoesNotMatch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A signed request as it goes on the wire; names of `headers` in lower case, the Host among them."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""

    def with_header(self, name: str, change: Callable[[str], str]) -> Signed:
        return replace(self, headers={**self.headers, name: change(self.headers[name])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Premise:
    """What a signer takes for granted; a field that is not None is wrong on purpose."""

    secret_key: str | None = None
    region: str | None = None
    service: str | None = None
    age: timedelta = timedelta()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tampering:
    """Either `change` is made to a good signature, or `premise` makes a bad one.

    `refusal`: the status and the error code of S3.
    """

    refusal: tuple[int, str] = MISMATCH
    change: Callable[[Signed], Signed] = field(default=lambda signed: signed)
    premise: Premise = Premise()


def _flip_signature(signed: Signed) -> Signed:
    return signed.with_header("authorization", lambda text: text[:-1] + ("1" if text.endswith("0") else "0"))


def _other_path(signed: Signed) -> Signed:
    path, mark, query = signed.target.partition("?")
    return replace(signed, target=f"{path}x{mark}{query}")


def _other_query(signed: Signed) -> Signed:
    path, _, query = signed.target.partition("?")
    return replace(signed, target=f"{path}?{query}&x-id=Other" if query else f"{path}?x-id=Other")


def _other_host(host: str) -> str:
    return f"other-{host}"


def _other_body(signed: Signed) -> Signed:
    """Of the same length: what is covered is the content, not only its size."""
    return replace(signed, body=bytes([signed.body[0] ^ 1]) + signed.body[1:])


TAMPERINGS: Mapping[str, Tampering] = MappingProxyType(
    {
        "flipped signature": Tampering(change=_flip_signature),
        "wrong secret": Tampering(premise=Premise(secret_key="of-somebody-else")),
        "changed path": Tampering(change=_other_path),
        "changed method": Tampering(change=lambda signed: replace(signed, method="DELETE")),
        "changed query": Tampering(change=_other_query),
        "changed host": Tampering(change=lambda signed: signed.with_header("host", _other_host)),
        "changed signed header": Tampering(change=lambda signed: signed.with_header("x-amz-meta-who", str.swapcase)),
        "changed body": Tampering(refusal=(400, "XAmzContentSHA256Mismatch"), change=_other_body),
        "clock behind by 16 minutes": Tampering(
            refusal=(403, "RequestTimeTooSkewed"), premise=Premise(age=timedelta(minutes=16))
        ),
        "clock ahead by 16 minutes": Tampering(
            refusal=(403, "RequestTimeTooSkewed"), premise=Premise(age=timedelta(minutes=-16))
        ),
        "wrong region": Tampering(refusal=(400, "AuthorizationHeaderMalformed"), premise=Premise(region="us-east-1")),
        "wrong service": Tampering(
            refusal=(400, "AuthorizationHeaderMalformed"), premise=Premise(service="execute-api")
        ),
    }
)
"""As reliability asks of a judge: it must refuse all twelve, though it takes the same request untouched."""
