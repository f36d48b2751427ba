"""Where outbound AWS credentials come from: descriptions that travel inside auth programs, and fetch nothing.

One source is one identity, never a list to try. `kind` tells the classes apart on the wire.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, assert_never

from apostille.base.secrets import SecretText
from apostille.model.caller import find_placeholders

_SHOWN_CHARACTERS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticSource:
    """The keys themselves; a change of them is a change of the source."""

    access_key: str
    secret_key: SecretText
    session_token: SecretText | None = None
    kind: Literal["static"] = "static"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentSource:
    """``AWS_ACCESS_KEY_ID`` and its companions in the environment of the process."""

    kind: Literal["environment"] = "environment"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileSource:
    """One profile of the shared AWS files, whatever that profile itself says: keys, a role, SSO, a process.

    A file that is None is where AWS's own tools look for it.
    """

    profile: str
    config_file: str | None = None
    credentials_file: str | None = None
    region: str | None = None
    kind: Literal["profile"] = "profile"


@dataclass(frozen=True, slots=True, kw_only=True)
class WebIdentitySource:
    """A role taken with a token from a file (IRSA). The file is read anew each time.

    `region` and `sts_endpoint`: as in AssumeRoleSource.
    """

    role_arn: str
    token_file: str
    session_name: str | None = None
    region: str | None = None
    sts_endpoint: str | None = None
    kind: Literal["webIdentity"] = "webIdentity"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSource:
    """EKS Pod Identity or an ECS task role: the endpoint that the container's environment names."""

    kind: Literal["container"] = "container"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceSource:
    """The role of the EC2 instance, by IMDSv2 only."""

    kind: Literal["instance"] = "instance"


@dataclass(frozen=True, slots=True, kw_only=True)
class DefaultSource:
    """botocore's whole chain of places; whichever is first is the identity. Only for who says so in so many words."""

    kind: Literal["default"] = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class AssumeRoleSource:
    """A role taken with the credentials of `base`.

    `session_name` and the values of `tags` may hold the placeholders of `caller`: then there are credentials for each
    combination of what they stand for. `session_policy` is the JSON text of an IAM policy that narrows the role.
    `sts_endpoint` is a URL, by default that of `region`, and `region` by default the one in the environment.
    """

    base: Source
    role_arn: str
    session_name: str = "apostille"
    external_id: str | None = None
    duration_seconds: int = 3600
    tags: tuple[tuple[str, str], ...] = ()
    session_policy: str | None = None
    region: str | None = None
    sts_endpoint: str | None = None
    kind: Literal["assumeRole"] = "assumeRole"


Source = (
    StaticSource
    | EnvironmentSource
    | ProfileSource
    | WebIdentitySource
    | ContainerSource
    | InstanceSource
    | DefaultSource
    | AssumeRoleSource
)


def placeholders_of(source: Source) -> tuple[str, ...]:
    """What of the caller the credentials are taken for, in a stable order: there are none without it. Empty: they are
    the same for everybody."""
    if not isinstance(source, AssumeRoleSource):
        return ()
    texts = (source.session_name, *(value for _, value in source.tags))
    own = (each for text in texts for each in find_placeholders(text))
    return tuple(sorted({*own, *placeholders_of(source.base)}))


def source_title(source: Source) -> str:
    """A short text for status, logs and metrics; it holds no secret. Different sources may have the same one."""
    match source:
        case StaticSource():
            return f"static keys …{source.access_key[-_SHOWN_CHARACTERS:]}"
        case EnvironmentSource():
            return "environment"
        case ProfileSource():
            return f"profile {source.profile}"
        case WebIdentitySource():
            return f"web identity as {source.role_arn}"
        case ContainerSource():
            return "container"
        case InstanceSource():
            return "instance"
        case DefaultSource():
            return "default chain"
        case AssumeRoleSource():
            return f"{source.role_arn} from {source_title(source.base)}"
        case _:
            assert_never(source)
