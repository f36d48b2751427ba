"""Whether a design does the job before it is measured: a recorder stands where the upstream will be.

Signatures are recomputed by botocore, which none of the measured designs but one uses.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import aiohttp
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from apostille.demo.recorder import Recorded, Recorder, start_recorder
from bench.design import ACCESS_KEY, KEY_HEADER, REGION, SECRET_KEY, Design, Place, Running, WrongAnswer
from bench.envoy_config import OBJECT

_REQUESTS = 3


async def check_design(design: Design, place: Place) -> None:
    """Start it once and try it. Raises NotHere or WrongAnswer."""
    async with start_recorder("127.0.0.1", place.upstream) as recorder:
        told = Place(folder=place.folder, upstream=recorder.port, cores=place.cores)
        async with design.start(told) as running:
            await _check_answers(design, running, recorder)
            await design.check(running)


async def _check_answers(design: Design, running: Running, recorder: Recorder) -> None:
    target = running.target
    url = f"http://127.0.0.1:{target.port}{target.path}"
    headers = dict(target.headers)
    async with aiohttp.ClientSession() as http:
        for _ in range(_REQUESTS):
            async with http.get(url, headers=headers) as answer:
                body = await answer.text()
                if answer.status != 200 or body != OBJECT:
                    raise WrongAnswer(f"GET {target.path} is answered by {answer.status} {body[:200]!r}")
        if len(recorder.requests) != _REQUESTS:
            raise WrongAnswer(f"{_REQUESTS} requests were answered and {len(recorder.requests)} reached the upstream")
        if design.signs:
            for request in recorder.requests:
                _check_signature(request)
        if design.checks_key:
            recorder.clear()
            for wrong in ({KEY_HEADER: "wrong"}, {}):
                async with http.get(url, headers=wrong) as answer:
                    if answer.status != 401:
                        raise WrongAnswer(f"with the headers {wrong} the answer is {answer.status}, not 401")
            if recorder.requests:
                raise WrongAnswer("a request that was refused reached the upstream")


def _check_signature(request: Recorded) -> None:
    values = request.values("authorization")
    if len(values) != 1:
        raise WrongAnswer(f"the upstream saw {len(values)} Authorization headers, not one")
    if values[0] != expected_authorization(request):
        raise WrongAnswer(f"the signature is wrong: {request.head!r}")


def expected_authorization(request: Recorded) -> str:
    """What the Authorization of this request has to be, for the headers and the time that it claims."""
    said = request.values("authorization")[0]
    names = said.partition("SignedHeaders=")[2].partition(",")[0].split(";")
    target = urlsplit(request.target)
    host = request.values("host")[0]
    signed = AWSRequest(request.method, f"http://{host}{target.path}?{target.query}".rstrip("?"))
    for name in names:
        if name != "host":
            signed.headers[name] = ",".join(request.values(name))
    signed.context["timestamp"] = request.values("x-amz-date")[0]
    signed.context["payload_signing_enabled"] = True
    auth = S3SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY), "s3", REGION)
    text = auth.string_to_sign(signed, auth.canonical_request(signed))
    scope, signature = auth.scope(signed), auth.signature(text, signed)
    return f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders={';'.join(names)}, Signature={signature}"
