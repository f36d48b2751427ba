"""Fetches AWS credentials from one source, with botocore. Blocking, in bounded time: for threads only.

It must not know who uses them, nor keep them. The environment is the mapping that is passed in; where botocore reads
the process environment all the same, `chains` says so.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from apostille.base.secrets import SecretText
from apostille.credentials import chains
from apostille.credentials.chains import Environ
from apostille.credentials.faults import explain_fault
from apostille.credentials.fetched import Fetched, FetchError
from apostille.model.caller import NOBODY, Caller, fill_placeholders
from apostille.model.credentials import (
    AssumeRoleSource,
    ContainerSource,
    DefaultSource,
    EnvironmentSource,
    InstanceSource,
    ProfileSource,
    Source,
    StaticSource,
    WebIdentitySource,
)
from apostille.signing.sigv4 import Credentials

if TYPE_CHECKING:
    from botocore.credentials import CredentialResolver

_SESSION_NAME = re.compile(r"[A-Za-z0-9_+=,.@-]{2,64}")
_NOT_IN_SESSION_NAME = re.compile(r"[^A-Za-z0-9_+=,.@-]")
_SESSION_NAME_LENGTH = 64
_DIGEST_DIGITS = 12
# Letters, digits and white space of any script, and these signs; \w also has the underscore.
_TAG_VALUE = re.compile(r"[\w\s.:/=+@-]{0,256}")


def fetch(source: Source, environ: Environ, caller: Caller = NOBODY) -> Fetched:
    """The credentials of this very source; never those of another one. Raises FetchError, without any secret.

    `caller` matters to a source with placeholders only.
    """
    if isinstance(source, AssumeRoleSource):
        base = fetch(source.base, environ, caller)
        return fetch_assumed(source, base.credentials, environ, caller)
    return _guard(lambda: _fetch(source, environ))


def fetch_assumed(source: AssumeRoleSource, base: Credentials, environ: Environ, caller: Caller = NOBODY) -> Fetched:
    """Takes the role with the credentials of its base. Raises FetchError, without any secret."""
    return _guard(lambda: _assume(source, base, environ, caller))


def _guard(work: Callable[[], Fetched]) -> Fetched:
    # At DEBUG botocore logs whole answers, keys included, and with its warnings the texts of foreign exceptions.
    # What there is to say is said by the FetchError.
    log = logging.getLogger("botocore")
    if log.level < logging.CRITICAL:
        log.setLevel(logging.CRITICAL)
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - botocore, a file, a program: whatever it is, it is told in our words
        text = explain_fault(error)
    # Out here, so that it does not carry the other one with it, whose text may hold a secret.
    raise FetchError(text)


def _fetch(source: Source, environ: Environ) -> Fetched:
    match source:
        case StaticSource():
            return Fetched(credentials=_credentials(source.access_key, source.secret_key, source.session_token))
        case EnvironmentSource():
            return _fetch_environment(environ)
        case ProfileSource():
            return _fetch_chain(chains.profile_chain(source, environ), f"the profile {source.profile!r}")
        case WebIdentitySource():
            return _fetch_web_identity(source, environ)
        case ContainerSource():
            return _fetch_container(environ)
        case InstanceSource():
            return _fetch_instance(environ)
        case DefaultSource():
            return _fetch_chain(chains.default_chain(environ), "botocore's default chain")
        case AssumeRoleSource():
            return fetch(source, environ)
        case _:
            assert_never(source)


def _fetch_environment(environ: Environ) -> Fetched:
    expiry = environ.get("AWS_CREDENTIAL_EXPIRATION")
    token = environ.get("AWS_SESSION_TOKEN") or environ.get("AWS_SECURITY_TOKEN")
    missing = [name for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY") if not environ.get(name)]
    if missing:
        raise FetchError(f"{' and '.join(missing)} must be set in the environment of this process")
    return Fetched(
        credentials=_credentials(
            environ["AWS_ACCESS_KEY_ID"],
            SecretText(environ["AWS_SECRET_ACCESS_KEY"]),
            SecretText(token) if token else None,
        ),
        expires=_parse_expiry(expiry) if expiry else None,
    )


def _fetch_chain(chain: CredentialResolver, place: str) -> Fetched:
    found = chain.load_credentials()
    if found is None:
        raise FetchError(f"{place} has no credentials")
    frozen = found.get_frozen_credentials()
    # botocore tells the end of credentials in no public way. Absent for credentials without an end.
    expiry = getattr(found, "_expiry_time", None)
    if not frozen.access_key or not frozen.secret_key:
        raise FetchError(f"{place} has only a part of the credentials")
    return Fetched(
        credentials=_credentials(
            frozen.access_key, SecretText(frozen.secret_key), SecretText(frozen.token) if frozen.token else None
        ),
        expires=None if expiry is None else _parse_expiry(expiry),
    )


def _fetch_web_identity(source: WebIdentitySource, environ: Environ) -> Fetched:
    token = Path(source.token_file).read_text(encoding="utf-8").strip()
    client = chains.open_sts(environ, region=source.region, endpoint=source.sts_endpoint)
    try:
        answer = client.assume_role_with_web_identity(
            RoleArn=source.role_arn,
            RoleSessionName=_parse_session_name(source.session_name or "apostille"),
            WebIdentityToken=token,
        )
    finally:
        client.close()
    return _parse_answer(answer["Credentials"], "SessionToken")


def _fetch_container(environ: Environ) -> Fetched:
    fetcher = chains.container_fetcher()
    relative = environ.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
    url = fetcher.full_url(relative) if relative else environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")
    if not url:
        raise FetchError(
            "no container credentials here: neither AWS_CONTAINER_CREDENTIALS_FULL_URI (EKS Pod Identity) nor "
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI (ECS) is set; is the pod identity association or task role missing?"
        )
    file = environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
    token = Path(file).read_text(encoding="utf-8") if file else environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN")
    if token is not None and ("\r" in token or "\n" in token):
        raise FetchError("the container's authorization token holds a line break")
    answer = fetcher.retrieve_full_uri(url, headers=None if token is None else {"Authorization": token})
    return _parse_answer(answer, "Token")


def _fetch_instance(environ: Environ) -> Fetched:
    answer = chains.instance_fetcher(environ).retrieve_iam_role_credentials()
    if not answer:
        raise FetchError(
            "the instance metadata service gives no credentials: is a role attached to the instance, and may "
            "containers reach the service (hop limit 2)?"
        )
    return Fetched(
        credentials=_credentials(answer["access_key"], SecretText(answer["secret_key"]), SecretText(answer["token"])),
        expires=_parse_expiry(answer["expiry_time"]),
    )


def _assume(source: AssumeRoleSource, base: Credentials, environ: Environ, caller: Caller) -> Fetched:
    request: dict[str, object] = {
        "RoleArn": source.role_arn,
        "RoleSessionName": _parse_session_name(_fill(source.session_name, caller)),
        "DurationSeconds": source.duration_seconds,
        "ExternalId": source.external_id,
        "Policy": source.session_policy,
        "Tags": [{"Key": key, "Value": _parse_tag(key, _fill(value, caller))} for key, value in source.tags],
    }
    token = base.session_token
    client = chains.open_sts(
        environ,
        region=source.region,
        endpoint=source.sts_endpoint,
        aws_access_key_id=base.access_key,
        aws_secret_access_key=base.secret_key.reveal(),
        aws_session_token=None if token is None else token.reveal(),
    )
    try:
        answer = client.assume_role(**{name: value for name, value in request.items() if value})
    finally:
        client.close()
    return _parse_answer(answer["Credentials"], "SessionToken")


def _fill(text: str, caller: Caller) -> str:
    try:
        return fill_placeholders(text, caller)
    except LookupError as error:
        raise FetchError(str(error)) from None


def _parse_session_name(name: str) -> str:
    """As it is, if AWS takes it so; else made fit, with a digest so that two names never become one."""
    if _SESSION_NAME.fullmatch(name):
        return name
    digest = sha256(name.encode()).hexdigest()[:_DIGEST_DIGITS]
    kept = _NOT_IN_SESSION_NAME.sub("-", name)[: _SESSION_NAME_LENGTH - _DIGEST_DIGITS - 1]
    return f"{kept}-{digest}"


def _parse_tag(key: str, value: str) -> str:
    """Unlike a session name never changed: policies decide by it."""
    if not _TAG_VALUE.fullmatch(value):
        raise FetchError(f"the value of the tag {key!r} has a character that AWS does not allow, or is too long")
    return value


def _parse_answer(answer: Mapping[str, object], token: str) -> Fetched:
    names = ("AccessKeyId", "SecretAccessKey", token)
    access_key, secret_key, session_token = (answer.get(name) for name in names)
    if not (isinstance(access_key, str) and isinstance(secret_key, str) and isinstance(session_token, str)):
        raise FetchError(f"the answer holds no credentials: {', '.join(names)} are wanted")
    return Fetched(
        credentials=_credentials(access_key, SecretText(secret_key), SecretText(session_token)),
        expires=_parse_expiry(answer.get("Expiration")),
    )


def _credentials(access_key: str, secret_key: SecretText, session_token: SecretText | None) -> Credentials:
    try:
        return Credentials(access_key=access_key, secret_key=secret_key, session_token=session_token)
    except ValueError as error:
        # Its text is ours and without the value.
        raise FetchError(str(error)) from None


def _parse_expiry(value: object) -> datetime:
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        raise FetchError("the source gives the end of its credentials in no form of ISO 8601") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
