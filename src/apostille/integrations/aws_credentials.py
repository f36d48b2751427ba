"""Where the AWS credentials of a policy come from, as people write it, and what it compiles to.

One source is one identity. Whatever can be seen to be no credential is refused here, before a request needs it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field

from apostille.sdk import (
    AssumeRoleSource,
    Choice,
    ContainerSource,
    DefaultSource,
    Duration,
    EnvironmentSource,
    InstanceSource,
    Problem,
    ProfileSource,
    Reason,
    Ruled,
    SecretText,
    Source,
    Spec,
    StaticSource,
    StepScope,
    Text,
    WebIdentitySource,
    placeholder_faults,
)

_ROLE = r"^arn:[a-z0-9-]+:iam::[0-9]{12}:role/.+$"


class AwsSecretRef(Spec):
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

    secret_ref: AwsSecretRef | None = None
    environment: Nothing | None = None
    profile: Profile | None = None
    web_identity: WebIdentity | None = None
    container: Nothing | None = None
    instance: Nothing | None = None
    default: Nothing | None = None


class AssumeRole(Spec):
    """In `session_name` and in the values of `tags`, ``{consumer}`` stands for the name of who is calling, ``{key}``
    for what stands for their key in logs, ``{metadata.NAME}`` for an entry of the key's metadata."""

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


def compile_credentials(spec: CredentialsSpec, scope: StepScope, region: str) -> Source | list[Problem]:
    """`region`: whose STS is asked for a role, unless an endpoint is written. Problems begin at ``credentials``."""
    role = spec.assume_role
    if role is None:
        return _compile_base(spec, scope, region, ("credentials",))
    at = ("credentials", "assumeRole")
    base = _compile_base(role.base, scope, region, (*at, "base"))
    problems = [
        *(base if isinstance(base, list) else ()),
        *_placeholder_problems(role, at),
        *_endpoint_problems(role.sts_endpoint, at),
    ]
    if isinstance(base, list) or problems:
        return problems
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


def _placeholder_problems(role: AssumeRole, at: tuple[str, ...]) -> list[Problem]:
    """Left as it is, a misspelt one would give all callers one session."""
    texts = [((*at, "sessionName"), role.session_name)]
    texts += [((*at, "tags", name), value) for name, value in sorted(role.tags.items())]
    return [
        Problem(at=place, reason=Reason.INVALID_VALUE, message=fault)
        for place, text in texts
        for fault in placeholder_faults(text)
    ]


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
        problems = _endpoint_problems(spec.web_identity.sts_endpoint, (*at, "webIdentity"))
        if problems:
            return problems
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


def _compile_secret(ref: AwsSecretRef, scope: StepScope, at: tuple[str, ...]) -> Source | list[Problem]:
    namespace = ref.namespace or scope.namespace
    secret = scope.secret(namespace, ref.name)
    if secret is None:
        text = f"There is no Secret {namespace}/{ref.name} that could be used; write it, or mend the reference."
        return [Problem(at=at, reason=Reason.REFERENCE_NOT_FOUND, message=text)]
    entries = [_entry(secret.data, names) for names in (_ACCESS_KEYS, _SECRET_KEYS, _SESSION_TOKENS)]
    wrong = [trouble for found in entries if (trouble := _trouble(found)) is not None]
    if wrong:
        text = f"Secret {namespace}/{ref.name} has no AWS keys: {'; '.join(wrong)}. Write them as AWS gave them."
        return [Problem(at=at, reason=Reason.SECRET_UNUSABLE, message=text)]
    access_key, secret_key, token = (found.value for found in entries)
    if access_key is None or secret_key is None:
        text = f"Secret {namespace}/{ref.name} needs the entries `aws_access_key_id` and `aws_secret_access_key`."
        return [Problem(at=at, reason=Reason.SECRET_UNUSABLE, message=text)]
    return StaticSource(access_key=access_key.reveal(), secret_key=secret_key, session_token=token)


# What can stand in a header and in the scope of a signature; keys and tokens of AWS are narrower still.
_KEY = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """`name` as in the Secret. `value` of None: not there, or (a session token) empty."""

    name: str
    value: SecretText | None


def _entry(data: Mapping[str, SecretText], names: tuple[str, ...]) -> _Entry:
    """Without white space around it: a line feed at the end of a file is part of no key."""
    name = next((name for name in names if name in data), "")
    text = data[name].reveal().strip() if name else ""
    # No session token is often written as an empty one.
    absent = not name or (not text and names is _SESSION_TOKENS)
    return _Entry(name=name, value=None if absent else SecretText(text))


def _trouble(entry: _Entry) -> str | None:
    """Why this can be no key, without showing any of it."""
    text = entry.value.reveal() if entry.value is not None else None
    if text is None:
        return None
    if not text:
        return f"`{entry.name}` is empty"
    if not _KEY.fullmatch(text):
        return f"`{entry.name}` holds white space, a control character or a letter beyond ASCII"
    if entry.name in _ACCESS_KEYS and "," in text:
        return f"`{entry.name}` holds a comma"
    return None


def _endpoint_problems(url: str | None, at: tuple[str, ...]) -> list[Problem]:
    """STS hands out the credentials themselves, so nobody on the way may read its answers."""
    if url is None:
        return []
    try:
        scheme, host = urlsplit(url).scheme, urlsplit(url).hostname
    except ValueError:
        scheme, host = "", None
    if scheme not in ("http", "https") or not host:
        text = "This is no URL; write for example https://sts.eu-west-1.amazonaws.com."
        return [Problem(at=(*at, "stsEndpoint"), reason=Reason.INVALID_VALUE, message=text)]
    if scheme == "http" and not _is_loopback(host):
        text = "Credentials would come over plain http, where anybody on the way can read them; write https://."
        return [Problem(at=(*at, "stsEndpoint"), reason=Reason.UNSAFE, message=text)]
    return []


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
