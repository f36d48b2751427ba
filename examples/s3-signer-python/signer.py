"""Signs requests to S3 for a gateway, which asks before it lets a request go. README.md has the contract.

Python 3.11 alone: there is nothing to install.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import signal
import threading
import traceback
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from urllib.parse import quote, unquote

ALGORITHM = "AWS4-HMAC-SHA256"
LARGEST_BODY = 64 * 1024


class RefusedError(Exception):
    """We will not sign this. Its text goes to the gateway: fixed words, nothing of what was sent."""


class BrokenError(Exception):
    """We cannot sign anything: the fault is ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The request to sign, as the gateway describes it. `path` is as in a request line: escaped, with its query."""

    method: str
    path: str
    host: str
    region: str
    service: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    key_id: str
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)


def sign(config: Config, credentials: Credentials, now: datetime) -> dict[str, str]:
    """The headers that sign one request, AWS Signature Version 4. Pure: `now` is in UTC."""
    time = now.strftime("%Y%m%dT%H%M%SZ")
    scope = (time[:8], config.region, config.service, "aws4_request")
    payload = _sha256("") if config.method in ("GET", "HEAD") else "UNSIGNED-PAYLOAD"

    amz = {"x-amz-content-sha256": payload, "x-amz-date": time}
    if credentials.token:
        amz["x-amz-security-token"] = credentials.token
    headers = {"host": config.host, **amz}  # in alphabetical order, as AWS wants them
    names = ";".join(headers)
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())

    path, _, query = config.path.partition("?")
    request = "\n".join((config.method, canonical_path(path), canonical_query(query), lines, names, payload))
    key = f"AWS4{credentials.secret}".encode()
    for part in scope:
        key = _hmac(key, part)
    signature = _hmac(key, "\n".join((ALGORITHM, time, "/".join(scope), _sha256(request)))).hex()

    credential = "/".join((credentials.key_id, *scope))
    authorization = f"{ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}"
    return {"authorization": authorization, **amz}


def canonical_path(path: str) -> str:
    """The path in the one spelling that is signed: each character escaped once, slashes kept, dot segments kept."""
    return _escape(_unescape(path), also="/")


def canonical_query(query: str) -> str:
    pairs = (pair.replace("+", " ").partition("=") for pair in query.split("&") if pair)
    return "&".join(
        f"{name}={value}" for name, value in sorted((_escape(_unescape(n)), _escape(_unescape(v))) for n, _, v in pairs)
    )


def _escape(text: str, also: str = "") -> str:
    return quote(text, safe="-._~" + also)


def _unescape(text: str) -> str:
    # unquote would let a lone percent sign pass, and S3 would read the path in another way than we did.
    if re.search(r"%(?![0-9A-Fa-f]{2})", text) is None:
        try:
            return unquote(text, errors="strict")
        except UnicodeDecodeError:
            pass
    raise RefusedError("config.path has a percent sign that begins no escaped UTF-8 character")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


_RULES = {
    "method": (r"[A-Z]+", "a method in capitals"),
    "path": (r"/[\x21-\x7e]*", "a path as in a request line: it begins with a slash, and is ASCII without spaces"),
    "host": (r"[A-Za-z0-9.-]+(:[0-9]+)?", "a host name"),
    "region": (r"[a-z0-9-]+", "the name of a region"),
    "service": (r"s3", "s3"),
}


def parse_config(body: bytes, allowed_paths: Collection[str] = ()) -> Config:
    """Read ``{"config": {...}}``. Raises RefusedError when it is not what can be signed, or must not be."""
    try:
        document = json.loads(body)
    except ValueError:
        raise RefusedError("the body is not JSON") from None
    given = document.get("config") if isinstance(document, dict) else None
    if not isinstance(given, dict):
        given = {}
    for name, (pattern, wanted) in _RULES.items():
        value = given.get(name)
        if not isinstance(value, str) or re.fullmatch(pattern, value) is None:
            raise RefusedError(f"config.{name} must be {wanted}")
    config = Config(**{name: given[name] for name in _RULES})
    path = canonical_path(config.path.partition("?")[0])
    if allowed_paths and path not in map(canonical_path, allowed_paths):
        raise RefusedError("config.path is not allowed")
    return config


def read_credentials(env: Mapping[str, str]) -> Credentials:
    """Take them from the environment. Raises BrokenError when they are not there."""
    values = {}
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        values[name] = env.get(name, "").strip()
        if re.fullmatch(r"[\x21-\x7e]*", values[name]) is None:
            raise BrokenError(f"{name} has characters that no credential has")
    key_id, secret, token = values.values()
    if not key_id or not secret:
        raise BrokenError("no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    return Credentials(key_id=key_id, secret=secret, token=token)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "signer", ""
    # Seconds a connection may be idle; longer than the gateway keeps its own.
    timeout = 75

    def do_GET(self) -> None:
        if self.path == "/healthz":
            self.answer(200, {})
        else:
            self.answer(403, {"x-sign-error": "ask with POST /sign"})

    def do_POST(self) -> None:
        try:
            self.answer(200, self.signed_headers())
        except RefusedError as error:
            self.answer(403, {"x-sign-error": str(error)})
        except BrokenError as error:
            self.answer(500, {"x-sign-error": str(error)})
        except Exception:  # noqa: BLE001 - whatever went wrong, the gateway gets an answer and lets nothing go
            traceback.print_exc()
            self.answer(500, {"x-sign-error": "internal error"})

    def signed_headers(self) -> dict[str, str]:
        body = self.read_body()
        if self.path != "/sign":
            raise RefusedError("ask with POST /sign")
        allowed_paths = [path for path in os.environ.get("ALLOWED_PATHS", "").split(",") if path]
        config = parse_config(body, allowed_paths)
        return sign(config, read_credentials(os.environ), datetime.now(UTC))

    def read_body(self) -> bytes:
        length = self.headers.get("content-length", "0")
        if "transfer-encoding" in self.headers or not re.fullmatch(r"[0-9]{1,9}", length) or int(length) > LARGEST_BODY:
            # An unread body would be taken for the next request.
            self.close_connection = True
            raise RefusedError(f"the body must be sent with content-length, and be of at most {LARGEST_BODY} bytes")
        return self.rfile.read(int(length))

    def answer(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", "0")
        if self.close_connection:
            self.send_header("connection", "close")
        self.end_headers()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing for each request: the gateway logs its decisions."""


class Server(ThreadingMixIn, TCPServer):
    """Not http.server's own: that one asks the DNS for the host's name before it serves."""

    allow_reuse_address = True
    daemon_threads = True
    # Python's 5 is too few when a gateway opens many connections at once.
    request_queue_size = 128


def main() -> None:
    server = Server((os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "3000"))), Handler)

    def stop(*_: object) -> None:
        # shutdown waits for the loop below, which this signal has interrupted: only another thread may call it.
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    print(json.dumps({"listening": server.server_address[1]}), flush=True)
    server.serve_forever(poll_interval=0.1)


if __name__ == "__main__":
    main()
