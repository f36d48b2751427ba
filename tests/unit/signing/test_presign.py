from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs

import pytest

from apostille.base.secrets import SecretText
from apostille.signing.presign import presign, signing_names
from apostille.signing.sigv4 import Credentials, Request

WHO = Credentials(access_key="AKIDEXAMPLE", secret_key=SecretText("secret"), session_token=SecretText("to/k+en="))
NOW = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
GET = Request(method="GET", host="bucket.example.com", path="/a b", query="versionId=3&Z=1")


def test_a_link_holds_the_token_and_covers_it() -> None:
    link = presign(GET, WHO, region="eu-west-1", service="s3", now=NOW, expires=timedelta(minutes=5))
    path, _, query = link.target.partition("?")
    values = parse_qs(query, strict_parsing=True)
    assert path == "/a%20b"
    assert values["X-Amz-Security-Token"] == ["to/k+en="]
    assert values["X-Amz-Expires"] == ["300"]
    assert values["versionId"] == ["3"]
    assert "X-Amz-Security-Token=to%2Fk%2Ben%3D" in link.canonical_request
    assert link.canonical_request.endswith("\nUNSIGNED-PAYLOAD")
    assert query.endswith(f"&X-Amz-Signature={link.signature}")


def test_another_service_covers_the_payload() -> None:
    link = presign(GET, WHO, region="eu-west-1", service="execute-api", now=NOW, expires=timedelta(minutes=5))
    assert link.canonical_request.endswith("\n" + GET.payload_hash)


@pytest.mark.parametrize("expires", [timedelta(0), timedelta(milliseconds=999), timedelta(days=7, seconds=1)])
def test_a_link_that_would_not_be_accepted_is_refused(expires: timedelta) -> None:
    with pytest.raises(ValueError, match="1 second to 7 days"):
        presign(GET, WHO, region="eu-west-1", service="s3", now=NOW, expires=expires)


def test_a_link_is_not_signed_a_second_time() -> None:
    once = presign(GET, WHO, region="eu-west-1", service="s3", now=NOW, expires=timedelta(minutes=5))
    path, _, query = once.target.partition("?")
    again = Request(method="GET", host="bucket.example.com", path=path, query=query)
    with pytest.raises(ValueError, match="signed already, by x-amz-algorithm, x-amz-credential"):
        presign(again, WHO, region="eu-west-1", service="s3", now=NOW, expires=timedelta(minutes=5))


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ()),
        ("list-type=2&prefix=X-Amz-Signature", ()),
        ("x-amz-SIGNATURE=1", ("x-amz-signature",)),
        (b"X%2DAmz%2dDate=1&a=b", ("x-amz-date",)),
        ("AWSAccessKeyId=a&Signature=b&Expires=1", ("awsaccesskeyid", "signature")),
    ],
)
def test_a_signature_that_a_client_left_in_the_query_is_found_in_any_spelling(
    query: str | bytes, names: tuple[str, ...]
) -> None:
    assert signing_names(query) == names


def test_a_link_does_not_show() -> None:
    link = presign(GET, WHO, region="eu-west-1", service="s3", now=NOW, expires=timedelta(minutes=5))
    assert link.signature not in repr(link)
    assert "to%2Fk%2Ben%3D" not in repr(link)
