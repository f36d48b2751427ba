"""Which awsSigV4 policies Envoy's own signer can stand in for, and for which of their requests."""

from __future__ import annotations

from dataclasses import replace

from apostille.integrations.aws_sigv4_spec import PRESIGNED, AwsSigV4Config, AwsSigV4Spec, compile_aws_sigv4
from apostille.sdk import (
    PLAIN_S3_PATH,
    CompiledIntegration,
    EnvoySigning,
    HeaderPattern,
    Problem,
    StaticSource,
    StepScope,
)

# Methods whose requests have no body as a rule; one that has goes to the auth service.
_BODILESS = ("DELETE", "GET", "HEAD")
# Of a request with one of these Envoy's signer makes something else than the auth service does.
_OF_BODIES = ("content-encoding", "content-length", "content-md5", "content-type")
# What SDKs say of an empty body; the hash that is signed is that of nothing either way.
_HARMLESS = HeaderPattern(name="x-amz-content-sha256", pattern="[0-9a-fA-F]{64}|UNSIGNED-PAYLOAD")


def compile_with_native(spec: AwsSigV4Spec, scope: StepScope) -> CompiledIntegration | list[Problem]:
    compiled = compile_aws_sigv4(spec, scope)
    if isinstance(compiled, list) or not isinstance(compiled.config, AwsSigV4Config):
        return compiled
    return replace(compiled, native=_compile_native(compiled.config))


def _compile_native(config: AwsSigV4Config) -> EnvoySigning | str:
    """A text says why not."""
    source, allowed = config.source, config.allowed
    # Envoy also has its own idea of the paths of S3's relatives.
    if config.service != "s3":
        return f"Envoy signs otherwise for {config.service} than the auth service does"
    if config.region_set:
        return "Envoy has no key pair for SIGV4A"
    if config.correct_clock:
        return "`correctClock`: Envoy knows no clock but its own"
    if not isinstance(source, StaticSource):
        return "its credentials are fetched, and Envoy would send requests without when there are none"
    headers = allowed.headers or ()
    if allowed.headers is None or any(name.endswith("*") for name in headers):
        return "`allow.headers` has a pattern, and Envoy's signer takes liberties with what it signs"
    return EnvoySigning(
        service=config.service,
        region=config.region,
        access_key=source.access_key,
        secret_key=source.secret_key,
        session_token=source.session_token,
        methods=tuple(name for name in _BODILESS if allowed.methods is None or name in allowed.methods),
        path=PLAIN_S3_PATH,
        path_prefixes=allowed.path_prefixes,
        query=None if allowed.query is None else tuple(name for name in allowed.query if name not in PRESIGNED),
        absent=(*_OF_BODIES, *headers),
        only=(_HARMLESS,),
    )
