from __future__ import annotations

import hmac
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone

import pytest

from apostille.base.secrets import SecretText
from apostille.signing.sigv4 import (
    EMPTY_HASH,
    STREAMING_UNSIGNED_TRAILER,
    UNSIGNED_PAYLOAD,
    Credentials,
    Request,
    Scope,
    SigningKeys,
    amz_date,
    derive_key,
    sign,
    sign_text,
)

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
TOKEN = "token-that-nobody-may-see"
WHO = Credentials(access_key="AKIDEXAMPLE", secret_key=SecretText(SECRET))
GUEST = Credentials(access_key="ASIAEXAMPLE", secret_key=SecretText(SECRET), session_token=SecretText(TOKEN))
NOW = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
GET = Request(method="GET", host="bucket.example.com", path="/key")


def test_what_is_to_be_set_stands_in_the_order_of_envoys_signer() -> None:
    s3 = sign(GET, GUEST, region="eu-west-1", service="s3", now=NOW)
    assert [name for name, _ in s3.headers] == [
        "x-amz-content-sha256",
        "x-amz-security-token",
        "x-amz-date",
        "authorization",
    ]
    assert s3.signed_headers == "host;x-amz-content-sha256;x-amz-date;x-amz-security-token"
    other = sign(GET, WHO, region="eu-west-1", service="sqs", now=NOW)
    assert [name for name, _ in other.headers] == ["x-amz-date", "authorization"]


def test_the_payload_header_can_be_asked_for_and_left_out() -> None:
    asked = sign(GET, WHO, region="eu-west-1", service="aoss", now=NOW, content_sha256=True)
    assert ("x-amz-content-sha256", EMPTY_HASH) in asked.headers
    left_out = sign(GET, WHO, region="eu-west-1", service="s3", now=NOW, content_sha256=False)
    assert left_out.signed_headers == "host;x-amz-date"


@pytest.mark.parametrize("payload", [UNSIGNED_PAYLOAD, STREAMING_UNSIGNED_TRAILER, "ab" * 32])
def test_a_payload_marker_is_the_last_line_and_the_header(payload: str) -> None:
    request = Request(method="PUT", host="bucket.example.com", path="/key", payload_hash=payload)
    signed = sign(request, WHO, region="eu-west-1", service="s3", now=NOW)
    assert signed.canonical_request.endswith("\n" + payload)
    assert ("x-amz-content-sha256", payload) in signed.headers


def test_what_the_client_signed_takes_no_part() -> None:
    leftovers = Request(
        method="GET",
        host="bucket.example.com",
        path="/key",
        headers=(
            ("Authorization", "AWS4-HMAC-SHA256 Credential=x"),
            ("X-Amz-Date", "20010101T000000Z"),
            ("x-amz-security-token", "theirs"),
            ("x-amz-content-sha256", "theirs"),
            ("Host", "elsewhere.example.com"),
        ),
    )
    assert sign(leftovers, WHO, region="eu-west-1", service="s3", now=NOW) == sign(
        GET, WHO, region="eu-west-1", service="s3", now=NOW
    )


def test_the_time_is_taken_in_its_zone_and_cut_to_seconds() -> None:
    assert amz_date(datetime(2024, 1, 1, 1, 30, 0, 999_999, tzinfo=timezone(timedelta(hours=2)))) == "20231231T233000Z"
    with pytest.raises(ValueError, match="time zone"):
        sign(GET, WHO, region="eu-west-1", service="s3", now=datetime(2024, 1, 1))  # noqa: DTZ001 — the mistake


def test_nothing_secret_and_nothing_usable_shows() -> None:
    keys = SigningKeys()
    request = Request(
        method="GET",
        host="bucket.example.com",
        path="/key",
        query="X-Other-Token=canary",
        headers=(("x-amz-server-side-encryption-customer-key", "canary"),),
    )
    signed = sign(request, GUEST, region="eu-west-1", service="s3", now=NOW, keys=keys)
    shown = f"{signed!r}{signed}{request!r}{GUEST!r}{GUEST}{keys!r}{Scope(date='20150830', region='a', service='b')!r}"
    for hidden in (SECRET, TOKEN, signed.signature, "canary", GUEST.digest.hex(), repr(GUEST.digest)):
        assert hidden not in shown
    assert TOKEN in dict(signed.headers)["x-amz-security-token"]


def test_the_cache_holds_no_secret_in_its_keys_and_keeps_its_bound() -> None:
    keys = SigningKeys(limit=3)
    for day in range(1, 8):
        keys.get(WHO, f"2015080{day}", "eu-west-1", "s3")
        assert 1 <= len(keys) <= 3
    assert SECRET not in repr(list(keys._keys))


def test_the_same_place_and_day_gives_the_key_that_was_derived() -> None:
    keys = SigningKeys()
    first = keys.get(WHO, "20150830", "us-east-1", "iam")
    assert keys.get(WHO, "20150830", "us-east-1", "iam") is first
    derived = derive_key(WHO.secret_key, Scope(date="20150830", region="us-east-1", service="iam"))
    # The example of "Deriving the signing key" in AWS's documentation.
    assert derived.hex() == "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9"
    # A key that has signed signs the next text as if it were the first.
    for text in ("one", "two"):
        assert sign_text(first[0], text) == hmac.digest(derived, text.encode(), "sha256").hex()


def test_a_rotated_secret_of_the_same_key_id_gets_its_own_key() -> None:
    keys = SigningKeys()
    rotated = Credentials(access_key=WHO.access_key, secret_key=SecretText("another"))
    assert keys.get(WHO, "20150830", "a", "s3") != keys.get(rotated, "20150830", "a", "s3")
    assert len(keys) == 2


@pytest.mark.parametrize(
    ("access_key", "secret_key", "session_token", "said"),
    [
        ("", "s", None, "access key id"),
        ("a b", "s", None, "access key id"),
        ("a\nb", "s", None, "access key id"),
        ("a,b", "s", None, "access key id"),
        ("a", "", None, "secret access key"),
        ("a", "canary\n", None, "secret access key"),
        ("a", "s", "", "session token"),
        ("a", "s", "canary\n", "session token"),
    ],
)
def test_what_can_be_no_credential_is_refused_without_showing_it(
    access_key: str, secret_key: str, session_token: str | None, said: str
) -> None:
    token = None if session_token is None else SecretText(session_token)
    with pytest.raises(ValueError, match=said) as refused:
        Credentials(access_key=access_key, secret_key=SecretText(secret_key), session_token=token)
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize("part", ["", "eu west", "eu/west", "eu\nwest", "eu,west"])
def test_a_region_or_service_that_would_forge_a_scope_is_refused(part: str) -> None:
    with pytest.raises(ValueError, match="no region or service"):
        sign(GET, WHO, region=part, service="s3", now=NOW)
    with pytest.raises(ValueError, match="no region or service"):
        sign(GET, WHO, region="eu-west-1", service=part, now=NOW)


def test_a_method_host_or_payload_that_would_forge_a_line_is_refused() -> None:
    with pytest.raises(ValueError, match="no method"):
        Request(method="GET\n/other", host="a", path="/")
    with pytest.raises(ValueError, match="no host"):
        Request(method="GET", host="a\nx-amz-acl:public-read", path="/")
    with pytest.raises(ValueError, match="no host"):
        Request(method="GET", host="", path="/")
    for payload in ("", "AB" * 32, "UNSIGNED-PAYLOAD\n", "STREAMING-x"):
        with pytest.raises(ValueError, match="neither a SHA-256"):
            Request(method="GET", host="a", path="/", payload_hash=payload)


def test_signing_loads_no_cryptography() -> None:
    program = "import sys, apostille.signing.sigv4a, apostille.signing.presign; print('cryptography' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == "False"
