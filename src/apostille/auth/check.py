"""Envoy's check request and our answer to it, as plain values. Pure: no server, no clock.

Envoy asks with the client's method, ``/check`` before the client's path, and the client's headers. Status 200 lets
the request go on, and Envoy sets each header of the answer on the upstream request; any other status is the answer to
the client.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import assert_never

from apostille.auth.chain import ChainResult
from apostille.auth.contract import Allow, AuthRequest, Deny
from apostille.base.check import (
    CARRIED_STATUSES,
    CHECK_PREFIX,
    CONSUMER_HEADER,
    ENCODING_HEADER,
    LENGTH_HEADER,
    OUR_HEADERS_PREFIX,
    PATH_HEADER,
    PROGRAM_HEADER,
    REASON_HEADER,
    ROUTE_HEADER,
    STATUS_HEADER,
    TARGET_HEADER,
)
from apostille.base.headers import is_header_value

PARTIAL_HEADER = "x-envoy-auth-partial-body"
REMOVE_HEADER = "x-envoy-auth-headers-to-remove"
REQUEST_ID_HEADER = "x-request-id"

# The status that a 5xx travels as; see CARRIED_STATUSES.
_CARRIER = 403

# How Envoy writes a header that is not there.
_ABSENT = "-"
# Of the check request itself: Envoy writes a length of 0 here whatever the client's body is.
_FRAMING = frozenset({"content-length", "transfer-encoding"})
_REQUEST_ID_MAX = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One question: which program, for which route, about which request (its body aside)."""

    program: str
    route: str
    request_id: str
    request: AuthRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: str = ""


def parse_check(method: str, path: str, query: str, items: Iterable[tuple[str, str]]) -> Check:
    """`path` as the web server gives it, ``/check`` included. It is percent-decoded there, so the client's own spelling
    is taken from PATH_HEADER, which Envoy sets; without that header the decoded one has to do."""
    ours: dict[str, str] = {}
    headers: dict[str, str] = {}
    for raw_name, value in items:
        name = raw_name.lower()
        if name.startswith(OUR_HEADERS_PREFIX):
            # Envoy sets each of these once. Should there be two, one of them is forged, and neither is believed.
            ours[name] = value if name not in ours else ""
        elif name in headers:
            headers[name] += ("; " if name == "cookie" else ",") + value
        elif name not in _FRAMING:
            headers[name] = value
    spelled = ours.get(PATH_HEADER) or (path.removeprefix(CHECK_PREFIX) or "/") + (f"?{query}" if query else "")
    return Check(
        program=ours.get(PROGRAM_HEADER, ""),
        route=ours.get(ROUTE_HEADER, ""),
        request_id=headers.get(REQUEST_ID_HEADER, "")[:_REQUEST_ID_MAX],
        request=AuthRequest(
            method=method,
            path=spelled,
            headers=headers,
            body_complete=headers.pop(PARTIAL_HEADER, None) == "false",
            length=_length(ours.get(LENGTH_HEADER)),
            chunked=ours.get(ENCODING_HEADER, _ABSENT) != _ABSENT,
        ),
    )


def _length(written: str | None) -> int | None:
    return int(written) if written is not None and written.isascii() and written.isdigit() else None


def emit_answer(result: ChainResult) -> Answer:
    """Header names and values were checked by the chain."""
    match result.verdict:
        case Allow() as allow:
            headers = list(allow.set_headers)
            if result.remove:
                headers.append((REMOVE_HEADER, ", ".join(result.remove)))
            if result.target is not None:
                headers.append((TARGET_HEADER, result.target))
            if result.consumer and is_header_value(result.consumer):
                headers.append((CONSUMER_HEADER, result.consumer))
            return Answer(status=200, headers=headers)
        case Deny() as deny:
            return _emit_denial(deny, result.consumer)
        case _:
            assert_never(result.verdict)


def _emit_denial(deny: Deny, consumer: str | None) -> Answer:
    headers = [*deny.headers, (REASON_HEADER, deny.reason)]
    if consumer and is_header_value(consumer):
        # For the access log; Envoy keeps it from the client.
        headers.append((CONSUMER_HEADER, consumer))
    if deny.status < 500:
        return Answer(status=deny.status, headers=headers, body=deny.body)
    true_status = deny.status if deny.status in CARRIED_STATUSES else 500
    return Answer(status=_CARRIER, headers=[*headers, (STATUS_HEADER, str(true_status))], body=deny.body)
