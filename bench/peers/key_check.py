"""An auth service for Envoy: looks at the API key, then lets a signer sign. A peer to compare with, no part of us.

``python key_check.py KEY SIGNER_PORT PATH HOST REGION`` prints ``{"listening": PORT}``.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys

import aiohttp
import uvloop
from granian.constants import Interfaces
from granian.server.embed import Server

SIGNATURE = ("authorization", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token")


class KeyCheck:
    def __init__(self, key: str, signer: str, body: bytes, port: int) -> None:
        self._keys = {key: "demo-user"}
        self._signer = signer
        self._body = body
        self._port = port
        self._http: aiohttp.ClientSession | None = None

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        print(json.dumps({"listening": self._port}), flush=True)

    async def __rsgi__(self, scope, protocol) -> None:  # type: ignore[no-untyped-def]
        if scope.headers.get("api-key") not in self._keys:
            protocol.response_str(401, [("www-authenticate", "API key is missing or invalid")], "")
            return
        if self._http is None:
            self._http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=100))
        async with self._http.post(self._signer, data=self._body) as answer:
            signed = [(name, answer.headers[name]) for name in SIGNATURE if name in answer.headers]
            protocol.response_empty(answer.status, signed)


async def main(key: str, signer_port: str, path: str, host: str, region: str) -> None:
    config = {"method": "GET", "path": path, "host": host, "region": region, "service": "s3"}
    with socket.create_server(("127.0.0.1", 0)) as some:
        port = some.getsockname()[1]
    check = KeyCheck(key, f"http://127.0.0.1:{signer_port}/sign", json.dumps({"config": config}).encode(), port)
    await Server(check, address="127.0.0.1", port=port, interface=Interfaces.RSGI, log_enabled=False).serve()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
