"""The one HTTP client that all steps of a worker share."""

from __future__ import annotations

import aiohttp

# Less than the 5 s after which a Node.js server closes an idle connection. A POST on a connection that is being closed
# from the other side fails, and cannot be repeated safely.
_IDLE_SECONDS = 4
_CONNECTIONS = 512
_CONNECTIONS_PER_HOST = 128
_HEADER_LINE_MAX = 16 * 1024


def open_session() -> aiohttp.ClientSession:
    """Adds no header that HTTP does not need, keeps no cookies, reads no proxy settings, sets no time limit of its own.

    Redirects are the caller's matter: ``allow_redirects`` is an argument of each call, and a step passes False.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=_CONNECTIONS, limit_per_host=_CONNECTIONS_PER_HOST, keepalive_timeout=_IDLE_SECONDS
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        timeout=aiohttp.ClientTimeout(total=None),
        max_line_size=_HEADER_LINE_MAX,
        max_field_size=_HEADER_LINE_MAX,
    )
