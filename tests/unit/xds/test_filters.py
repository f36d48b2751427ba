from __future__ import annotations

import pytest
import re2
from envoy.extensions.filters.http.ext_authz.v3.ext_authz_pb2 import ExtAuthz

from apostille.xds.filters import emit_filters
from apostille.xds.names import EXT_AUTHZ
from apostille.xds.site import Site


def ext_authz(*, deadline_ms: int = 2000, status_on_error: int = 503) -> ExtAuthz:
    [found] = [
        each for each in emit_filters(deadline_ms, status_on_error, Site(), inline=False) if each.name == EXT_AUTHZ
    ]
    return ExtAuthz.FromString(found.typed_config.value)


def passes(name: str, *, to_client: bool = False) -> bool:
    response = ext_authz().http_service.authorization_response
    [pattern] = (response.allowed_client_headers if to_client else response.allowed_upstream_headers).patterns
    return re2.fullmatch(pattern.safe_regex.regex, name) is not None


def test_no_decision_is_no_access() -> None:
    found = ext_authz()
    assert found.failure_mode_allow is False
    assert found.clear_route_cache is False


def test_envoy_gives_up_a_little_after_the_auth_service_should_have() -> None:
    assert ext_authz(deadline_ms=1800).http_service.server_uri.timeout.ToMilliseconds() == 2050


@pytest.mark.parametrize("status", [403, 502, 503])
def test_the_answer_when_nobody_can_be_asked_is_the_one_that_was_chosen(status: int) -> None:
    assert ext_authz(status_on_error=status).status_on_error.code == status


@pytest.mark.parametrize("name", ["authorization", "x-amz-date", "x-user-email", "cookie", "x-e", "contents"])
def test_what_the_auth_service_sets_goes_upstream(name: str) -> None:
    assert passes(name)


@pytest.mark.parametrize("name", ["content-length", "content-type", "date", "server", "x-envoy-x", "x-apostille-x"])
def test_what_belongs_to_the_exchange_itself_does_not_go_upstream(name: str) -> None:
    assert not passes(name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("www-authenticate", True),
        ("x-apostille-reason", True),
        ("content-type", True),
        ("x-apostille-status", False),
        ("content-length", False),
        ("x-envoy-upstream-service-time", False),
    ],
)
def test_a_denial_reaches_the_client_with_its_own_headers(name: str, expected: bool) -> None:
    assert passes(name, to_client=True) is expected


def test_the_auth_service_is_told_which_program_and_route_it_is_about() -> None:
    added = {each.key: each.value for each in ext_authz().http_service.authorization_request.headers_to_add}
    assert added["x-apostille-program"] == "%METADATA(ROUTE:apostille:program)%"
    assert added["x-apostille-route"] == "%ROUTE_NAME%"
    assert added["x-apostille-path"] == "%REQ(:PATH)%"
