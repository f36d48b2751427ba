from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from apostille.sdk import CompiledStep, Endpoint, HeaderUse, Problem, Reason, SecretText
from apostille.steps.pass_through import KIND
from apostille.steps.pass_through_spec import PassThroughConfig, PassThroughSpec

# The fixture class stands in conftest.py, which cannot be imported.
Scope = Any

URL = "http://signer.signing.svc.cluster.local:3000/sign"


def http(**fields: object) -> dict[str, object]:
    return {"http": {"url": URL, **fields}}


def compiled(scope: Scope, spec: Mapping[str, object]) -> CompiledStep:
    result = KIND.compile(PassThroughSpec.model_validate(spec), scope)
    assert isinstance(result, CompiledStep), result
    return result


def config(scope: Scope, spec: Mapping[str, object]) -> PassThroughConfig:
    made = compiled(scope, spec).config
    assert isinstance(made, PassThroughConfig)
    return made


def problems(scope: Scope, spec: Mapping[str, object]) -> list[Problem]:
    result = KIND.compile(PassThroughSpec.model_validate(spec), scope)
    assert isinstance(result, list), result
    return result


def test_a_url_alone_asks_for_nothing_and_lets_nothing_through(scope: Scope) -> None:
    assert compiled(scope, http()) == CompiledStep(
        config=PassThroughConfig(
            scheme="http",
            authority="signer.signing.svc.cluster.local:3000",
            path="/sign",
            endpoints=None,
            server_name=None,
            timeout_ms=5000,
            header_timeout_ms=None,
            max_connections=None,
            copy=(),
            add=(),
            send_body=False,
            send_state=False,
            send_filter_metadata=False,
            custom=None,
            append=(),
            overwrite=(),
            on_denied=(),
            read_state=False,
            allow_on_failure=False,
        ),
        headers=HeaderUse(),
    )


def test_everything_said_is_kept(scope: Scope) -> None:
    made = compiled(
        scope,
        {
            "http": {
                "url": "https://auth.example.com/a%2Fb?x=1",
                "connectionTimeout": "1.5s",
                "responseHeaderTimeout": "250ms",
                "connectionPool": {"maxConns": 7, "idleTimeout": "30s"},
                "request": {
                    "allowedHeaders": ["X-Request-Id", "Authorization", "x-amz-date", "x-request-id"],
                    "headersToAdd": {"X-Token": "canary"},
                    "passThroughBody": True,
                    "passThroughState": True,
                    "passThroughFilterMetadata": True,
                },
                "response": {
                    "allowedUpstreamHeaders": ["Authorization"],
                    "allowedUpstreamHeadersToOverwrite": ["x-a"],
                    "allowedClientHeadersOnDenied": ["Location", "set-cookie"],
                    "readStateFromResponse": True,
                },
            },
            "config": {"b": 1, "a": "canary"},
            "failureModeAllow": True,
        },
    )
    assert isinstance(made.config, PassThroughConfig)
    assert (made.config.authority, made.config.path) == ("auth.example.com", "/a%2Fb?x=1")
    assert (made.config.timeout_ms, made.config.header_timeout_ms, made.config.max_connections) == (1500, 250, 7)
    assert made.config.add == (("x-token", SecretText("canary")),)
    assert made.config.custom == SecretText('{"a": "canary", "b": 1}')
    assert made.config.on_denied == ("location", "set-cookie")
    assert made.config.allow_on_failure
    assert made.headers == HeaderUse(
        reads=("x-request-id", "authorization", "x-amz-date"),
        credentials=("authorization", "x-amz-date"),
        writes=("authorization", "x-a"),
        body=True,
    )
    assert "canary" not in repr(made)


def test_a_known_service_is_reached_by_its_addresses(scope: Scope) -> None:
    address = Endpoint(host="10.0.0.7", port=3001)
    scope.services[("signer.signing.svc.cluster.local", 3000)] = (address,)
    scope.services[("auth.a.svc", 443)] = (address,)
    plain = config(scope, http())
    assert (plain.endpoints, plain.server_name) == ((address,), None)
    secure = config(scope, {"http": {"url": "https://auth.a.svc/"}})
    assert (secure.endpoints, secure.server_name, secure.authority) == ((address,), "auth.a.svc", "auth.a.svc")


@pytest.mark.parametrize(
    ("spec", "at", "reason"),
    [
        ({}, (), Reason.MISSING_FIELD),
        ({"grpc": {"address": "a:1"}}, ("grpc",), Reason.NOT_BUILT),
        (http(tlsConfig={}), ("http", "tlsConfig"), Reason.NOT_BUILT),
        (
            http(response={"allowedClientHeadersOnSuccess": ["x-a"]}),
            ("http", "response", "allowedClientHeadersOnSuccess"),
            Reason.NOT_BUILT,
        ),
        (http(connectionTimeout="soon"), ("http", "connectionTimeout"), Reason.INVALID_VALUE),
        (http(connectionTimeout="0s"), ("http", "connectionTimeout"), Reason.INVALID_VALUE),
        (http(responseHeaderTimeout="1x"), ("http", "responseHeaderTimeout"), Reason.INVALID_VALUE),
        (
            http(request={"allowedHeaders": ["x-a", ":path"]}),
            ("http", "request", "allowedHeaders", 1),
            Reason.INVALID_VALUE,
        ),
        (http(request={"allowedHeaders": ["host"]}), ("http", "request", "allowedHeaders", 0), Reason.INVALID_VALUE),
        (
            http(request={"headersToAdd": {":method": "GET"}}),
            ("http", "request", "headersToAdd", ":method"),
            Reason.INVALID_VALUE,
        ),
        (
            http(request={"headersToAdd": {"x-a": "canary\r\nx-b: c"}}),
            ("http", "request", "headersToAdd", "x-a"),
            Reason.INVALID_VALUE,
        ),
        (
            http(request={"headersToAdd": {"x-a": "1", "X-A": "2"}}),
            ("http", "request", "headersToAdd", "X-A"),
            Reason.CONFLICT,
        ),
        (
            http(response={"allowedUpstreamHeaders": ["content-type"]}),
            ("http", "response", "allowedUpstreamHeaders", 0),
            Reason.INVALID_VALUE,
        ),
        (
            http(response={"allowedUpstreamHeadersToOverwrite": ["x-envoy-auth-headers-to-remove"]}),
            ("http", "response", "allowedUpstreamHeadersToOverwrite", 0),
            Reason.INVALID_VALUE,
        ),
        (
            http(response={"allowedClientHeadersOnDenied": ["transfer-encoding"]}),
            ("http", "response", "allowedClientHeadersOnDenied", 0),
            Reason.INVALID_VALUE,
        ),
        (
            http(response={"allowedUpstreamHeaders": ["X-A"], "allowedUpstreamHeadersToOverwrite": ["x-b", "x-a"]}),
            ("http", "response", "allowedUpstreamHeadersToOverwrite", 1),
            Reason.CONFLICT,
        ),
        ({**http(), "config": {"a": float("nan")}}, ("config",), Reason.INVALID_VALUE),
    ],
)
def test_what_cannot_be_kept_shuts_the_door(
    scope: Scope, spec: dict[str, object], at: tuple[str | int, ...], reason: Reason
) -> None:
    (problem,) = problems(scope, spec)
    assert (problem.at, problem.reason) == (at, reason)
    assert "canary" not in problem.message


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/sign",
        "signer:3000/sign",
        "ftp://signer/",
        "http://",
        "http:///sign",
        "http://a:0/",
        "http://a:99999/",
        "http://a:b/",
        "http://[::1/",
        "http://user:canary@a/",
        "http://a/ b",
        "http://a/\r\nx: y",
        "http://a/#top",
        "http://ä/",
    ],
)
def test_a_url_must_be_absolute_and_say_nothing_but_where(scope: Scope, url: str) -> None:
    (problem,) = problems(scope, {"http": {"url": url}})
    assert problem.at == ("http", "url")
    assert "write for example http://" in problem.message
    assert "canary" not in problem.message


def test_all_problems_are_told_at_once(scope: Scope) -> None:
    found = problems(scope, http(connectionTimeout="x", tlsConfig={}, request={"allowedHeaders": [":a"]}))
    assert len(found) == 3


def test_a_service_on_a_unix_socket_cannot_be_asked(scope: Scope) -> None:
    scope.services[("signer.signing.svc.cluster.local", 3000)] = (Endpoint(host="/run/a.sock", port=0),)
    (problem,) = problems(scope, http())
    assert problem.at == ("http", "url")
