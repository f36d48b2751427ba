"""Where in a request keys are shown, and what is left of the query and the cookies without them. Pure.

Nothing of a query or a cookie is written anew: what stays, stays as the client spelled it.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import unquote_plus

from apostille.sdk import KEY_PREFIX, AuthRequest
from apostille.steps.api_key.spec import AUTHORIZATION, COOKIE, ApiKeyConfig, Bearer

_SCHEME = "bearer "


class Shown(NamedTuple):
    """`keys`: each that was shown, once. `joined`: the header as it came, where it may be several keys, or one that
    holds a comma. `query`, `cookies`: the others; None where the policy takes no key there."""

    keys: tuple[str, ...]
    joined: str | None = None
    query: str | None = None
    cookies: str | None = None


def find_shown(request: AuthRequest, config: ApiKeyConfig) -> Shown:
    value = request.headers.get(config.header, "")
    if config.bearer is Bearer.NONE and config.query is None and config.cookie is None and "," not in value:
        # Most requests, without the search for more.
        return Shown(keys=(value,) if value else ())
    lines = _lines(value)
    keys = [] if config.header == AUTHORIZATION and config.bearer is not Bearer.NONE else [*lines]
    if config.bearer is not Bearer.NONE:
        keys += _bearers(request.headers.get(AUTHORIZATION, ""), config)
    query = cookies = None
    if config.query is not None:
        found, query = _split_query(request.path.partition("?")[2], config.query)
        keys += found
    if config.cookie is not None:
        found, cookies = _split_cookies(request.headers.get(COOKIE, ""), config.cookie)
        keys += found
    distinct = tuple(dict.fromkeys(key for key in keys if key))
    joined = value if "," in value and set(lines) >= set(distinct) else None
    return Shown(keys=distinct, joined=joined, query=query, cookies=cookies)


def _lines(value: str) -> list[str]:
    """Several lines of one header come joined with commas. A line without anything is no line of a key's."""
    parts = [part.strip() for part in value.split(",")]
    return parts if all(parts) else [value]


def _bearers(value: str, config: ApiKeyConfig) -> list[str]:
    keys = []
    for line in _lines(value):
        is_bearer = line[: len(_SCHEME)].lower() == _SCHEME
        token = line[len(_SCHEME) :].strip() if is_bearer else line if config.header == AUTHORIZATION else ""
        if config.bearer is Bearer.ALL or token.startswith(KEY_PREFIX):
            keys.append(token)
    return keys


def _split_query(query: str, name: str) -> tuple[list[str], str]:
    keys, rest = [], []
    for part in query.split("&"):
        written, _, value = part.partition("=")
        if _decoded(written) == name:
            keys.append(_decoded(value))
        else:
            rest.append(part)
    return keys, "&".join(rest)


def _decoded(text: str) -> str:
    return unquote_plus(text, errors="replace")


def _split_cookies(header: str, name: str) -> tuple[list[str], str]:
    keys, rest = [], []
    for part in header.split(";"):
        written, equals, value = part.strip().partition("=")
        if equals and written.strip() == name:
            keys.append(value.strip().strip('"'))
        elif part.strip():
            rest.append(part.strip())
    return keys, "; ".join(rest)
