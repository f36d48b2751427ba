"""botocore's own providers, put together so that nothing but the named source is looked at, and nothing takes forever.

botocore itself reads the process environment for proxies, CA bundles and, in its default chain, for web identity;
everything else comes from the mapping that is passed in. Blocking: for threads only.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from apostille.credentials.fetched import FetchError
from apostille.model.credentials import ProfileSource

if TYPE_CHECKING:
    from botocore.client import BaseClient
    from botocore.credentials import (
        AssumeRoleProvider,
        CanonicalNameCredentialSourcer,
        ContainerProvider,
        CredentialProvider,
        CredentialResolver,
        InstanceMetadataProvider,
        ProfileProviderBuilder,
    )
    from botocore.loaders import Loader
    from botocore.session import Session
    from botocore.utils import ContainerMetadataFetcher, InstanceMetadataFetcher

Environ = Mapping[str, str]

# Seconds. All of them together stay below what a keeper waits for one attempt.
_CONNECT_TIMEOUT = 2
_READ_TIMEOUT = 5
_ATTEMPTS = 2
_PROCESS_TIMEOUT = 10
_METADATA_TIMEOUT = 2

# botocore prolongs, by its own clock, what IMDS says about the end of credentials that are about to end. This window
# keeps it from doing so: whether credentials are still good is for the keeper to say.
_NO_PROLONGING = -(10**9)

_FILE_VARIABLES = ("profile", "config_file", "credentials_file")


# Any: botocore makes the methods of a client from a description of the service.
def open_sts(environ: Environ, *, region: str | None, endpoint: str | None, **keys: Any) -> Any:
    """A client for STS that reads no AWS file and takes no other identity. Without `keys` its requests are unsigned.

    Raises FetchError when there is neither a region nor anything in the environment to tell it.
    """
    from botocore import UNSIGNED
    from botocore.config import Config

    region = region or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")
    if not region:
        raise FetchError("no region for STS: write one into the policy (region: eu-west-1), or set AWS_REGION")
    session = _open_session(environ, dict.fromkeys(("config_file", "credentials_file"), os.devnull))
    session.set_config_variable("ignore_configured_endpoint_urls", "true")
    return session.create_client(
        "sts",
        region_name=region,
        endpoint_url=endpoint or environ.get("AWS_ENDPOINT_URL_STS") or environ.get("AWS_ENDPOINT_URL"),
        config=None if keys else Config(signature_version=UNSIGNED),
        **keys,
    )


def profile_chain(source: ProfileSource, environ: Environ) -> CredentialResolver:
    """What one profile says, and nothing else. Raises FetchError when there is no such profile."""
    from botocore.credentials import CredentialResolver

    files = {"config_file": source.config_file, "credentials_file": source.credentials_file}
    named = {name: path for name, path in files.items() if path is not None}
    session = _open_session(environ, {"profile": source.profile, **_files_of(environ), **named})
    if source.profile not in session.available_profiles:
        places = " and ".join(str(session.get_config_variable(name)) for name in files)
        raise FetchError(f"there is no profile {source.profile!r} in {places}")
    builder = _profile_builder(session, source.region)
    return CredentialResolver(
        [
            _assume_role_provider(session, environ, source.profile, builder, source.region),
            # Without the environment: the process's AWS_WEB_IDENTITY_TOKEN_FILE is not the profile's identity.
            *builder.providers(source.profile, disable_env_vars=True),
        ]
    )


def default_chain(environ: Environ) -> CredentialResolver:
    """botocore's default chain, place by place, but with bounded times, no IMDSv1 and nobody asked for an MFA code."""
    from botocore.credentials import BotoProvider, CredentialResolver, EnvProvider, OriginalEC2Provider

    session = _open_session(environ, {**_files_of(environ), "profile": _profile_of(environ)})
    profile = _profile_of(environ) or "default"
    region = environ.get("AWS_REGION")
    builder = _profile_builder(session, region)
    return CredentialResolver(
        [
            EnvProvider(environ=dict(environ)),
            _assume_role_provider(session, environ, profile, builder, region),
            *builder.providers(profile),
            OriginalEC2Provider(environ=dict(environ)),
            BotoProvider(environ=dict(environ)),
            _container_provider(environ),
            _instance_provider(environ),
        ]
    )


def container_fetcher() -> ContainerMetadataFetcher:
    from botocore.utils import ContainerMetadataFetcher

    # The pause between attempts is the keeper's.
    return ContainerMetadataFetcher(sleep=lambda _seconds: None)


def instance_fetcher(environ: Environ) -> InstanceMetadataFetcher:
    """IMDSv2 only: version 1 hands a node's role to whoever can make it send one GET."""
    from botocore.utils import InstanceMetadataFetcher

    return InstanceMetadataFetcher(
        timeout=_METADATA_TIMEOUT,
        num_attempts=_ATTEMPTS,
        env=dict(environ),
        config={
            "ec2_metadata_service_endpoint": environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT"),
            "ec2_metadata_service_endpoint_mode": environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "").lower(),
            "ec2_metadata_v1_disabled": True,
            "ec2_credential_refresh_window": _NO_PROLONGING,
        },
    )


def _open_session(environ: Environ, variables: Mapping[str, str | None]) -> Session:
    """A botocore session whose settings come from `variables` and `environ`, not from the process environment."""
    from botocore.config import Config
    from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES as KNOWN
    from botocore.session import Session

    # Without the names of the environment variables botocore does not look there.
    forms = {name: (form[0], None, *form[2:]) for name, form in KNOWN.items()}
    forms["profile"] = (None, None, variables.get("profile"), None)
    session = Session(session_vars=forms)
    session.register_component("data_loader", _open_loader())
    for name, form in KNOWN.items():
        if name not in _FILE_VARIABLES and isinstance(form[1], str) and form[1] in environ:
            session.set_config_variable(name, environ[form[1]])
    for name in ("config_file", "credentials_file"):
        if variables.get(name) is not None:
            session.set_config_variable(name, variables[name])
    session.set_default_client_config(
        Config(
            connect_timeout=_CONNECT_TIMEOUT,
            read_timeout=_READ_TIMEOUT,
            retries={"total_max_attempts": _ATTEMPTS, "mode": "standard"},
        )
    )
    return session


@cache
def _open_loader() -> Loader:
    """One for the process: reading the descriptions of AWS's endpoints and of STS is most of the work of a fetch."""
    from botocore.loaders import create_loader

    return create_loader()


def _files_of(environ: Environ) -> dict[str, str | None]:
    return {
        "config_file": environ.get("AWS_CONFIG_FILE"),
        "credentials_file": environ.get("AWS_SHARED_CREDENTIALS_FILE"),
    }


def _profile_of(environ: Environ) -> str | None:
    return environ.get("AWS_DEFAULT_PROFILE") or environ.get("AWS_PROFILE")


def _assume_role_provider(
    session: Session, environ: Environ, profile: str, builder: ProfileProviderBuilder, region: str | None
) -> AssumeRoleProvider:
    from botocore.credentials import AssumeRoleProvider

    def open_client(service: str, **settings: Any) -> BaseClient:  # Any: whatever botocore passes to its own factory
        return session.create_client(service, **{"region_name": region, **settings})

    return AssumeRoleProvider(
        load_config=lambda: session.full_config,
        client_creator=open_client,
        cache={},
        profile_name=profile,
        prompter=_refuse_mfa,
        credential_sourcer=_sourcer(environ),
        profile_provider_builder=builder,
    )


def _sourcer(environ: Environ) -> CanonicalNameCredentialSourcer:
    """For a profile's `credential_source`, which names one place."""
    from botocore.credentials import CanonicalNameCredentialSourcer, EnvProvider

    places: list[CredentialProvider] = [
        EnvProvider(environ=dict(environ)),
        _container_provider(environ),
        _instance_provider(environ),
    ]
    return CanonicalNameCredentialSourcer(places)


def _container_provider(environ: Environ) -> ContainerProvider:
    from botocore.credentials import ContainerProvider

    fetcher: Any = container_fetcher()  # Any: the published types name another class than the code wants
    return ContainerProvider(environ=dict(environ), fetcher=fetcher)


def _instance_provider(environ: Environ) -> InstanceMetadataProvider:
    from botocore.credentials import InstanceMetadataProvider

    return InstanceMetadataProvider(iam_role_fetcher=instance_fetcher(environ))


def _refuse_mfa(_prompt: str) -> str:
    raise FetchError("the profile wants an MFA code, and there is nobody to type one: use a role without mfa_serial")


def _profile_builder(session: Session, region: str | None) -> ProfileProviderBuilder:
    from botocore.credentials import ProcessProvider, ProfileProviderBuilder

    class BoundedBuilder(ProfileProviderBuilder):
        def providers(self, profile_name: str, disable_env_vars: bool = False) -> list[CredentialProvider]:
            return [
                ProcessProvider(profile_name, lambda: session.full_config, popen=_BoundedProcess)
                if isinstance(provider, ProcessProvider)
                else provider
                for provider in super().providers(profile_name, disable_env_vars)
            ]

    return BoundedBuilder(session, cache={}, region_name=region)


class _BoundedProcess(subprocess.Popen[bytes]):
    """A `credential_process` that may not run for ever."""

    def communicate(self, input: bytes | None = None, timeout: float | None = None) -> tuple[bytes, bytes]:  # noqa: A002
        try:
            return super().communicate(input, timeout or _PROCESS_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.kill()
            super().communicate()
        raise FetchError(f"the profile's credential_process ran for more than {_PROCESS_TIMEOUT} seconds")
