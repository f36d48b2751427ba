"""Signing for S3 from end to end: every request goes through a running gateway to a bucket that checks signatures."""

from __future__ import annotations

import asyncio
import base64
import os
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from hashlib import sha256
from typing import Any

import pytest
import pytest_asyncio

from apostille.demo.recorder import Recorded
from tests.e2e.object_keys import KEY_LIMIT, ObjectKey, corpus
from tests.e2e.signing_scene import (
    API_KEY,
    AWS_SPELLING,
    ONE,
    OTHER_SPELLING,
    REFERENCE,
    SESSION_TOKEN,
    Headers,
    Scene,
    aws_secret,
    signing_scene,
    unsigned,
)
from tests.e2e.stage import tell, until
from tests.e2e.stand_ins import BUCKET, BUCKET_HOST
from tests.e2e.wire import Message, ask, emit_request

pytestmark = pytest.mark.asyncio(loop_scope="module")

MEBIBYTE = 1024 * 1024
LARGE = 20 * MEBIBYTE
EMPTY_HASH = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
CHUNKS_SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
CHUNKS_UNSIGNED = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
# Requests at a time: the bucket is one process.
WIDTH = 8


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with signing_scene(tmp_path_factory.mktemp("signing")) as scene:
        yield scene
        assert unsigned(scene.recorder.requests) == []


async def _each(items: Sequence[ObjectKey], work: Callable[[ObjectKey], Any]) -> list[Any]:
    width = asyncio.Semaphore(WIDTH)

    async def one(item: ObjectKey) -> Any:
        async with width:
            return await work(item)

    return list(await asyncio.gather(*(one(item) for item in items)))


def _reason(answer: Message) -> tuple[int, tuple[str, ...]]:
    return answer.status, answer.values("x-apostille-reason")


def _code(answer: Message) -> str:
    """What S3 says is wrong."""
    return answer.body.partition(b"<Code>")[2].partition(b"</Code>")[0].decode()


# A thousand requests, to a bucket that is one process.
@pytest.mark.timeout(180)
async def test_every_object_key_works_as_it_does_without_the_gateway(scene: Scene) -> None:
    keys = corpus()
    assert len(keys) >= 120
    assert any(len(key.name.encode()) == KEY_LIMIT for key in keys)
    before = await scene.keys_by_gateway()
    assert {"cake.json", ONE} <= before
    put = await _each(keys, lambda key: _put_both(scene, key))
    faults = [fault for fault, _ in put if fault]
    held = [key for key, (_, stored) in zip(keys, put, strict=True) if stored]
    tell(f"{len(keys)} keys, {len(held)} held; not held: {[key.name for key in keys if key not in held]}")

    faults += [fault for found in await _each(held, lambda key: _read_faults(scene, key)) for fault in found]
    names = {key.name for key in held}
    listed = await scene.keys_by_gateway() - before
    reference = await scene.keys_by_bucket(REFERENCE) - {"private.txt"}
    faults += [f"{name!r} is listed on one side only" for name in sorted(listed ^ names | reference ^ names)]
    faults += [fault for found in await _each(held, lambda key: _delete_faults(scene, key)) for fault in found]
    left = await scene.keys_by_gateway() - before
    faults += [f"{name!r} is still there" for name in sorted(left)]
    assert not faults, "\n".join(faults)


def _content(key: ObjectKey) -> bytes:
    return b"content of " + key.name.encode()


async def _put_both(scene: Scene, key: ObjectKey) -> tuple[str, bool]:
    """What differs between the gateway and the bucket itself, and whether the object is stored."""
    ours = await scene.ask("PUT", f"/files/{key.path}", body=_content(key))
    theirs = await scene.directly("PUT", REFERENCE, key.spelling, _content(key))
    fault = ""
    if (ours.status, _code(ours)) != (theirs.status, _code(theirs)):
        fault = f"put {key}: {ours.status} {ours.body!r}, directly {theirs.status} {theirs.body!r}"
    return fault, ours.status == theirs.status == 200


async def _read_faults(scene: Scene, key: ObjectKey) -> list[str]:
    ours = await scene.ask("GET", f"/files/{key.path}")
    stored = await scene.natively("GET", key.name)
    faults = [] if (stored.status, stored.body) == (200, _content(key)) else [f"stored {key}: {stored}"]
    if (ours.status, ours.body) != (200, _content(key)):
        # What the bucket itself cannot give need not come through the gateway either.
        theirs = await scene.directly("GET", REFERENCE, key.spelling)
        tell(f"get {key}: {ours.status} {_code(ours)}, directly {theirs.status} {_code(theirs)}")
        if theirs.status == 200 or not _is_same_refusal(ours, theirs):
            faults.append(f"get {key}: {ours}")
    return faults


def _is_same_refusal(ours: Message, theirs: Message) -> bool:
    """What the bucket says of a signature is told by the gateway as a fault that is not the client's."""
    if _code(theirs) == "SignatureDoesNotMatch":
        return _reason(ours) == (502, ("signature_refused",))
    return (ours.status, _code(ours)) == (theirs.status, _code(theirs))


async def _delete_faults(scene: Scene, key: ObjectKey) -> list[str]:
    ours = await scene.ask("DELETE", f"/files/{key.path}")
    theirs = await scene.directly("DELETE", REFERENCE, key.spelling)
    return [] if ours.status == theirs.status == 204 else [f"delete {key}: {ours.status}, directly {theirs.status}"]


async def test_a_key_that_is_too_long_fails_as_it_does_without_the_gateway(scene: Scene) -> None:
    name = "x" * (KEY_LIMIT + 1)
    fault, stored = await _put_both(scene, ObjectKey(name=name, path=name))
    assert (fault, stored) == ("", False)


@pytest.mark.parametrize(
    "target",
    [
        "?list-type=2&prefix=plain/&encoding-type=url",
        "?prefix=plain%2F&list-type=2&delimiter=/",
        "?prefix=a+b%20c&list-type=2",
        "?list-type=2&prefix=%c3%a9%7e",
        "?list-type=2&&prefix=&max-keys=1",
        "?list-type=2&start-after=cake.json",
        "plain/one.txt?x-id=GetObject",
    ],
)
async def test_queries_are_accepted_in_whatever_spelling(scene: Scene, target: str) -> None:
    answer = await scene.ask("GET", f"/read/{target}")
    assert answer.status == 200, answer
    assert b"ListBucketResult" in answer.body or answer.body == b"one"


async def test_the_caller_needs_the_api_key_and_the_bucket_never_sees_it(scene: Scene) -> None:
    with scene.bucket_not_called():
        answer = await ask(scene.run.port, emit_request("GET", f"/files/{ONE}", []))
        assert answer.status == 401
    assert (await scene.ask("GET", f"/files/{ONE}")).body == b"one"
    seen = scene.recorder.requests[-1]
    assert seen.target == f"/{ONE}"
    assert seen.sni == BUCKET_HOST
    assert seen.values("host") == (BUCKET_HOST,)
    assert seen.values("api-key") == ()


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        (f"{ONE}?api_key=demo-key-0001", f"/{ONE}"),
        ("?list-type=2&api_key=demo-key-0001&prefix=a+b%20c", "/?list-type=2&prefix=a+b%20c"),
        ("?api_key=demo-key-0001&list-type=2&prefix=plain/", "/?list-type=2&prefix=plain/"),
        ("?list-type=2&prefix=%c3%a9%7e&api%5Fkey=demo-key-0001", "/?list-type=2&prefix=%c3%a9%7e"),
    ],
)
async def test_a_key_in_the_query_is_neither_signed_nor_sent(scene: Scene, asked: str, sent: str) -> None:
    answer = await ask(scene.run.port, emit_request("GET", f"/in-query/{asked}", [("cookie", "a=1")]))
    assert answer.status == 200, answer
    seen = scene.recorder.requests[-1]
    assert seen.target == sent
    assert b"demo-key" not in seen.head


async def test_what_a_client_signed_for_itself_is_replaced(scene: Scene) -> None:
    own = [
        ("Authorization", "AWS4-HMAC-SHA256 Credential=MINE/20260101/us-east-1/s3/aws4_request, Signature=00"),
        ("X-Amz-Date", "19990101T000000Z"),
        ("X-Amz-Security-Token", "of-the-client"),
        ("X-Amz-Content-Sha256", EMPTY_HASH),
    ]
    answer = await scene.ask("GET", f"/files/{ONE}", own)
    assert (answer.status, answer.body) == (200, b"one")
    seen = scene.recorder.requests[-1]
    assert f"Credential={scene.bucket.access_key}/" in seen.values("authorization")[0]
    assert seen.values("x-amz-security-token") == ()
    assert len(seen.values("x-amz-date")) == 1


TWO_SOURCES = [("x-amz-copy-source", f"{BUCKET}/{ONE}"), ("x-amz-copy-source", f"{REFERENCE}/private.txt")]
REFUSED: list[tuple[str, str, Headers, str]] = [
    ("PUT", "/read/x", (), "method_not_allowed"),
    ("DELETE", f"/read/{ONE}", (), "method_not_allowed"),
    ("POST", "/read/x?uploads", (), "method_not_allowed"),
    ("PATCH", "/files/x", (), "method_not_allowed"),
    ("OPTIONS", f"/read/{ONE}", (), "method_not_allowed"),
    ("GET", f"/read/{ONE}?versionId=null", (), "query_not_allowed"),
    ("GET", f"/read/{ONE}?response-content-type=text/html", (), "query_not_allowed"),
    ("GET", f"/read/{ONE}?AWSAccessKeyId=x&Signature=y&Expires=1", (), "query_not_allowed"),
    ("GET", "/read/?acl", (), "query_not_allowed"),
    ("GET", "/read/?ACL", (), "query_not_allowed"),
    ("GET", "/read/?%61cl", (), "query_not_allowed"),
    ("GET", "/read/?list-type=2&policy=", (), "query_not_allowed"),
    ("GET", "/read/?uploads", (), "query_not_allowed"),
    ("PUT", f"/files/{ONE}?acl", (), "query_not_allowed"),
    ("PUT", "/files/?versioning", (), "query_not_allowed"),
    ("PUT", "/files/x", (("x-amz-acl", "public-read"),), "header_not_allowed"),
    ("PUT", "/files/x", (("X-AMZ-Grant-Read", "id=1"),), "header_not_allowed"),
    ("GET", f"/read/{ONE}", (("x-amz-copy-source", f"{BUCKET}/{ONE}"),), "header_not_allowed"),
    ("GET", "/below/cake.json", (), "path_not_allowed"),
    ("GET", "/below/plain", (), "path_not_allowed"),
    ("GET", "/below/plain/../cake.json", (), "path_not_allowed"),
    ("GET", "/below/plain/%2e%2E/cake.json", (), "path_not_allowed"),
    ("GET", "/below/plain%2F..%2Fcake.json", (), "path_not_allowed"),
    ("GET", "/below//plain/one.txt", (), "path_not_allowed"),
    ("GET", "/below/?list-type=2", (), "path_not_allowed"),
    ("GET", f"/read/{ONE}?X-Amz-Signature=00", (), "presigned_query_refused"),
    ("GET", f"/read/{ONE}?x-amz-algorithm=AWS4-HMAC-SHA256", (), "presigned_query_refused"),
    ("GET", f"/files/{ONE}?X-Amz%2DCredential=x&X-Amz-Expires=9", (), "presigned_query_refused"),
    *(
        ("PUT", path, (("x-amz-copy-source", source),), "copy_source_not_allowed")
        for path, source in (
            ("/files/x", f"{REFERENCE}/private.txt"),
            ("/files/x", f"/{REFERENCE}/private.txt"),
            ("/files/x", f"{BUCKET}/cake.json"),
            ("/files/x", f"{BUCKET}/plain/../cake.json"),
            ("/files/x", f"{BUCKET}/plain/%2e%2e/cake.json"),
            ("/files/x", f"{BUCKET}%2Fcake.json?versionId=/plain/"),
            ("/files/x", ""),
            ("/below/plain/x", f"{BUCKET}/cake.json"),
            ("/below/plain/x", f"{REFERENCE}/plain/one.txt"),
        )
    ),
]


@pytest.mark.parametrize(("method", "path", "headers", "reason"), REFUSED)
async def test_what_the_author_has_not_allowed_is_refused_before_it_is_signed(
    scene: Scene, method: str, path: str, headers: Headers, reason: str
) -> None:
    with scene.bucket_not_called():
        answer = await scene.ask(method, path, headers, b"x" if method in ("PUT", "PATCH") else b"")
    assert _reason(answer) == (403, (reason,))


async def test_two_copy_sources_do_not_hide_one_another(scene: Scene) -> None:
    answer = await scene.ask("PUT", "/files/stolen", TWO_SOURCES)
    assert answer.status >= 400
    assert (await scene.natively("GET", "stolen")).status == 404


async def test_two_copy_sources_are_refused(scene: Scene) -> None:
    with scene.bucket_not_called():
        answer = await scene.ask("PUT", "/files/stolen", TWO_SOURCES)
    assert answer.status in (400, 403)


@pytest.mark.parametrize("target", ["a<b", "a`b", '?prefix="'])
async def test_marks_that_no_url_may_hold_are_not_called_a_fault_of_the_gateway(scene: Scene, target: str) -> None:
    assert (await scene.ask("GET", f"/files/{target}")).status < 500


@pytest.mark.parametrize("path", ["/files/plain/copy.txt", "/below/plain/copy.txt"])
async def test_what_may_be_copied_is_copied(scene: Scene, path: str) -> None:
    answer = await scene.ask("PUT", path, [("x-amz-copy-source", f"{BUCKET}/{ONE}")])
    assert answer.status == 200, answer
    assert (await scene.natively("GET", "plain/copy.txt")).body == b"one"
    assert (await scene.ask("DELETE", "/files/plain/copy.txt")).status == 204


async def test_wrong_keys_are_told_as_no_fault_of_the_client(scene: Scene) -> None:
    before = len(scene.recorder.requests)
    answer = await scene.ask("GET", f"/wrong/{ONE}", [("x-request-id", "of-the-client")])
    assert _reason(answer) == (502, ("signature_refused",))
    assert len(scene.recorder.requests) == before + 1
    assert unsigned(scene.recorder.requests[before:]) == []
    (request_id,) = answer.values("x-request-id")
    assert request_id.encode() in answer.body
    line = await scene.run.out.wait_for(lambda line: line.get("request_id") == request_id)
    assert (line["status"], line["path"]) == (502, f"/wrong/{ONE}")
    # It quotes what was signed.
    assert b"StringToSign" not in answer.body


async def test_a_refused_head_says_no_more_than_its_status(scene: Scene) -> None:
    """S3 names the cause in the body, and the answer to a HEAD has none."""
    answer = await scene.ask("HEAD", f"/wrong/{ONE}")
    assert (answer.status, answer.values("x-apostille-reason")) == (403, ())


async def test_temporary_credentials_of_a_container_are_good_for_the_judge(scene: Scene) -> None:
    answer = await scene.ask("GET", f"/container/{ONE}", [("x-amz-security-token", "of-the-client")])
    assert (answer.status, answer.body) == (200, b"one")
    seen = scene.recorder.requests[-1]
    assert seen.values("x-amz-security-token") == (SESSION_TOKEN,)
    assert "x-amz-security-token" in seen.values("authorization")[0].partition("SignedHeaders=")[2]


async def test_without_its_secret_a_route_is_shut(scene: Scene) -> None:
    with scene.bucket_not_called():
        answer = await scene.ask("GET", f"/missing/{ONE}")
    assert _reason(answer) == (500, ("policy_invalid",))


async def test_uploads_with_signed_chunks_are_refused_with_what_to_set(scene: Scene) -> None:
    headers = [("x-amz-content-sha256", CHUNKS_SIGNED), ("content-encoding", "aws-chunked")]
    chunk = b"1;chunk-signature=" + b"0" * 64 + b"\r\nx\r\n0;chunk-signature=" + b"0" * 64 + b"\r\n\r\n"
    with scene.bucket_not_called():
        answer = await scene.ask("PUT", "/files/chunks", headers, chunk)
    assert _reason(answer) == (400, ("chunk_signatures_refused",))
    assert b"request_checksum_calculation = when_required" in answer.body


@pytest.mark.parametrize(
    "declared",
    [
        [("x-amz-content-sha256", CHUNKS_SIGNED.lower())],
        [("x-amz-content-sha256", EMPTY_HASH), ("x-amz-content-sha256", CHUNKS_SIGNED)],
    ],
)
async def test_chunks_are_never_stored_with_their_frames(scene: Scene, declared: Headers) -> None:
    headers = [*declared, ("content-encoding", "aws-chunked"), ("x-amz-decoded-content-length", "1")]
    await scene.ask("PUT", "/files/frames", headers, b"1;chunk-signature=" + b"0" * 64 + b"\r\nx\r\n0\r\n\r\n")
    stored = await scene.natively("GET", "frames")
    await scene.ask("DELETE", "/files/frames")
    assert b"chunk-signature" not in stored.body


async def test_an_empty_object_is_stored(scene: Scene) -> None:
    assert (await scene.ask("PUT", "/files/empty", [("content-length", "0")])).status == 200
    head = await scene.ask("HEAD", "/files/empty")
    assert (head.status, head.values("content-length")) == (200, ("0",))
    assert (await scene.ask("DELETE", "/files/empty")).status == 204


@pytest.mark.parametrize("declared", ["", "UNSIGNED-PAYLOAD", sha256(b"x").hexdigest(), sha256(b"").hexdigest()])
async def test_an_upload_without_length_is_refused_whatever_it_says_of_itself(scene: Scene, declared: str) -> None:
    headers = [API_KEY, ("transfer-encoding", "chunked"), *([("x-amz-content-sha256", declared)] if declared else [])]
    request = emit_request("PUT", "/files/chunked", headers, b"1\r\nx\r\n0\r\n\r\n")
    with scene.bucket_not_called():
        answer = await ask(scene.run.port, request)
    assert _reason(answer) == (411, ("length_required",))


async def test_unsigned_chunks_with_a_trailer_are_stored_decoded(scene: Scene) -> None:
    content = os.urandom(70_000)
    checksum = base64.b64encode(zlib.crc32(content).to_bytes(4, "big")).decode()
    framed = b"%x\r\n%s\r\n0\r\nx-amz-checksum-crc32:%s\r\n\r\n" % (len(content), content, checksum.encode())
    headers = [
        ("x-amz-content-sha256", CHUNKS_UNSIGNED),
        ("content-encoding", "aws-chunked"),
        ("x-amz-decoded-content-length", str(len(content))),
        ("x-amz-trailer", "x-amz-checksum-crc32"),
    ]
    answer = await scene.ask("PUT", "/files/framed", headers, framed)
    assert answer.status == 200, answer
    assert scene.recorder.requests[-1].values("x-amz-content-sha256") == (CHUNKS_UNSIGNED,)
    assert (await scene.natively("GET", "framed")).body == content
    assert (await scene.ask("DELETE", "/files/framed")).status == 204


async def test_a_policy_that_signs_bodies_signs_them_and_refuses_longer_ones(scene: Scene) -> None:
    assert (await scene.ask("PUT", "/covered/covered", body=b"c" * 4096)).status == 200
    assert scene.recorder.requests[-1].values("x-amz-content-sha256") != ("UNSIGNED-PAYLOAD",)
    assert (await scene.natively("GET", "covered")).body == b"c" * 4096
    with scene.bucket_not_called():
        assert _reason(await scene.ask("PUT", "/covered/longer", body=b"c" * 4097)) == (413, ("payload_too_large",))
    assert (await scene.ask("DELETE", "/files/covered")).status == 204


async def test_a_body_that_is_not_what_its_hash_says_is_not_stored(scene: Scene) -> None:
    answer = await scene.ask("PUT", "/files/forged", [("x-amz-content-sha256", EMPTY_HASH)], b"something")
    assert answer.status == 400, answer
    assert (await scene.natively("GET", "forged")).status == 404


async def test_a_large_object_comes_back_as_it_went(scene: Scene) -> None:
    content = os.urandom(LARGE)
    assert (await scene.ask("PUT", "/files/large", body=content)).status == 200
    assert scene.recorder.requests[-1].body_length == LARGE
    answer = await scene.ask("GET", "/files/large")
    assert answer.status == 200
    assert answer.body == content
    assert (await scene.natively("GET", "large")).body == content
    assert (await scene.ask("DELETE", "/files/large")).status == 204


async def test_rotating_the_secret_fails_no_request(scene: Scene) -> None:
    secret_key = scene.bucket.secret_key.reveal()
    # The user of Swift has two names: two access keys that are both valid.
    first, second = scene.bucket.access_key, "demo:owner"
    failed: list[Message] = []
    asked = 0
    done = asyncio.Event()

    async def read() -> None:
        nonlocal asked
        while not done.is_set():
            answer = await scene.ask("GET", f"/rotated/{ONE}")
            asked += 1
            if (answer.status, answer.body) != (200, b"one"):
                failed.append(answer)

    async def signs_with(access_key: str) -> bool:
        await scene.ask("GET", f"/rotated/{ONE}")
        return f"Credential={access_key}/" in scene.recorder.requests[-1].values("authorization")[0]

    async with asyncio.TaskGroup() as readers:
        for _ in range(4):
            readers.create_task(read())
        for access_key, spelling in ((second, OTHER_SPELLING), (first, AWS_SPELLING), (second, AWS_SPELLING)):
            scene.rotate(aws_secret("rotated", access_key, secret_key, spelling))
            await until(lambda name=access_key: signs_with(name))  # type: ignore[misc]
        done.set()
    tell(f"{asked} requests over three rotations, {len(failed)} failed")
    assert asked > 10
    assert failed == []


async def test_a_secret_that_became_wrong_is_used_and_then_the_right_one_again(scene: Scene) -> None:
    async def answers(status: int) -> bool:
        return (await scene.ask("GET", f"/rotated/{ONE}")).status == status

    scene.rotate(aws_secret("rotated", scene.bucket.access_key, "wrong-now", AWS_SPELLING))
    await until(lambda: answers(502))
    scene.rotate(aws_secret("rotated", scene.bucket.access_key, scene.bucket.secret_key.reveal(), AWS_SPELLING))
    await until(lambda: answers(200))


async def test_nothing_unsigned_ever_reached_the_bucket(scene: Scene) -> None:
    """Nothing of this file, up to here; the scene looks again when it ends."""
    assert (await scene.ask("GET", f"/read/{ONE}")).status == 200
    tell(f"{len(scene.recorder.requests)} requests reached the bucket")
    assert len(scene.recorder.requests) > 0
    assert unsigned(scene.recorder.requests) == []
    bare = Recorded(head=b"GET / HTTP/1.1\r\n\r\n", sni=None)
    assert unsigned([bare]) == [bare.head]
