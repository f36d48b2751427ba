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
from apostille.base.durations import parse_duration
from apostille.base.headers import is_header_name, is_header_value, is_settable_name, is_upstream_name
from apostille.base.refs import Ref
from apostille.base.secrets import SecretText
from apostille.credentials.fetched import CredentialsUnavailable
from apostille.model.auth import HeaderUse, Key, KeyRing
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
from apostille.model.destination import Endpoint
from apostille.resources.fields import Duration, ProtoEnum, Text
from apostille.resources.resource import Spec
from apostille.resources.rules import Choice, Ruled
from apostille.sdk.integration import IntegrationKind
from apostille.sdk.step import StepKind
from apostille.signing.canonical import canonical_path, is_s3, query_names, signable_headers
from apostille.signing.sigv4 import EMPTY_HASH, STREAMING_UNSIGNED_TRAILER, UNSIGNED_PAYLOAD, Credentials, SigningKeys
from apostille.signing.sigv4 import Request as SigningRequest
from apostille.signing.sigv4 import Signed as Signature
from apostille.signing.sigv4 import sign as sign_v4
from apostille.status.problem import Problem
from apostille.status.reasons import Reason
from apostille.translate.contract import CompiledIntegration, CompiledStep, SecretView, StepScope

__all__ = [
    "EMPTY_HASH",
    "STREAMING_UNSIGNED_TRAILER",
    "UNSIGNED_PAYLOAD",
    "Allow",
    "AssumeRoleSource",
    "AuthRequest",
    "AuthStep",
    "Choice",
    "CompiledIntegration",
    "CompiledStep",
    "ContainerSource",
    "Credentials",
    "CredentialsUnavailable",
    "DefaultSource",
    "Deny",
    "Duration",
    "Endpoint",
    "EnvironmentSource",
    "HeaderUse",
    "Headers",
    "InstanceSource",
    "IntegrationKind",
    "Key",
    "KeyRing",
    "OutboundRequest",
    "Problem",
    "ProfileSource",
    "ProtoEnum",
    "Reason",
    "Ref",
    "Ruled",
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
    "canonical_path",
    "is_header_name",
    "is_header_value",
    "is_s3",
    "is_settable_name",
    "is_upstream_name",
    "parse_duration",
    "query_names",
    "sign_v4",
    "signable_headers",
]
