"""A signing proxy by hand: aiohttp on both sides, botocore signs. A peer to compare with, no part of us.

``python aiohttp_proxy.py KEY UPSTREAM_PORT HOST REGION ACCESS_KEY SECRET_KEY`` prints ``{"listening": PORT}``.
"""

from __future__ import annotations

import asyncio
import json
import sys

import aiohttp
import uvloop
from aiohttp import web
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from yarl import URL


async def main(key: str, upstream: str, host: str, region: str, access_key: str, secret_key: str) -> None:
    signer = S3SigV4Auth(Credentials(access_key, secret_key), "s3", region)
    keys = {key: "demo-user"}

    async def proxy(request: web.BaseRequest) -> web.StreamResponse:
        if request.headers.get("api-key") not in keys:
            return web.Response(status=401, headers={"www-authenticate": "API key is missing or invalid"})
        if request.method != "GET":
            return web.Response(status=403)
        signed = AWSRequest("GET", f"http://{host}{request.raw_path}")
        signer.add_auth(signed)
        url = URL(f"http://127.0.0.1:{upstream}{request.raw_path}", encoded=True)
        async with http.get(url, headers={**dict(signed.headers.items()), "Host": host}) as answer:
            return web.Response(status=answer.status, body=await answer.read())

    connector = aiohttp.TCPConnector(limit=100)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as http:
        runner = web.ServerRunner(web.Server(proxy))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        print(json.dumps({"listening": runner.addresses[0][1]}), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
