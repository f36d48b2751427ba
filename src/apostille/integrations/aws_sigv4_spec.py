"""awsSigV4 as people write it, and what it compiles to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated

from pydantic import Field

from apostille.sdk import (
    AssumeRoleSource,
    Choice,
    CompiledIntegration,
    ContainerSource,
    DefaultSource,
    Duration,
    EnvironmentSource,
    InstanceSource,
    Problem,
    ProfileSource,
    ProtoEnum,
    Reason,
    Ruled,
    SecretText,
    Source,
    Spec,
    StaticSource,
    StepScope,
    Text,
    WebIdentitySource,
    is_s3,
)

_MEBIBYTE = 1024 * 1024
_ROLE = r"^arn:[a-z0-9-]+:iam::[0-9]{12}:role/.+$"


class Payload(ProtoEnum):
    """How the body takes part in the signature."""

    AUTO = 0
    SIGNED = 1
    UNSIGNED = 2


class SecretRef(Spec):
    name: Text
    namespace: str | None = None


class Profile(Spec):
    name: Text
    config_file: Text | None = None
    credentials_file: Text | None = None


class WebIdentity(Spec):
    role_arn: Annotated[str, Field(pattern=_ROLE)]
    token_file: Text
    session_name: Text | None = None
    sts_endpoint: Text | None = None


class Nothing(Spec):
    pass


class BaseCredentials(Ruled):
    """One source of credentials; never a list to try one after the other."""

    choices = (
        Choice(
            ("secretRef", "environment", "profile", "webIdentity", "container", "instance", "default"), required=True
        ),
    )

    secret_ref: SecretRef | None = None
    environment: Nothing | None = None
    profile: Profile | None = None
    web_identity: WebIdentity | None = None
    container: Nothing | None = None
    instance: Nothing | None = None
    default: Nothing | None = None


class AssumeRole(Spec):
    """``{consumer}`` in `session_name` and in the values of `tags` stands for the name of who is calling."""

    role_arn: Annotated[str, Field(pattern=_ROLE)]
    base: BaseCredentials
    session_name: Text = "apostille"
    external_id: Text | None = None
    duration: Duration = timedelta(hours=1)
    tags: Mapping[str, str] = Field(default_factory=dict)
    session_policy: Mapping[str, object] | None = None
    sts_endpoint: Text | None = None


class CredentialsSpec(BaseCredentials):
    choices = (
        Choice(
            ("secretRef", "environment", "profile", "webIdentity", "container", "instance", "default", "assumeRole"),
            required=True,
        ),
    )

    assume_role: AssumeRole | None = None


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
    without TLS, where anybody on the way can change it."""

    service: Text
    region: Text
    payload: Payload = Payload.AUTO
    body_limit: Annotated[int, Field(ge=1024, le=64 * _MEBIBYTE)] = _MEBIBYTE
    unsigned_over_plain: bool = False
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
    """`payload` is the name of a `Payload`."""

    service: str
    region: str
    payload: str
    body_limit: int
    unsigned_over_plain: bool
    source: Source = field(repr=False)
    allowed: Allowed


# Of S3's query parameters, those of reading and listing objects; none of them reaches a policy, an ACL or an upload.
_S3_READS = (
    "continuation-token", "delimiter", "encoding-type", "fetch-owner", "list-type", "marker", "max-keys", "partnumber",
    "prefix", "start-after", "x-id",
)  # fmt: skip
# Harmless companions of SDK requests: checksums, framing, and what the SDK is called.
_S3_HEADERS = (
    "x-amz-checksum-*", "x-amz-sdk-checksum-algorithm", "x-amz-decoded-content-length", "x-amz-trailer",
    "x-amz-user-agent", "x-amz-request-payer", "x-amz-expected-bucket-owner", "x-amz-id-2",
)  # fmt: skip
# With one of these the client has said what its body is: there is nothing to hash.
_DECLARED = "[0-9a-f]{64}|STREAMING-.*|UNSIGNED-PAYLOAD"
_S3_METHODS = ("GET", "HEAD")


def compile_aws_sigv4(spec: AwsSigV4Spec, scope: StepScope) -> CompiledIntegration | list[Problem]:
    source = _compile_credentials(spec.credentials, scope, spec.region)
    if isinstance(source, list):
        return source
    s3 = is_s3(spec.service)
    config = AwsSigV4Config(
        service=spec.service,
        region=spec.region,
        payload=spec.payload.name,
        body_limit=spec.body_limit,
        unsigned_over_plain=spec.unsigned_over_plain,
        source=source,
        allowed=_compile_allowed(spec.allow, s3=s3),
    )
    return CompiledIntegration(
        config=config,
        raw_path=s3,
        body_limit=None if spec.payload is Payload.UNSIGNED else spec.body_limit,
        unread=("x-amz-content-sha256", _DECLARED) if spec.payload is Payload.AUTO else None,
    )


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


def _compile_credentials(spec: CredentialsSpec, scope: StepScope, region: str) -> Source | list[Problem]:
    role = spec.assume_role
    if role is None:
        return _compile_base(spec, scope, region, ("credentials",))
    base = _compile_base(role.base, scope, region, ("credentials", "assumeRole", "base"))
    if isinstance(base, list):
        return base
    return AssumeRoleSource(
        base=base,
        role_arn=role.role_arn,
        session_name=role.session_name,
        external_id=role.external_id,
        duration_seconds=int(role.duration.total_seconds()),
        tags=tuple(sorted(role.tags.items())),
        session_policy=None if role.session_policy is None else json.dumps(role.session_policy, sort_keys=True),
        region=region,
        sts_endpoint=role.sts_endpoint,
    )


def _compile_base(spec: BaseCredentials, scope: StepScope, region: str, at: tuple[str, ...]) -> Source | list[Problem]:
    if spec.secret_ref is not None:
        return _compile_secret(spec.secret_ref, scope, (*at, "secretRef"))
    if spec.profile is not None:
        return ProfileSource(
            profile=spec.profile.name,
            config_file=spec.profile.config_file,
            credentials_file=spec.profile.credentials_file,
            region=region,
        )
    if spec.web_identity is not None:
        return WebIdentitySource(
            role_arn=spec.web_identity.role_arn,
            token_file=spec.web_identity.token_file,
            session_name=spec.web_identity.session_name,
            region=region,
            sts_endpoint=spec.web_identity.sts_endpoint,
        )
    if spec.environment is not None:
        return EnvironmentSource()
    if spec.container is not None:
        return ContainerSource()
    return InstanceSource() if spec.instance is not None else DefaultSource()


# The usual spellings of one entry, the first that is there counts.
_ACCESS_KEYS = ("aws_access_key_id", "AWS_ACCESS_KEY_ID", "accessKeyId", "access_key_id", "access-key-id", "accessKey")
_SECRET_KEYS = (
    "aws_secret_access_key", "AWS_SECRET_ACCESS_KEY", "secretAccessKey", "secret_access_key", "secret-access-key",
    "secretKey",
)  # fmt: skip
_SESSION_TOKENS = ("aws_session_token", "AWS_SESSION_TOKEN", "sessionToken", "session_token", "session-token")


def _compile_secret(ref: SecretRef, scope: StepScope, at: tuple[str, ...]) -> Source | list[Problem]:
    namespace = ref.namespace or scope.namespace
    secret = scope.secret(namespace, ref.name)
    if secret is None:
        text = f"There is no Secret {namespace}/{ref.name} that could be used; write it, or mend the reference."
        return [Problem(at=at, reason=Reason.REFERENCE_NOT_FOUND, message=text)]
    access_key = _entry(secret.data, _ACCESS_KEYS)
    secret_key = _entry(secret.data, _SECRET_KEYS)
    if access_key is None or secret_key is None:
        text = f"Secret {namespace}/{ref.name} needs the entries `aws_access_key_id` and `aws_secret_access_key`."
        return [Problem(at=at, reason=Reason.SECRET_UNUSABLE, message=text)]
    return StaticSource(
        access_key=access_key.reveal(), secret_key=secret_key, session_token=_entry(secret.data, _SESSION_TOKENS)
    )


def _entry(data: Mapping[str, SecretText], names: tuple[str, ...]) -> SecretText | None:
    """Without white space around it: a line feed at the end of a file is part of no key."""
    found = next((data[name] for name in names if name in data), None)
    text = found.reveal().strip() if found is not None else ""
    return SecretText(text) if text else None
