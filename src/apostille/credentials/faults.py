"""What went wrong in a fetch, in words that are ours.

Never the text of a foreign exception: it may quote an answer, a request or the output of a program, secrets included.
"""

from __future__ import annotations

import re

from apostille.credentials.fetched import FetchError

_CODE = re.compile(r"[A-Za-z0-9.]{1,64}")

_ADVICE = {
    "AccessDenied": "the role's trust policy must name the identity that asks (and its external id), and that "
    "identity needs the permission sts:AssumeRole, with tags also sts:TagSession",
    "ExpiredToken": "the credentials or the token used to ask have expired",
    "ExpiredTokenException": "the web identity token has expired: is its file still being renewed?",
    "IDPCommunicationError": "AWS could not reach the identity provider; it will be asked again",
    "InvalidClientTokenId": "the access key is not known to AWS, or is inactive",
    "InvalidIdentityToken": "AWS does not accept the web identity token: is the cluster's OIDC provider set up in IAM?",
    "MalformedPolicyDocument": "the session policy is no valid IAM policy",
    "PackedPolicyTooLarge": "the session policy and the tags are too large together",
    "RegionDisabledException": "STS is not active in this region for the account",
    "SignatureDoesNotMatch": "the secret key does not belong to the access key",
    "ValidationError": "AWS does not accept a parameter: look at role ARN, session name, duration and tags",
}


def explain_fault(error: Exception) -> str:
    """One sentence without a secret, with advice where there is some."""
    from botocore import exceptions as aws

    match error:
        case FetchError():
            return str(error)
        case aws.ClientError():
            return _explain_refusal(error)
        case aws.PartialCredentialsError():
            return f"{error.kwargs['cred_var']} is missing"
        case aws.ProfileNotFound():
            return "there is no such profile"
        case aws.ConfigParseError():
            return "an AWS configuration file cannot be read: check its syntax and its encoding"
        case aws.NoRegionError():
            return "no region for STS: write one into the policy or the profile (region: eu-west-1), or set AWS_REGION"
        case aws.UnauthorizedSSOTokenError() | aws.SSOTokenLoadError() | aws.TokenRetrievalError():
            return "the SSO session has ended or was never begun: run `aws sso login` for the profile"
        case aws.HTTPClientError() | aws.ConnectionError():
            return f"the endpoint does not answer ({type(error).__name__})"
        case aws.CredentialRetrievalError() | aws.MetadataRetrievalError():
            return f"the source refused, or its answer holds no credentials ({type(error).__name__})"
        case OSError():
            return f"{error.strerror or type(error).__name__}: {error.filename or 'a file or connection'}"
        case _:
            return f"the source gave no credentials ({type(error).__name__})"


def _explain_refusal(error: object) -> str:
    from botocore.exceptions import ClientError

    if not isinstance(error, ClientError):
        raise TypeError
    code = str(error.response.get("Error", {}).get("Code", ""))
    shown = code if _CODE.fullmatch(code) else "an answer without a code"
    advice = _ADVICE.get(shown)
    return f"{error.operation_name} was refused with {shown}" + (f": {advice}" if advice else "")
