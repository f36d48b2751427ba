"""Our presigned links are those of botocore and of awscrt, and SigV4A signatures verify both ways.

Deliberate differences: botocore keeps one value of a repeated name and replaces bytes that are no UTF-8, so it is asked
about neither; and parameters stand in another order in its links, which the signature does not cover.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from urllib.parse import quote, urlencode

import botocore.auth
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from apostille.signing import sigv4, sigv4a
from apostille.signing.presign import presign
from apostille.signing.sigv4 import Request
from tests.properties.signing_references import EXAMPLES, Case, ask_awscrt, ask_botocore, cases, header

SERVICES = st.sampled_from(["s3", "iam", "execute-api"])
PARAMETERS = st.dictionaries(
    st.text("abAB-_.é +%", min_size=1, max_size=6), st.text("abAB/+ =&é🎂%", max_size=8), max_size=4
)


@EXAMPLES
@given(cases(), PARAMETERS, SERVICES, st.integers(1, 604800))
def test_a_link_equals_that_of_botocore_and_awscrt(
    case: Case, parameters: dict[str, str], service: str, seconds: int
) -> None:
    s3 = service == "s3"
    request = Request(
        method=case.request.method,
        host=case.request.host,
        path=case.request.path,
        query=urlencode(parameters, quote_via=quote),
        headers=case.request.headers,
    )
    case = replace(case, request=request, body=b"")
    ours = presign(
        request, case.who, region=case.region, service=service, now=case.now, expires=timedelta(seconds=seconds)
    )

    target = sigv4.sign(request, case.who, region=case.region, service=service, now=case.now).target
    signer = botocore.auth.S3SigV4QueryAuth if s3 else botocore.auth.SigV4QueryAuth
    theirs = ask_botocore(signer, case, target, service, expires=seconds)
    assert ours.canonical_request == theirs.canonical_request
    assert ours.string_to_sign == theirs.string_to_sign
    assert ours.signature == theirs.signature
    sent_path, _, sent_query = ours.target.partition("?")
    their_path, _, their_query = theirs.url.removeprefix(f"https://{request.host}").partition("?")
    assert (sent_path, sorted(sent_query.split("&"))) == (their_path, sorted(their_query.split("&")))

    crt_path, _, crt_query = ask_awscrt(case, target, service, s3=s3, expires=seconds).path.partition("?")
    assert (sent_path, sorted(sent_query.split("&"))) == (crt_path, sorted(crt_query.split("&")))


@EXAMPLES
@given(cases(), st.lists(st.sampled_from(["us-east-1", "eu-*", "*"]), min_size=1, max_size=3, unique=True))
def test_awscrt_signs_the_same_string_with_the_same_derived_key(case: Case, regions: list[str]) -> None:
    case = replace(case, region=",".join(regions))
    ours = sigv4a.sign(case.request, case.who, region_set=tuple(regions), service="s3", now=case.now)
    public = sigv4a.derive_key_pair(case.who).public_key()
    text = ours.string_to_sign.encode()
    public.verify(bytes.fromhex(ours.signature), text, ec.ECDSA(hashes.SHA256()))

    crt = ask_awscrt(case, ours.target, "s3", s3=True, asymmetric=True)
    authorization, _, signature = header(crt, "authorization").rpartition("=")
    assert authorization == ours.authorization.rpartition("=")[0]
    # Raises InvalidSignature unless canonical request, string to sign and key pair are all the same.
    public.verify(bytes.fromhex(signature), text, ec.ECDSA(hashes.SHA256()))
    assert header(crt, "x-amz-region-set") == dict(ours.headers)["x-amz-region-set"]
