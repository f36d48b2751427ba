"""awsSigV4 as people write it, and what it compiles to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from apostille.integrations.aws_credentials import CredentialsSpec, compile_credentials
from apostille.sdk import (
    CompiledIntegration,
    NotEmpty,
    Problem,
    ProtoEnum,
    Reason,
    Source,
    Spec,
    StepScope,
    Text,
    is_s3,
    source_title,
    takes_only_unsigned,
)

_MEBIBYTE = 1024 * 1024
# A part of the scope that is signed: there it is separated by slashes.
_ScopePart = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")]
_RegionPattern = Annotated[str, Field(pattern=r"^[a-z0-9*-]+$")]


class Algorithm(ProtoEnum):
    """SIGV4 is good for one region. SIGV4A is asymmetric and good for a set of them."""

    SIGV4 = 0
    SIGV4A = 1


class Payload(ProtoEnum):
    """How the body takes part in the signature."""

    AUTO = 0
    SIGNED = 1
    UNSIGNED = 2


class AllowSpec(Spec):
    """What callers may ask for. `path_prefixes`: of the path after rewriting, as it is sent.

    `query`: names of query parameters besides those of plain reads. `headers`: names of ``x-amz-`` headers, with a
    ``*`` at the end for all that begin so. `copy_sources`: ``bucket/prefix`` that ``x-amz-copy-source`` may name; by
    default what `path_prefixes` allow.
    """

    methods: tuple[Text, ...] | None = None
    path_prefixes: tuple[Annotated[str, Field(pattern="^/")], ...] = ()
    query: tuple[Text, ...] = ()
    headers: tuple[Text, ...] = ()
    copy_sources: tuple[Text, ...] | None = None


class AwsSigV4Spec(Spec):
    """`body_limit`: bytes of a body that are held back to be hashed. `unsigned_over_plain`: an unsigned body may go out
    without TLS, where anybody on the way can change it. `correct_clock`: requests are dated by the service's clock, as
    its answers tell it, should ours be off. `region_set`: where a SIGV4A signature is good, such as
    ``eu-*``."""

    service: _ScopePart
    region: _ScopePart
    algorithm: Algorithm = Algorithm.SIGV4
    region_set: Annotated[tuple[_RegionPattern, ...], NotEmpty] | None = None
    payload: Payload = Payload.AUTO
    body_limit: Annotated[int, Field(ge=1024, le=64 * _MEBIBYTE)] = _MEBIBYTE
    unsigned_over_plain: bool = False
    correct_clock: bool = False
    credentials: CredentialsSpec
    allow: AllowSpec = AllowSpec()


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """`methods` in upper case, None: all. `query` in lower case, None: all. `headers` as in `AllowSpec`, None: all."""

    methods: tuple[str, ...] | None
    path_prefixes: tuple[str, ...]
    query: tuple[str, ...] | None
    headers: tuple[str, ...] | None
    copy_sources: tuple[str, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsSigV4Config:
    """`payload` is the name of a `Payload`. `region_set`: empty for SIGV4, what a SIGV4A signature is good for."""

    service: str
    region: str
    payload: str
    body_limit: int
    unsigned_over_plain: bool
    correct_clock: bool
    source: Source = field(repr=False)
    allowed: Allowed
    region_set: tuple[str, ...] = ()


# Of S3's query parameters, those of reading and listing objects; none of them reaches a policy, an ACL or an upload.
_S3_READS = (
    "continuation-token", "delimiter", "encoding-type", "fetch-owner", "list-type", "marker", "max-keys", "partnumber",
    "prefix", "start-after", "x-id",
)  # fmt: skip
# Harmless companions of SDK requests: checksums, framing, and what the SDK is called.
_S3_HEADERS = (
    "x-amz-checksum-algorithm", "x-amz-checksum-crc32", "x-amz-checksum-crc32c", "x-amz-checksum-crc64nvme",
    "x-amz-checksum-mode", "x-amz-checksum-sha1", "x-amz-checksum-sha256", "x-amz-checksum-type",
    "x-amz-sdk-checksum-algorithm", "x-amz-decoded-content-length", "x-amz-trailer",
    "x-amz-user-agent", "x-amz-request-payer", "x-amz-expected-bucket-owner", "x-amz-id-2",
)  # fmt: skip
# In this the client says what its body is: then there is nothing to hash, and what is no such word is refused.
_DECLARED = "x-amz-content-sha256"
_S3_METHODS = ("GET", "HEAD")
COPY_SOURCE = "x-amz-copy-source"
# In a query they are a signature of the client's. No policy can allow them.
PRESIGNED = ("x-amz-signature", "x-amz-algorithm", "x-amz-credential")


def compile_aws_sigv4(spec: AwsSigV4Spec, scope: StepScope) -> CompiledIntegration | list[Problem]:
    problems = _find_problems(spec)
    source = compile_credentials(spec.credentials, scope, spec.region)
    if isinstance(source, list):
        return [*problems, *source]
    if problems:
        return problems
    s3 = is_s3(spec.service)
    config = AwsSigV4Config(
        service=spec.service,
        region=spec.region,
        payload=spec.payload.name,
        body_limit=spec.body_limit,
        unsigned_over_plain=spec.unsigned_over_plain,
        correct_clock=spec.correct_clock,
        source=source,
        allowed=_compile_allowed(spec.allow, s3=s3),
        region_set=spec.region_set or (),
    )
    return CompiledIntegration(
        config=config,
        raw_path=s3,
        body_limit=_limit_body(spec),
        unread=_find_unread(spec),
        summary=_summarise(config, spec.allow),
    )


def _limit_body(spec: AwsSigV4Spec) -> int | None:
    """In bytes. A single one tells a body whose length nobody has told."""
    if takes_only_unsigned(spec.service):
        return None
    return 1 if spec.payload is Payload.UNSIGNED else spec.body_limit


def _find_unread(spec: AwsSigV4Spec) -> tuple[str, ...]:
    """Without a length only the body itself says whether there is one: an upload in chunks is refused, not signed as a
    request without a body."""
    if spec.payload is Payload.SIGNED or takes_only_unsigned(spec.service):
        return ()
    return ("content-length",) if spec.payload is Payload.UNSIGNED else ("content-length", _DECLARED)


def _find_problems(spec: AwsSigV4Spec) -> list[Problem]:
    """What does not fit together; each field by itself is sound."""
    problems = []
    if spec.algorithm is Algorithm.SIGV4A and spec.region_set is None:
        text = 'A SIGV4A signature is good for a set of regions; write it, such as ["eu-west-1"] or ["*"] for all.'
        problems.append(Problem(at=("regionSet",), reason=Reason.MISSING_FIELD, message=text))
    if spec.algorithm is Algorithm.SIGV4 and spec.region_set is not None:
        text = "Only SIGV4A knows sets of regions; write `algorithm: SIGV4A`, or leave `regionSet` out."
        problems.append(Problem(at=("regionSet",), reason=Reason.CONFLICT, message=text))
    if spec.payload is Payload.SIGNED and takes_only_unsigned(spec.service):
        text = f"{spec.service} cannot check the hash of a body; write AUTO or UNSIGNED."
        problems.append(Problem(at=("payload",), reason=Reason.CONFLICT, message=text))
    return problems


def _summarise(config: AwsSigV4Config, allow: AllowSpec) -> tuple[str, ...]:
    """What callers may do with these credentials, for whoever reads `check`. The defaults are told apart from what the
    author wrote, because nobody wrote them."""
    allowed, s3 = config.allowed, is_s3(config.service)
    where = f"the regions {', '.join(config.region_set)}" if config.region_set else config.region
    lines = [f"signs for {config.service} in {where} with: {source_title(config.source)}"]
    if not s3 and allow == AllowSpec():
        return (*lines, "callers may send everything; IAM has the last word")
    methods = "all" if allowed.methods is None else ", ".join(allowed.methods)
    query = _listed("all", _S3_READS if s3 else (), allow.query, of="those of reading and listing")
    headers = _listed("all", _S3_HEADERS if s3 else (), allow.headers, of="those of SDKs")
    return (
        *lines,
        f"methods: {methods}{' (the default)' if s3 and allow.methods is None else ''}",
        f"paths: {', '.join(f'{prefix}*' for prefix in allowed.path_prefixes) or 'all'}",
        f"query parameters: {query}",
        f"x-amz- headers: {headers}",
        *((f"copy sources: {_copy_sources(allowed)}",) if s3 else ()),
        "everything else is refused with 403 before it is signed"
        if s3
        else "everything else is refused with 403 before it is signed; of the rest IAM has the last word",
    )


def _listed(everything: str, default: tuple[str, ...], added: tuple[str, ...], *, of: str) -> str:
    if not default:
        return ", ".join(added) or everything
    text = f"{of} (the default: {', '.join(default)})"
    return f"{text}, and {', '.join(added)}" if added else text


def _copy_sources(allowed: Allowed) -> str:
    patterns = allowed.headers if allowed.headers is not None else (COPY_SOURCE,)
    looked_at = any(p == COPY_SOURCE or (p.endswith("*") and COPY_SOURCE.startswith(p[:-1])) for p in patterns)
    if not looked_at:
        return f"none, since {COPY_SOURCE} is not allowed"
    if allowed.copy_sources is not None:
        return ", ".join(f"{prefix}*" for prefix in allowed.copy_sources) or "none"
    return "the same bucket, below the same paths"


def _compile_allowed(allow: AllowSpec, *, s3: bool) -> Allowed:
    """S3 allows reads and what the author adds. Other services have no common notion of a read: there everything that
    the author does not narrow is allowed, and IAM has the last word."""
    methods = allow.methods if allow.methods is not None else _S3_METHODS if s3 else None
    query = (*_S3_READS, *allow.query) if s3 else (allow.query or None)
    headers = (*_S3_HEADERS, *allow.headers) if s3 else (allow.headers or None)
    return Allowed(
        methods=None if methods is None else tuple(sorted({method.upper() for method in methods})),
        path_prefixes=allow.path_prefixes,
        query=None if query is None else tuple(sorted({name.lower() for name in query})),
        headers=None if headers is None else tuple(sorted({name.lower() for name in headers})),
        copy_sources=allow.copy_sources,
    )
