from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from apostille.base.secrets import SecretText
from apostille.signing import sigv4, sigv4a
from apostille.signing.sigv4 import Credentials, Request

WHO = Credentials(access_key="AKIDEXAMPLE", secret_key=SecretText("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"))
NOW = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
GET = Request(method="GET", host="mrap.accesspoint.s3-global.amazonaws.com", path="/a b")


def test_the_derived_public_key_is_that_of_the_test_suite_of_aws() -> None:
    public = sigv4a.derive_key_pair(WHO).public_key().public_numbers()
    assert f"{public.x:064x}" == "b6618f6a65740a99e650b33b6b4b5bd0d43b176d721a3edfea7e7d2d56d936b1"
    assert f"{public.y:064x}" == "865ed22a7eadc9c5cb9d2cbaca1b3699139fedc5043dc6661864218330c8e518"


def test_a_signature_verifies_and_names_its_regions() -> None:
    signed = sigv4a.sign(GET, WHO, region_set=("us-east-1", "eu-*"), service="s3", now=NOW)
    public = sigv4a.derive_key_pair(WHO).public_key()
    public.verify(bytes.fromhex(signed.signature), signed.string_to_sign.encode(), ec.ECDSA(hashes.SHA256()))
    with pytest.raises(InvalidSignature):
        public.verify(bytes.fromhex(signed.signature), b"something else", ec.ECDSA(hashes.SHA256()))

    assert dict(signed.headers)["x-amz-region-set"] == "us-east-1,eu-*"
    assert signed.signed_headers == "host;x-amz-content-sha256;x-amz-date;x-amz-region-set"
    assert signed.string_to_sign.startswith("AWS4-ECDSA-P256-SHA256\n20150830T123600Z\n20150830/s3/aws4_request\n")
    assert signed.authorization.startswith(
        "AWS4-ECDSA-P256-SHA256 Credential=AKIDEXAMPLE/20150830/s3/aws4_request, SignedHeaders=host;"
    )
    assert signed.target == sigv4.sign(GET, WHO, region="us-east-1", service="s3", now=NOW).target


@pytest.mark.parametrize("regions", [(), ("",), ("a,b",), ("a\nb",)])
def test_a_set_of_regions_that_is_none_is_refused(regions: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="region"):
        sigv4a.sign(GET, WHO, region_set=regions, service="s3", now=NOW)


def test_key_pairs_are_derived_once_and_bounded() -> None:
    keys = sigv4a.AsymmetricKeys(limit=2)
    assert keys.get(WHO) is keys.get(WHO)
    for number in range(5):
        keys.get(Credentials(access_key=f"A{number}", secret_key=WHO.secret_key))
        assert 1 <= len(keys) <= 2


def test_a_signature_does_not_show() -> None:
    signed = sigv4a.sign(GET, WHO, region_set=("*",), service="s3", now=NOW)
    assert signed.signature not in repr(signed)
