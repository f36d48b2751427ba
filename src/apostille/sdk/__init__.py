"""The public surface for steps. Built-in steps use this and nothing else of Apostille."""

from apostille.auth.contract import Allow, AuthRequest, AuthStep, Deny, Headers, State, StepTools, Verdict
from apostille.base.durations import parse_duration
from apostille.base.headers import is_header_name, is_header_value, is_settable_name, is_upstream_name
from apostille.base.refs import Ref
from apostille.base.secrets import SecretText
from apostille.model.auth import HeaderUse, Key, KeyRing
from apostille.model.destination import Endpoint
from apostille.resources.resource import Spec
from apostille.sdk.step import StepKind
from apostille.status.problem import Problem
from apostille.status.reasons import Reason
from apostille.translate.contract import CompiledStep, SecretView, StepScope

__all__ = [
    "Allow",
    "AuthRequest",
    "AuthStep",
    "CompiledStep",
    "Deny",
    "Endpoint",
    "HeaderUse",
    "Headers",
    "Key",
    "KeyRing",
    "Problem",
    "Reason",
    "Ref",
    "SecretText",
    "SecretView",
    "Spec",
    "State",
    "StepKind",
    "StepScope",
    "StepTools",
    "Verdict",
    "is_header_name",
    "is_header_value",
    "is_settable_name",
    "is_upstream_name",
    "parse_duration",
]
