"""The filters of the Envoy lane that sign, in the upstream chain: after every rewrite, and anew for each retry.

Envoy's signer (envoy.extensions.filters.http.aws_request_signing.v3) passes requests on unsigned when it cannot sign,
and signs whatever ``x-amz-`` header is there. So behind it stands a guard that reads the signature itself.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from envoy.config.common.mutation_rules.v3.mutation_rules_pb2 import HeaderMutation as HeaderRule
from envoy.config.core.v3.base_pb2 import DataSource
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.extensions.common.aws.v3.credential_provider_pb2 import AwsCredentialProvider, InlineCredentialProvider
from envoy.extensions.common.matching.v3.extension_matcher_pb2 import ExtensionWithMatcher
from envoy.extensions.filters.http.aws_request_signing.v3.aws_request_signing_pb2 import AwsRequestSigning
from envoy.extensions.filters.http.lua.v3.lua_pb2 import Lua
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher

from apostille.model.lane import EnvoySigner
from apostille.xds.key_slots import emit_discovery
from apostille.xds.packing import emit_any
from apostille.xds.patterns import everything_but
from apostille.xds.predicates import all_of, any_of, emit_unless, header_has, header_is
from apostille.xds.snapshot import TYPE_URL_PREFIX

GUARD = "apostille.signature_guard"

# Of the client's: Envoy's signer would sign some of them along with its own.
SIGNATURE_HEADERS = (
    "authorization", "x-amz-content-sha256", "x-amz-date", "x-amz-region-set", "x-amz-security-token",
)  # fmt: skip

_PREFIX = "x-amz-"
_SIGNER_TYPE = TYPE_URL_PREFIX + AwsRequestSigning.DESCRIPTOR.full_name
# SHA-256 of nothing: requests in this lane have no body.
_EMPTY_HASH = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
_SIGNED_HEADERS = ("host;x-amz-content-sha256;x-amz-date", "host;x-amz-content-sha256;x-amz-date;x-amz-security-token")


def signer_name(signer: str) -> str:
    """The resource with the credentials of the `EnvoySigner` of this id."""
    return f"apostille.sign/{signer}"


def emit_signing_filters(signer: str, *, inline: bool) -> list[HttpFilter]:
    """For a cluster. `inline`: with nothing to ask for, as a configuration is judged; without the credentials."""
    if inline:
        sign = HttpFilter(name=signer_name(signer), typed_config=emit_any(_emit_signing("s3", "region", "key", "key")))
    else:
        sign = HttpFilter(name=signer_name(signer), config_discovery=emit_discovery(_SIGNER_TYPE))
    return [sign, HttpFilter(name=GUARD, typed_config=emit_any(_emit_guard()))]


def emit_signer(signer: EnvoySigner) -> TypedExtensionConfig:
    """It holds the credentials, and so may what Envoy says of one that it refuses."""
    token = signer.session_token.reveal() if signer.session_token is not None else ""
    signing = _emit_signing(signer.service, signer.region, signer.access_key, signer.secret_key.reveal(), token)
    return TypedExtensionConfig(name=signer_name(signer.id), typed_config=emit_any(signing))


def _emit_signing(service: str, region: str, access_key: str, secret_key: str, token: str = "") -> AwsRequestSigning:
    return AwsRequestSigning(
        service_name=service,
        region=region,
        # The Host that the route sends is what is signed; a host_rewrite here would be another place to say it.
        match_included_headers=[StringMatcher(exact="host"), StringMatcher(prefix="x-amz-")],
        credential_provider=AwsCredentialProvider(
            inline_credential=InlineCredentialProvider(
                access_key_id=access_key, secret_access_key=secret_key, session_token=token
            )
        ),
    )


def emit_void_removal() -> HeaderRule:
    """Of the headers that are named like a signature's: those without a value, which the signer leaves out. All others
    are signed by now."""
    ours = (name.removeprefix(_PREFIX) for name in SIGNATURE_HEADERS if name.startswith(_PREFIX))
    others = f"^{_PREFIX}{everything_but(ours, ())}?"
    return HeaderRule(
        remove_on_match=HeaderRule.RemoveOnMatch(key_matcher=StringMatcher(safe_regex=RegexMatcher(regex=others)))
    )


def _emit_guard() -> ExtensionWithMatcher:
    """A matcher of Envoy's own for the good case; a script, which costs more, only answers the others.

    The client's ``authorization`` is gone by then, so the one that is there is the signer's, and its list of headers
    says all.
    """
    signed = any_of(*(header_has("authorization", f", SignedHeaders={names}, Signature=") for names in _SIGNED_HEADERS))
    return emit_unless(
        all_of([signed, header_is("x-amz-content-sha256", _EMPTY_HASH)]),
        TypedExtensionConfig(
            name="refusal", typed_config=emit_any(Lua(default_source_code=DataSource(inline_string=_refusal())))
        ),
    )


@cache
def _refusal() -> str:
    return (files(__package__) / "unsigned.lua").read_text(encoding="utf-8")
