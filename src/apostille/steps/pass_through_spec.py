"""passThroughAuth as people write it, and what it compiles to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import SplitResult, urlsplit

from pydantic import Field

from apostille.sdk import (
    CompiledStep,
    Endpoint,
    HeaderUse,
    Problem,
    Reason,
    SecretText,
    Spec,
    StepScope,
    is_header_name,
    is_header_value,
    is_settable_name,
    is_upstream_name,
    parse_duration,
)

_DEFAULT_TIMEOUT = "5s"
_PORTS = {"http": 80, "https": 443}
_CREDENTIALS = frozenset({"authorization", "proxy-authorization", "cookie"})
_CREDENTIAL_PREFIX = "x-amz-"

Where = tuple[str | int, ...]


class HttpRequestSpec(Spec):
    allowed_headers: list[str] = Field(default_factory=list)
    headers_to_add: dict[str, str] = Field(default_factory=dict)
    pass_through_state: bool = False
    pass_through_filter_metadata: bool = False
    pass_through_body: bool = False


class HttpResponseSpec(Spec):
    allowed_upstream_headers: list[str] = Field(default_factory=list)
    allowed_upstream_headers_to_overwrite: list[str] = Field(default_factory=list)
    allowed_client_headers_on_denied: list[str] = Field(default_factory=list)
    allowed_client_headers_on_success: list[str] = Field(default_factory=list)
    read_state_from_response: bool = False


class ConnectionPoolSpec(Spec):
    """`idle_timeout` is accepted; idle connections are closed sooner than most servers close them."""

    max_conns: int | None = Field(default=None, ge=1)
    idle_timeout: str | None = None


class HttpSpec(Spec):
    url: str
    connection_timeout: str = _DEFAULT_TIMEOUT
    response_header_timeout: str | None = None
    connection_pool: ConnectionPoolSpec | None = None
    tls_config: dict[str, object] | None = None
    request: HttpRequestSpec = Field(default_factory=HttpRequestSpec)
    response: HttpResponseSpec = Field(default_factory=HttpResponseSpec)


class PassThroughSpec(Spec):
    """Reference 9.3."""

    http: HttpSpec | None = None
    grpc: dict[str, object] | None = None
    config: dict[str, object] | None = None
    failure_mode_allow: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PassThroughConfig:
    """`path` is the URL's path and query, as written; `authority` its host and port, as written, for the Host header.

    `endpoints`: addresses to connect to instead of asking DNS; none of them: the Service has no one ready.
    `server_name`: for TLS, when the address is not the name. `copy`, `add`, `append`, `overwrite` and `on_denied` are
    header names in lower case. `custom` is the author's `config`, as JSON. `timeout_ms` is for the whole exchange,
    `header_timeout_ms` for the answer's headers.
    """

    scheme: str
    authority: str
    path: str
    endpoints: tuple[Endpoint, ...] | None
    server_name: str | None
    timeout_ms: int
    header_timeout_ms: int | None
    max_connections: int | None
    copy: tuple[str, ...]
    add: tuple[tuple[str, SecretText], ...]
    send_body: bool
    send_state: bool
    send_filter_metadata: bool
    custom: SecretText | None
    append: tuple[str, ...]
    overwrite: tuple[str, ...]
    on_denied: tuple[str, ...]
    read_state: bool
    allow_on_failure: bool


def compile_pass_through(spec: PassThroughSpec, scope: StepScope) -> CompiledStep | list[Problem]:
    problems: list[Problem] = []
    if spec.grpc is not None:
        problems.append(
            Problem(
                at=("grpc",),
                reason=Reason.NOT_BUILT,
                message="a gRPC service cannot be asked yet; write http with the url of an HTTP service",
            )
        )
    elif spec.http is None:
        problems.append(
            Problem(at=(), reason=Reason.MISSING_FIELD, message="no service is named; write http with a url")
        )
    custom = _parse_custom(spec.config, problems)
    if spec.http is None:
        return problems
    compiled = _compile_http(spec, spec.http, custom, scope, problems)
    return problems or compiled


def _compile_http(
    spec: PassThroughSpec, http: HttpSpec, custom: SecretText | None, scope: StepScope, problems: list[Problem]
) -> CompiledStep | list[Problem]:
    problems += _not_built(http)
    problems += _header_problems(http)
    timeout = _parse_timeout(http.connection_timeout, "connectionTimeout", problems)
    header_timeout = (
        None
        if http.response_header_timeout is None
        else _parse_timeout(http.response_header_timeout, "responseHeaderTimeout", problems)
    )
    url = _parse_url(http.url, problems)
    if url is None or timeout is None:
        return problems
    endpoints = scope.endpoints(url.hostname or "", url.port or _PORTS[url.scheme])
    if endpoints and any(endpoint.is_socket for endpoint in endpoints):
        problems.append(
            Problem(
                at=("http", "url"),
                reason=Reason.INVALID_VALUE,
                message=f"{url.hostname} is served on a Unix socket, which cannot be asked; give it a port",
            )
        )
    added = http.request.headers_to_add
    copy = _lower(http.request.allowed_headers)
    append = _lower(http.response.allowed_upstream_headers)
    overwrite = _lower(http.response.allowed_upstream_headers_to_overwrite)
    return CompiledStep(
        config=PassThroughConfig(
            scheme=url.scheme,
            authority=url.netloc,
            path=(url.path or "/") + (f"?{url.query}" if url.query else ""),
            endpoints=endpoints,
            server_name=url.hostname if url.scheme == "https" and endpoints else None,
            timeout_ms=_milliseconds(timeout),
            header_timeout_ms=None if header_timeout is None else _milliseconds(header_timeout),
            max_connections=http.connection_pool.max_conns if http.connection_pool else None,
            copy=copy,
            add=tuple((name.lower(), SecretText(added[name])) for name in sorted(added)),
            send_body=http.request.pass_through_body,
            send_state=http.request.pass_through_state,
            send_filter_metadata=http.request.pass_through_filter_metadata,
            custom=custom,
            append=append,
            overwrite=overwrite,
            on_denied=_lower(http.response.allowed_client_headers_on_denied),
            read_state=http.response.read_state_from_response,
            allow_on_failure=spec.failure_mode_allow,
        ),
        headers=HeaderUse(
            reads=copy,
            credentials=tuple(name for name in copy if name in _CREDENTIALS or name.startswith(_CREDENTIAL_PREFIX)),
            writes=(*append, *overwrite),
            body=http.request.pass_through_body,
        ),
    )


def _parse_url(text: str, problems: list[Problem]) -> SplitResult | None:
    """None, and a problem, for what is no absolute http(s) URL that can be sent as it stands."""
    fault = ""
    url: SplitResult | None = None
    try:
        url = urlsplit(text)
        if url.scheme not in _PORTS or not url.hostname or url.port == 0:
            fault = "is not an absolute http or https URL"
        elif "@" in url.netloc:
            fault = "holds a user name or password; put credentials in request.headersToAdd"
        elif url.fragment or not text.isascii() or not text.isprintable() or " " in text:
            fault = "has a fragment, a space or a character beyond ASCII; write those percent-encoded"
    except ValueError:
        fault = "is not an absolute http or https URL"
    if not fault:
        return url
    # The text itself is not shown: it may hold a password.
    message = f"the url {fault}; write for example http://signer.signing.svc.cluster.local:3000/sign"
    problems.append(Problem(at=("http", "url"), reason=Reason.INVALID_VALUE, message=message))
    return None


def _parse_timeout(text: str, name: str, problems: list[Problem]) -> timedelta | None:
    try:
        timeout = parse_duration(text)
    except ValueError as error:
        problems.append(Problem(at=("http", name), reason=Reason.INVALID_VALUE, message=str(error)))
        return None
    if timeout < timedelta(milliseconds=1):
        message = f"{text!r} leaves no time for an answer; write at least 1ms, for example 1s"
        problems.append(Problem(at=("http", name), reason=Reason.INVALID_VALUE, message=message))
        return None
    return timeout


def _parse_custom(config: dict[str, object] | None, problems: list[Problem]) -> SecretText | None:
    if config is None:
        return None
    try:
        return SecretText(json.dumps(config, sort_keys=True, allow_nan=False))
    except (TypeError, ValueError):
        message = "it holds what JSON cannot say (a date, or a number that is none); put such values in quotes"
        problems.append(Problem(at=("config",), reason=Reason.INVALID_VALUE, message=message))
        return None


def _not_built(http: HttpSpec) -> Iterator[Problem]:
    if http.tls_config is not None:
        yield Problem(
            at=("http", "tlsConfig"),
            reason=Reason.NOT_BUILT,
            message="tlsConfig is not built; without it an https url is checked against the system's certificates",
        )
    if http.response.allowed_client_headers_on_success:
        yield Problem(
            at=("http", "response", "allowedClientHeadersOnSuccess"),
            reason=Reason.NOT_BUILT,
            message="headers for the client's response after a success are not built; take the field out",
        )


def _header_problems(http: HttpSpec) -> Iterator[Problem]:
    request, response = ("http", "request"), ("http", "response")
    for where, names, is_legal, what in (
        (
            (*request, "allowedHeaders"),
            http.request.allowed_headers,
            _is_for_service,
            "cannot be copied to the service; name a plain header (Host and those of the framing stay behind)",
        ),
        (
            (*response, "allowedUpstreamHeaders"),
            http.response.allowed_upstream_headers,
            is_upstream_name,
            "cannot be set on the upstream request; name another header",
        ),
        (
            (*response, "allowedUpstreamHeadersToOverwrite"),
            http.response.allowed_upstream_headers_to_overwrite,
            is_upstream_name,
            "cannot be set on the upstream request; name another header",
        ),
        (
            (*response, "allowedClientHeadersOnDenied"),
            http.response.allowed_client_headers_on_denied,
            is_settable_name,
            "cannot be set on the client's response; name another header",
        ),
    ):
        for index, name in enumerate(names):
            if not is_legal(name):
                yield _bad_header((*where, index), name, what)
    yield from _added_problems(http.request.headers_to_add, (*request, "headersToAdd"))
    appended = set(_lower(http.response.allowed_upstream_headers))
    for index, name in enumerate(http.response.allowed_upstream_headers_to_overwrite):
        if name.lower() in appended:
            yield Problem(
                at=(*response, "allowedUpstreamHeadersToOverwrite", index),
                reason=Reason.CONFLICT,
                message=f"{name!r} is in allowedUpstreamHeaders too; a header is either appended or replaced, keep one",
            )


def _added_problems(added: dict[str, str], where: Where) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for name, value in added.items():
        if not _is_for_service(name):
            yield _bad_header(
                (*where, name), name, "cannot be added; the request's framing and pseudo-headers are fixed"
            )
        if not value.isascii() or not is_header_value(value):
            # The value is not shown: it may be a credential.
            yield Problem(
                at=(*where, name),
                reason=Reason.INVALID_VALUE,
                message=f"the value of {name!r} is no legal header value; take out line feeds and what is beyond ASCII",
            )
        if seen.setdefault(name.lower(), name) != name:
            yield Problem(
                at=(*where, name),
                reason=Reason.CONFLICT,
                message=f"{name!r} and {seen[name.lower()]!r} are the same header; keep one of them",
            )


def _is_for_service(name: str) -> bool:
    """What is reserved on the way to the upstream means nothing on the way to the service."""
    return is_header_name(name) and (is_settable_name(name) or name.lower().startswith(("x-envoy-", "x-apostille-")))


def _bad_header(where: Where, name: str, what: str) -> Problem:
    subject = f"{name!r}" if is_header_name(name) else f"{name!r} is no header name and"
    return Problem(at=where, reason=Reason.INVALID_VALUE, message=f"{subject} {what}")


def _lower(names: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.lower() for name in names))


def _milliseconds(duration: timedelta) -> int:
    return duration // timedelta(milliseconds=1)
