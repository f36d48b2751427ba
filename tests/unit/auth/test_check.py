from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apostille.auth.chain import Passed, Refused
from apostille.auth.check import UNREADABLE, emit_answer, parse_check
from apostille.auth.contract import Deny
from apostille.base.headers import is_header_value
from apostille.model.auth import NOWHERE


def test_a_check_is_the_clients_request_without_what_is_ours() -> None:
    check = parse_check(
        "PUT",
        "/check/a/b",
        "x=%20",
        [
            ("x-apostille-program", "n/p@1"),
            ("x-apostille-route", "table/0"),
            ("x-apostille-path", "/a%2Fb?x=%20"),
            ("x-request-id", "id-1"),
            ("content-length", "0"),
            ("api-key", "k"),
            ("x-a", "1"),
            ("x-a", "2"),
            ("cookie", "a=1"),
            ("cookie", "b=2"),
        ],
    )
    assert (check.program, check.route, check.request_id) == ("n/p@1", "table/0", "id-1")
    request = check.request(b"cake", NOWHERE)
    assert (request.method, request.path, request.body) == ("PUT", "/a%2Fb?x=%20", b"cake")
    assert request.headers == {"x-request-id": "id-1", "api-key": "k", "x-a": "1,2", "cookie": "a=1; b=2"}


def test_a_header_whose_value_cannot_be_read_is_there_with_one_that_no_header_can_carry() -> None:
    check = parse_check("GET", "/check/", "", [("x-a", "1")], ["x-a", "x-amz-acl", "x-apostille-path"])
    assert check.headers == {"x-a": "1", "x-amz-acl": UNREADABLE}
    assert check.path == "/"
    assert not is_header_value(UNREADABLE)


def test_without_the_path_header_the_decoded_path_has_to_do() -> None:
    assert parse_check("GET", "/check/a b", "x=1", []).path == "/a b?x=1"
    assert parse_check("GET", "/check", "", []).path == "/"


def test_of_two_program_headers_neither_is_believed() -> None:
    check = parse_check("GET", "/check/", "", [("x-apostille-program", "forged"), ("x-apostille-program", "n/p@1")])
    assert check.program == ""


def test_neither_a_check_nor_its_request_shows_a_credential() -> None:
    check = parse_check("GET", "/check/canary", "canary", [("api-key", "canary")])
    assert "canary" not in f"{check!r}{check}{check.request(b'canary', NOWHERE)!r}"


def test_an_approval_sets_removes_and_names_the_consumer() -> None:
    answer = emit_answer(Passed(set_headers=(("x-user", "alice"),), remove=("api-key", "cookie"), consumer="alice"))
    assert answer.status == 200
    assert answer.headers == [
        ("x-user", "alice"),
        ("x-envoy-auth-headers-to-remove", "api-key, cookie"),
        ("x-apostille-consumer", "alice"),
    ]


def test_a_denial_carries_its_headers_and_its_reason() -> None:
    answer = emit_answer(Refused(denial=Deny(status=401, reason="no_key", headers=(("a", "b"),), body="text")))
    assert (answer.status, answer.body) == (401, "text")
    assert answer.headers == [("a", "b"), ("x-apostille-reason", "no_key")]


@pytest.mark.parametrize(("status", "told"), [(500, "500"), (503, "503"), (599, "500")])
def test_a_server_error_travels_as_403_with_its_true_status_beside(status: int, told: str) -> None:
    answer = emit_answer(Refused(denial=Deny(status=status, reason="failed")))
    assert answer.status == 403
    assert answer.headers == [("x-apostille-reason", "failed"), ("x-apostille-status", told)]


@given(st.integers(min_value=300, max_value=599))
def test_no_denial_is_an_approval_nor_a_status_that_envoy_takes_for_silence(status: int) -> None:
    assert 300 <= emit_answer(Refused(denial=Deny(status=status, reason="no"))).status <= 499
