"""Envoy's check request and our answer to it, as plain values. Pure: no server, no clock.

Envoy asks with the client's method, ``/check`` before the client's path, and the client's headers. Status 200 lets
the request go on, and Envoy sets each header of the answer on the upstream request; any other status is the answer to
the client.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, assert_never

from apostille.auth.chain import ChainResult, Passed, Refused
from apostille.auth.contract import AuthRequest
from apostille.base.check import (
    CARRIED_STATUSES,
    CHECK_PREFIX,
    CONSUMER_HEADER,
    ENCODING_HEADER,
    KEY_HEADER,
    LENGTH_HEADER,
    OUR_HEADERS_PREFIX,
    PATH_HEADER,
    PROGRAM_HEADER,
    QUERY_HEADER,
    REASON_HEADER,
    ROUTE_HEADER,
    STATUS_HEADER,
    TARGET_HEADER,
)
from apostille.base.headers import is_header_value
from apostille.model.auth import Place

PARTIAL_HEADER = "x-envoy-auth-partial-body"
REMOVE_HEADER = "x-envoy-auth-headers-to-remove"
REQUEST_ID_HEADER = "x-request-id"

# The status that a 5xx travels as; see CARRIED_STATUSES.
_CARRIER = 403

# In place of a value beyond ASCII, which the web server leaves out together with its name. A step must see that the
# client sent the header: it may have to refuse it. No header can carry this one, so it is neither signed nor passed on.
UNREADABLE = "\udcff"

# How Envoy writes a header that is not there.
_ABSENT = "-"
_REQUEST_ID_MAX = 128


@dataclass(slots=True, kw_only=True, repr=False)
class Check:
    """One question: which program, for which route, about which request (its body aside).

    `bodiless`: nothing stands behind the question's head. Not frozen, because writing each field of a frozen value
    costs several times as much, and one of these is made for each request.
    """

    program: str
    route: str
    request_id: str
    bodiless: bool
    method: str
    host: str
    path: str
    headers: dict[str, str]
    body_complete: bool
    length: int | None
    chunked: bool

    def request(self, body: bytes | None, place: Place) -> AuthRequest:
        return AuthRequest(
            method=self.method,
            host=self.host,
            place=place,
            path=self.path,
            headers=self.headers,
            body=body,
            body_complete=self.body_complete,
            length=self.length,
            chunked=self.chunked,
        )


class Answer(NamedTuple):
    status: int
    headers: list[tuple[str, str]]
    body: str = ""


def parse_check(
    method: str, path: str, query: str, items: Sequence[tuple[str, str]], names: Sequence[str] = (), host: str = ""
) -> Check:
    """`path` as the web server gives it, ``/check`` included. It is percent-decoded there, so the client's own spelling
    is taken from PATH_HEADER, which Envoy sets; without that header the decoded one has to do. The names of `items` are
    in lower case, as RSGI promises. `names`: of all headers, those too whose value the web server cannot read. `host`:
    of the question, which Envoy takes from the client's request."""
    headers = dict(items)
    if len(headers) != len(items):
        headers = _joined(items)
    if len(headers) < len(names):
        for name in names:
            if not name.startswith(OUR_HEADERS_PREFIX):
                headers.setdefault(name, UNREADABLE)
    take = headers.pop
    spelled = take(PATH_HEADER, "") or (path.removeprefix(CHECK_PREFIX) or "/") + (f"?{query}" if query else "")
    check = Check(
        program=take(PROGRAM_HEADER, ""),
        route=take(ROUTE_HEADER, ""),
        request_id=headers.get(REQUEST_ID_HEADER, "")[:_REQUEST_ID_MAX],
        # Its length is said of the question itself: Envoy writes 0 here where it sends no body along, whatever the
        # client's is. The client's own length stands in LENGTH_HEADER.
        bodiless=take("content-length", None) == "0",
        method=method,
        host=host or headers.get("host", ""),
        path=spelled,
        headers=headers,
        body_complete=take(PARTIAL_HEADER, None) == "false",
        length=_length(take(LENGTH_HEADER, _ABSENT)),
        chunked=take(ENCODING_HEADER, _ABSENT) != _ABSENT,
    )
    take("transfer-encoding", None)
    for name in [name for name in headers if name.startswith(OUR_HEADERS_PREFIX)]:
        del headers[name]
    return check


def _joined(items: Iterable[tuple[str, str]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in items:
        if name not in headers:
            headers[name] = value
        elif name.startswith(OUR_HEADERS_PREFIX):
            # Envoy sets each of these once. Should there be two, one of them is forged, and neither is believed.
            headers[name] = ""
        else:
            headers[name] += ("; " if name == "cookie" else ",") + value
    return headers


def _length(written: str) -> int | None:
    return int(written) if written.isascii() and written.isdigit() else None


def emit_answer(result: ChainResult) -> Answer:
    """Header names and values were checked by the chain."""
    match result:
        case Passed():
            headers = [*result.set_headers]
            if result.remove:
                headers.append((REMOVE_HEADER, ", ".join(result.remove)))
            if result.target is not None:
                headers.append((TARGET_HEADER, result.target))
            if result.query is not None:
                headers.append((QUERY_HEADER, f"?{result.query}"))
            _append_caller(headers, result)
            return Answer(200, headers)
        case Refused():
            return _emit_denial(result)
        case _:
            assert_never(result)


def _append_caller(headers: list[tuple[str, str]], result: Passed | Refused) -> None:
    """For the access log; Envoy keeps both from client and upstream."""
    if result.consumer and is_header_value(result.consumer):
        headers.append((CONSUMER_HEADER, result.consumer))
    if result.key:
        headers.append((KEY_HEADER, result.key))


def _emit_denial(refused: Refused) -> Answer:
    deny = refused.denial
    headers = [*deny.headers, (REASON_HEADER, deny.reason)]
    _append_caller(headers, refused)
    if deny.status < 500:
        return Answer(deny.status, headers, deny.body)
    true_status = deny.status if deny.status in CARRIED_STATUSES else 500
    return Answer(_CARRIER, [*headers, (STATUS_HEADER, str(true_status))], deny.body)
