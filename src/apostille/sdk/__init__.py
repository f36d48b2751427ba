"""The public surface for steps and integrations. Built-in ones use this and nothing else of Apostille."""

from apostille.auth.contract import (
    Allow,
    AuthRequest,
    AuthStep,
    Deny,
    Headers,
    OutboundRequest,
    Signed,
    Signer,
    SignerTools,
    State,
    StepTools,
    Verdict,
)
from apostille.base.check import CHALLENGE, KEY_REFUSED
from apostille.base.durations import parse_duration
from apostille.base.headers import is_header_name, is_header_value, is_settable_name, is_upstream_name
from apostille.base.refs import Ref
from apostille.base.secrets import SecretText
from apostille.credentials.fetched import CredentialsUnavailable
from apostille.keys.format import PREFIX as KEY_PREFIX
from apostille.keys.outcome import Holder, Refusal, Why
from apostille.model.auth import HeaderUse, Key, KeyRing
from apostille.model.caller import Caller, placeholder_faults
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
    source_title,
)
from apostille.model.destination import Endpoint
from apostille.model.lane import EnvoyKey, HeaderPattern
from apostille.model.outbound import RefusalSigns
from apostille.model.scopes import EVERYTHING, NOTHING, Asked, Dimension, Scopes, first_miss
from apostille.resources.fields import Duration, NotEmpty, ProtoEnum, Text
from apostille.resources.resource import Spec
from apostille.resources.rules import Choice, Ruled
from apostille.sdk.integration import IntegrationKind
from apostille.sdk.step import StepKind
from apostille.signing.canonical import (
    PLAIN_S3_PATH,
    canonical_path,
    is_s3,
    query_names,
    signable_headers,
)
from apostille.signing.services import takes_only_unsigned, takes_unsigned
from apostille.signing.sigv4 import EMPTY_HASH, STREAMING_UNSIGNED_TRAILER, UNSIGNED_PAYLOAD, Credentials, SigningKeys
from apostille.signing.sigv4 import Request as SigningRequest
from apostille.signing.sigv4 import Signed as Signature
from apostille.signing.sigv4 import sign as sign_v4
from apostille.signing.sigv4a import AsymmetricKeys
from apostille.signing.sigv4a import sign as sign_v4a
from apostille.status.problem import Problem
from apostille.status.reasons import Reason
from apostille.translate.contract import (
    CompiledIntegration,
    CompiledStep,
    EnvoyKeyCheck,
    EnvoySigning,
    SecretView,
    StepScope,
)

__all__ = [
    "CHALLENGE",
    "EMPTY_HASH",
    "EVERYTHING",
    "KEY_PREFIX",
    "KEY_REFUSED",
    "NOTHING",
    "PLAIN_S3_PATH",
    "STREAMING_UNSIGNED_TRAILER",
    "UNSIGNED_PAYLOAD",
    "Allow",
    "Asked",
    "AssumeRoleSource",
    "AsymmetricKeys",
    "AuthRequest",
    "AuthStep",
    "Caller",
    "Choice",
    "CompiledIntegration",
    "CompiledStep",
    "ContainerSource",
    "Credentials",
    "CredentialsUnavailable",
    "DefaultSource",
    "Deny",
    "Dimension",
    "Duration",
    "Endpoint",
    "EnvironmentSource",
    "EnvoyKey",
    "EnvoyKeyCheck",
    "EnvoySigning",
    "HeaderPattern",
    "HeaderUse",
    "Headers",
    "Holder",
    "InstanceSource",
    "IntegrationKind",
    "Key",
    "KeyRing",
    "NotEmpty",
    "OutboundRequest",
    "Problem",
    "ProfileSource",
    "ProtoEnum",
    "Reason",
    "Ref",
    "Refusal",
    "RefusalSigns",
    "Ruled",
    "Scopes",
    "SecretText",
    "SecretView",
    "Signature",
    "Signed",
    "Signer",
    "SignerTools",
    "SigningKeys",
    "SigningRequest",
    "Source",
    "Spec",
    "State",
    "StaticSource",
    "StepKind",
    "StepScope",
    "StepTools",
    "Text",
    "Verdict",
    "WebIdentitySource",
    "Why",
    "canonical_path",
    "first_miss",
    "is_header_name",
    "is_header_value",
    "is_s3",
    "is_settable_name",
    "is_upstream_name",
    "parse_duration",
    "placeholder_faults",
    "query_names",
    "sign_v4",
    "sign_v4a",
    "signable_headers",
    "source_title",
    "takes_only_unsigned",
    "takes_unsigned",
]
