"""Who may come in at the admin port. It must not know what is behind it.

With a token, those who show it. Without one, everybody on this machine, which is why web pages have to be kept out: a
browser on this machine is on this machine. A page gives itself away by its origin, or, where it has made its own name
point here, by the name that it asks for.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from apostille.admin.problems import Reason, Refused, answer_refusal
from apostille.base.secrets import SecretText

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:@/\s]+)(?::[0-9]{1,5})?")
_OWN_SITES = ("same-origin", "none")
_ANONYMOUS = "somebody"
_TOKEN_HOLDER = "token"  # noqa: S105 - what stands for one in the audit


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """`token` of None asks for none. `address`: where the port is open. `unguarded`: paths that never ask for it."""

    address: str
    token: SecretText | None = None
    unguarded: tuple[str, ...] = ("/healthz", "/readyz")


class Doorkeeper:
    """In front of an ASGI application."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            # There is nothing but HTTP behind this door.
            return
        try:
            self._check(scope["path"], Headers(scope=scope))
        except Refused as refused:
            await answer_refusal(refused)(scope, receive, send)
            return
        scope = {**scope, "state": {**scope.get("state", {}), "actor": self._actor(scope)}}
        await self._app(scope, receive, send)

    def _check(self, path: str, headers: Headers) -> None:
        token = self._access.token
        if token is None:
            self._check_page(headers)
        elif path not in self._access.unguarded and not _shows(headers, token):
            raise Refused(
                Reason.TOKEN,
                "show the admin token: authorization: Bearer, and the value of APOSTILLE_ADMIN_TOKEN of the gateway",
                headers={"www-authenticate": 'Bearer realm="apostille admin"'},
            )

    def _check_page(self, headers: Headers) -> None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_own_name(hosts[0]):
            raise Refused(
                Reason.FOREIGN_HOST,
                "the admin API without a token answers to localhost and to loopback addresses only; "
                "ask for one of them, or set APOSTILLE_ADMIN_TOKEN",
            )
        sites, origins = headers.getlist("sec-fetch-site"), headers.getlist("origin")
        if any(site not in _OWN_SITES for site in sites) or any(not _is_from(each, hosts[0]) for each in origins):
            raise Refused(
                Reason.FOREIGN_PAGE,
                "a web page asks, and not one of this gateway; the admin API without a token answers to none",
            )

    def _is_own_name(self, host: str) -> bool:
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = match[1].strip("[]").lower()
        if name in ("localhost", self._access.address):
            return True
        try:
            return ip_address(name).is_loopback
        except ValueError:
            return False

    def _actor(self, scope: Scope) -> str:
        """Whom the audit names: how it came in, and from where."""
        who = _ANONYMOUS if self._access.token is None else _TOKEN_HOLDER
        client = scope.get("client")
        return f"{who} at {client[0]}" if client else who


def is_loopback(address: str) -> bool:
    return ip_address(address).is_loopback


def _shows(headers: Headers, token: SecretText) -> bool:
    shown = headers.getlist("authorization")
    if len(shown) != 1:
        return False
    scheme, _, value = shown[0].partition(" ")
    # Header values are Latin-1; comparing bytes takes any of them.
    is_right = hmac.compare_digest(value.strip().encode("latin-1", "replace"), token.reveal().encode())
    return is_right and scheme.lower() == "bearer"


def _is_from(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc == host and not parts.path
