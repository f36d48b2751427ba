"""Questions of the command line to the admin API of a running gateway. No redirection is followed."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import urlencode, urlsplit

from apostille.base.errors import ApostilleError
from apostille.base.secrets import SecretText

ADMIN_URL = "APOSTILLE_ADMIN_URL"
DEFAULT_URL = "http://127.0.0.1:9900"
LINES = "application/x-apostille-keys"

_SECONDS = 30.0
# An import is answered when all of it is in the store.
_LONG_SECONDS = 600.0
_MOST_OF_A_PROBLEM = 64 * 1024
_PIECE = 64 * 1024

# Any: JSON.
Json = Any


class Unreachable(ApostilleError):
    exit_code = 3


class NotAllowed(ApostilleError):
    exit_code = 4


class NoSuchKey(ApostilleError):
    exit_code = 5


class AdminClient:
    def __init__(self, url: str, token: SecretText | None) -> None:
        """Raises ApostilleError for what is no URL of an admin API."""
        wrong = ApostilleError(f"the URL of the admin API is none; write for example {DEFAULT_URL}")
        try:
            parts = urlsplit(url)
            self._host, self._port = parts.hostname or "", parts.port
        except ValueError:
            raise wrong from None
        if not self._host or parts.scheme not in ("http", "https") or "@" in parts.netloc or parts.path.strip("/"):
            raise wrong
        self._is_secure, self._token = parts.scheme == "https", token
        # Without what a URL could hide.
        self.shown = f"{parts.scheme}://{parts.netloc}"

    def ask(
        self,
        method: str,
        path: str,
        body: Json = None,
        *,
        query: Iterable[tuple[str, str]] = (),
    ) -> Json:
        """The JSON of the answer; None of an empty one. Raises Unreachable, NotAllowed, NoSuchKey, ApostilleError."""
        asked = urlencode(list(query))
        data = None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"content-type": "application/json"}
        with self._asking(method, path + (f"?{asked}" if asked else ""), data, headers) as answer:
            text = answer.read()
            return json.loads(text) if text else None

    def send(self, path: str, pieces: Iterable[bytes]) -> Json:
        """Send lines of keys, of any length; gives the JSON of the answer. Raises as `ask` does."""
        with self._asking("POST", path, pieces, {"content-type": LINES}, seconds=_LONG_SECONDS) as answer:
            return json.loads(answer.read())

    def receive(self, path: str) -> Iterator[bytes]:
        """The pieces of a long answer. Raises as `ask` does, also on the way."""
        with self._asking("GET", path, None, {}) as answer:
            while piece := answer.read(_PIECE):
                yield piece

    @contextmanager
    def _asking(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None,
        headers: Mapping[str, str],
        *,
        seconds: float = _SECONDS,
    ) -> Iterator[HTTPResponse]:
        connection = self._connection(seconds)
        told = "" if method == "GET" else "; whether the change was made is unknown: look before you ask again"
        try:
            with self._reaching():
                connection.connect()
            try:
                connection.request(method, path, body, {**headers, **self._authorization()})
                answer = connection.getresponse()
                if answer.status >= 300:
                    raise _problem(answer.status, answer.read(_MOST_OF_A_PROBLEM), self.shown)
                yield answer
            except (OSError, HTTPException, ValueError) as error:
                raise Unreachable(f"{self.shown} gave no whole answer ({type(error).__name__}){told}") from None
        finally:
            connection.close()

    def _connection(self, seconds: float) -> HTTPConnection:
        if self._is_secure:
            return HTTPSConnection(self._host, self._port, timeout=seconds, context=ssl.create_default_context())
        return HTTPConnection(self._host, self._port, timeout=seconds)

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise Unreachable(
                f"the gateway cannot be reached at {self.shown}: {why}; start it with apostille run, "
                f"or name its admin API with --admin or {ADMIN_URL}"
            ) from None

    def _authorization(self) -> Mapping[str, str]:
        return {} if self._token is None else {"authorization": f"Bearer {self._token.reveal()}"}


def _problem(status: int, body: bytes, where: str) -> ApostilleError:
    try:
        told = json.loads(body)
        text, reason, causes = str(told["detail"]), str(told["reason"]), told["errors"]
        lines = [f"  {_place(cause)}{cause['detail']}" for cause in causes if cause["detail"] != text]
    except (ValueError, KeyError, TypeError):
        return Unreachable(f"{where} answered {status} and is no admin API of Apostille")
    message = "\n".join([text, *lines])
    if status in (401, 403):
        return NotAllowed(message)
    return NoSuchKey(message) if reason == "no_such_key" else ApostilleError(message)


def _place(cause: Mapping[str, Json]) -> str:
    place = cause.get("pointer") or cause.get("parameter")
    return f"{str(place).removeprefix('#/')}: " if place and place != "#" else ""
