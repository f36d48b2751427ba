"""Our signatures are those of botocore and of awscrt, for random requests.

Where the two do not agree with each other, or with the services, a test says so; these differences are deliberate:

- Both sign the path as they are given it for S3, and botocore the query too. We bring both to the canonical spelling
  first, and send that. So they are asked about the canonical spelling, where all three must agree.
- A literal ``+`` in a query is ``%2B`` for awscrt and ``+`` for botocore. S3, Swift and MinIO read it as a space. So do
  we, and send it as ``%20``, where all agree again.
- botocore never signs `user-agent`, `expect` and some more, awscrt leaves out a few. We sign what we are told to sign.
- botocore also collapses white space beyond ASCII in header values. HTTP knows two blanks, space and tab, and so do we.
"""

from __future__ import annotations

from datetime import UTC, datetime
from operator import itemgetter
from urllib.parse import parse_qsl, unquote_to_bytes

import botocore.auth
from hypothesis import given
from hypothesis import strategies as st

from apostille.base.secrets import SecretText
from apostille.signing.canonical import canonical_path, canonical_query, canonical_target
from apostille.signing.sigv4 import UNSIGNED_PAYLOAD, Credentials, Request, SigningKeys, sign
from tests.properties.signing_references import EXAMPLES, Case, ask_awscrt, ask_botocore, cases, header, paths, queries

WHO = Credentials(access_key="AKIDEXAMPLE", secret_key=SecretText("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"))
NOW = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
SERVICES = st.sampled_from(["iam", "execute-api", "sqs", "lambda"])


def respelled(request: Request, target: str) -> Request:
    path, _, query = target.partition("?")
    return Request(
        method=request.method,
        host=request.host,
        path=path,
        query=query,
        headers=request.headers,
        payload_hash=request.payload_hash,
    )


@EXAMPLES
@given(cases())
def test_for_s3_every_intermediate_equals_botocore_and_the_signature_awscrt(case: Case) -> None:
    ours = sign(case.request, case.who, region=case.region, service="s3", now=case.now)

    theirs = ask_botocore(botocore.auth.S3SigV4Auth, case, ours.target, "s3")
    assert ours.canonical_request == theirs.canonical_request
    assert ours.string_to_sign == theirs.string_to_sign
    assert ours.signature == theirs.signature
    assert {name: theirs.headers[name] for name, _ in ours.headers} == dict(ours.headers)

    crt = ask_awscrt(case, ours.target, "s3", s3=True)
    assert header(crt, "authorization") == ours.authorization


@EXAMPLES
@given(cases(), SERVICES)
def test_for_other_services_every_intermediate_equals_botocore_and_the_signature_awscrt(
    case: Case, service: str
) -> None:
    # botocore puts the header on the request for an unsigned payload only.
    sent = case.request.payload_hash == UNSIGNED_PAYLOAD
    ours = sign(case.request, case.who, region=case.region, service=service, now=case.now, content_sha256=sent)

    theirs = ask_botocore(botocore.auth.SigV4Auth, case, ours.target, service)
    assert ours.canonical_request == theirs.canonical_request
    assert ours.string_to_sign == theirs.string_to_sign
    assert ours.signature == theirs.signature
    assert {name: theirs.headers[name] for name, _ in ours.headers} == dict(ours.headers)

    without = sign(case.request, case.who, region=case.region, service=service, now=case.now, content_sha256=False)
    crt = ask_awscrt(case, ours.target, service, s3=False)
    assert header(crt, "authorization") == without.authorization


@EXAMPLES
@given(cases(), st.one_of(st.just("s3"), SERVICES))
def test_the_spelling_to_send_is_signed_like_the_spelling_of_the_client_and_is_final(case: Case, service: str) -> None:
    ours = sign(case.request, case.who, region=case.region, service=service, now=case.now)
    assert ours.target == canonical_target(case.request.path, case.request.query, s3=service == "s3")

    again = sign(respelled(case.request, ours.target), case.who, region=case.region, service=service, now=case.now)
    assert again == ours


@EXAMPLES
@given(cases())
def test_what_is_sent_to_s3_is_byte_for_byte_what_is_signed(case: Case) -> None:
    ours = sign(case.request, case.who, region=case.region, service="s3", now=case.now)
    _, path, query, _ = ours.canonical_request.split("\n", 3)
    assert ours.target == (f"{path}?{query}" if query else path)


@EXAMPLES
@given(paths, queries)
def test_the_spelling_to_send_denotes_the_same_object_and_parameters(path: bytes, query: bytes) -> None:
    for s3 in (True, False):
        sent_path, _, sent_query = canonical_target(path, query, s3=s3).partition("?")
        if s3:
            assert unquote_to_bytes(sent_path) == unquote_to_bytes(path)
        # One character for each byte, so that nothing is lost where the bytes are no UTF-8.
        before = parse_qsl(query.decode("latin-1"), keep_blank_values=True, encoding="latin-1")
        after = parse_qsl(sent_query, keep_blank_values=True, encoding="latin-1")
        assert sorted(after) == sorted(before)
        if not s3:
            assert sorted(after, key=itemgetter(0)) == sorted(before, key=itemgetter(0))


@EXAMPLES
@given(paths, queries)
def test_the_spelling_to_send_has_no_character_that_two_readers_take_differently(path: bytes, query: bytes) -> None:
    plain = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~%")
    for s3 in (True, False):
        assert set(canonical_path(path, s3=s3)) <= plain | {"/"}
    assert set(canonical_query(query)) <= plain | {"&", "="}


@EXAMPLES
@given(st.lists(st.sampled_from(["/", "a", "bc", ".", "..", "...", "~", "-"]), max_size=14))
def test_dot_segments_and_doubled_slashes_are_resolved_as_botocore_and_awscrt_resolve_them(parts: list[str]) -> None:
    raw = "/" + "".join(parts)
    case = Case(
        request=Request(method="GET", host="example.com", path=raw), body=b"", who=WHO, region="us-east-1", now=NOW
    )
    ours = sign(case.request, WHO, region="us-east-1", service="iam", now=NOW)
    assert ours.canonical_request == ask_botocore(botocore.auth.SigV4Auth, case, raw, "iam").canonical_request
    assert header(ask_awscrt(case, raw, "iam", s3=False), "authorization") == ours.authorization


@EXAMPLES
@given(st.lists(cases(), min_size=1, max_size=4))
def test_a_warm_key_signs_like_a_fresh_one(several: list[Case]) -> None:
    keys = SigningKeys(limit=2)
    for case in [*several, *several]:
        for service in ("s3", "sqs"):
            warm = sign(case.request, case.who, region=case.region, service=service, now=case.now, keys=keys)
            assert warm == sign(case.request, case.who, region=case.region, service=service, now=case.now)
            assert len(keys) <= 2
