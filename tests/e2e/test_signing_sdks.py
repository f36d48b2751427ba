"""boto3, unmodified, at a gateway that signs: over plain HTTP, and over HTTPS, where it frames its uploads."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3  # type: ignore[import-untyped]
import pytest
import pytest_asyncio
from botocore.config import Config
from botocore.exceptions import ClientError

from apostille.demo.certificates import make_authority
from apostille.demo.recorder import Recorder, start_recorder
from tests.e2e.signing_scene import API_KEY, ONE, REFERENCE, REGION, Scene, signing_scene, unsigned
from tests.e2e.stage import tell
from tests.e2e.stand_ins import BUCKET

pytestmark = pytest.mark.asyncio(loop_scope="module")

MEBIBYTE = 1024 * 1024
# S3 takes no smaller part, but for the last.
PART = 5 * MEBIBYTE
KEY = "sdk/é + %7E ~.txt"
FRAMED = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with signing_scene(tmp_path_factory.mktemp("sdks")) as scene:
        yield scene
        assert unsigned(scene.recorder.requests) == []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def front(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Recorder, Path]]:
    """What ends TLS before the gateway, as a load balancer does, and who to trust for it."""
    authority = make_authority(tmp_path_factory.mktemp("front"))
    async with start_recorder("127.0.0.1", scene.run.port, authority.issue("localhost")) as front:
        yield front, authority.roots


@contextmanager
def client(endpoint: str, *, key: bool = True, **settings: Any) -> Iterator[Any]:
    """As anybody would use it: nothing is set but where the gateway is, its key, and AWS keys that open nothing."""
    s3 = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id="none",
        aws_secret_access_key="none",
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
        **settings,
    )
    if key:
        s3.meta.events.register("before-send.s3", add_api_key)
    try:
        yield s3
    finally:
        s3.close()


# Any: a request of botocore, which has no types of its own.
def add_api_key(request: Any, **_: object) -> None:
    request.headers[API_KEY[0]] = API_KEY[1]


async def test_boto3_works_unmodified_over_http(scene: Scene) -> None:
    before = len(scene.recorder.requests)
    await asyncio.to_thread(_use_all, f"http://127.0.0.1:{scene.run.port}")
    seen = scene.recorder.requests[before:]
    uploads = [each for each in seen if each.method == "PUT" and each.body_length]
    tell(f"{len(seen)} requests; how bodies were declared: {_declared(uploads)}")
    assert unsigned(seen) == []
    assert {each.values("host") for each in seen} == {(f"s3.{REGION}.amazonaws.com",)}
    assert all(each.values("x-amz-checksum-crc32") for each in uploads)


async def test_boto3_works_unmodified_over_https_and_frames_its_uploads(
    scene: Scene, front: tuple[Recorder, Path]
) -> None:
    before = len(scene.recorder.requests)
    await asyncio.to_thread(_use_all, f"https://localhost:{front[0].port}", verify=str(front[1]))
    seen = scene.recorder.requests[before:]
    assert unsigned(seen) == []
    uploads = [each for each in seen if each.method == "PUT" and each.body_length]
    tell(f"{len(seen)} requests; how bodies were declared: {_declared(uploads)}")
    framed = [each for each in uploads if each.values("x-amz-content-sha256") == (FRAMED,)]
    # Objects and parts from bytes as well as from a file.
    assert len(framed) >= 4
    assert {each.values("x-amz-trailer") for each in framed} == {("x-amz-checksum-crc32",)}


def _declared(uploads: list[Any]) -> list[str]:
    return sorted({str(each.values("x-amz-content-sha256")[0])[:40] for each in uploads})


async def test_without_the_api_key_boto3_gets_nothing(scene: Scene) -> None:
    def use() -> int:
        with client(f"http://127.0.0.1:{scene.run.port}", key=False) as s3, pytest.raises(ClientError) as refused:
            s3.get_object(Bucket=BUCKET, Key=ONE)
        return int(refused.value.response["ResponseMetadata"]["HTTPStatusCode"])

    with scene.bucket_not_called():
        assert await asyncio.to_thread(use) == 401


@pytest.mark.parametrize("checksum", ["CRC32", "SHA1", "SHA256"])
async def test_a_checksum_in_a_trailer_reaches_the_bucket_and_is_checked(
    scene: Scene, front: tuple[Recorder, Path], checksum: str
) -> None:
    content = os.urandom(100_000)

    def use() -> bytes:
        with client(f"https://localhost:{front[0].port}", verify=str(front[1])) as s3:
            s3.put_object(Bucket=BUCKET, Key=KEY, Body=content, ChecksumAlgorithm=checksum)
            found: bytes = s3.get_object(Bucket=BUCKET, Key=KEY)["Body"].read()
            s3.delete_object(Bucket=BUCKET, Key=KEY)
        return found

    before = len(scene.recorder.requests)
    assert await asyncio.to_thread(use) == content
    upload = scene.recorder.requests[before]
    assert upload.values("x-amz-content-sha256") == (FRAMED,)
    assert upload.values("x-amz-trailer") == (f"x-amz-checksum-{checksum.lower()}",)
    assert upload.values("x-amz-decoded-content-length") == (str(len(content)),)


async def test_a_wrong_checksum_in_a_trailer_stores_nothing(scene: Scene) -> None:
    """Nothing of the frames is signed, so it is the bucket that has to look: it does."""
    content, wrong = b"content", base64.b64encode(zlib.crc32(b"another").to_bytes(4, "big"))
    framed = b"%x\r\n%s\r\n0\r\nx-amz-checksum-crc32:%s\r\n\r\n" % (len(content), content, wrong)
    headers = [
        ("x-amz-content-sha256", FRAMED),
        ("content-encoding", "aws-chunked"),
        ("x-amz-decoded-content-length", str(len(content))),
        ("x-amz-trailer", "x-amz-checksum-crc32"),
    ]
    answer = await scene.ask("PUT", "/files/framed-wrongly", headers, framed)
    assert answer.status == 400, answer
    assert (await scene.natively("GET", "framed-wrongly")).status == 404


def _use_all(endpoint: str, **settings: Any) -> None:
    with client(endpoint, **settings) as s3:
        _use_objects(s3)
        _use_conditions(s3)
        _use_parts(s3)
        _use_files(s3)
        _use_copies(s3)


def _use_objects(s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key=KEY, Body=b"0123456789", Metadata={"who": "boto3"}, ContentType="text/x-test")
    found = s3.get_object(Bucket=BUCKET, Key=KEY)
    assert (found["Body"].read(), found["Metadata"], found["ContentType"]) == (
        b"0123456789",
        {"who": "boto3"},
        "text/x-test",
    )
    part = s3.get_object(Bucket=BUCKET, Key=KEY, Range="bytes=2-4")
    assert (part["Body"].read(), part["ContentRange"]) == (b"234", "bytes 2-4/10")
    assert s3.head_object(Bucket=BUCKET, Key=KEY)["ContentLength"] == 10
    assert [each["Key"] for each in s3.list_objects_v2(Bucket=BUCKET, Prefix="sdk/")["Contents"]] == [KEY]
    with pytest.raises(s3.exceptions.NoSuchKey):
        s3.get_object(Bucket=BUCKET, Key="sdk/none")
    s3.put_object(Bucket=BUCKET, Key=KEY, Body=io.BytesIO(b"from a file"))
    assert s3.get_object(Bucket=BUCKET, Key=KEY)["Body"].read() == b"from a file"


def _use_conditions(s3: Any) -> None:
    tag = s3.head_object(Bucket=BUCKET, Key=KEY)["ETag"]
    assert s3.get_object(Bucket=BUCKET, Key=KEY, IfMatch=tag)["Body"].read() == b"from a file"
    for condition, status in (({"IfNoneMatch": tag}, 304), ({"IfMatch": '"0"'}, 412)):
        with pytest.raises(ClientError) as unmet:
            s3.get_object(Bucket=BUCKET, Key=KEY, **condition)
        assert unmet.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    with pytest.raises(ClientError) as there:
        s3.put_object(Bucket=BUCKET, Key=KEY, Body=b"second", IfNoneMatch="*")
    assert there.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412
    assert s3.get_object(Bucket=BUCKET, Key=KEY)["Body"].read() == b"from a file"
    s3.delete_object(Bucket=BUCKET, Key=KEY)
    assert "Contents" not in s3.list_objects_v2(Bucket=BUCKET, Prefix="sdk/")


def _use_parts(s3: Any) -> None:
    key = "sdk/parts.bin"
    parts = (os.urandom(PART), os.urandom(PART + 1))
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
    named = {"Bucket": BUCKET, "Key": key, "UploadId": upload}
    tags = [s3.upload_part(**named, PartNumber=at, Body=part)["ETag"] for at, part in enumerate(parts, 1)]
    assert len(s3.list_parts(**named)["Parts"]) == len(parts)
    made = [{"PartNumber": at, "ETag": tag} for at, tag in enumerate(tags, 1)]
    s3.complete_multipart_upload(**named, MultipartUpload={"Parts": made})
    assert s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"".join(parts)
    assert not s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": key}]}).get("Errors")


def _use_files(s3: Any) -> None:
    """By the transfer manager, which cuts a large file in parts and sends several at a time."""
    key, content = "sdk/file.bin", os.urandom(9 * MEBIBYTE)
    s3.upload_fileobj(io.BytesIO(content), BUCKET, key)
    back = io.BytesIO()
    s3.download_fileobj(BUCKET, key, back)
    assert back.getvalue() == content
    s3.delete_object(Bucket=BUCKET, Key=key)


def _use_copies(s3: Any) -> None:
    s3.copy_object(Bucket=BUCKET, Key="sdk/copy", CopySource={"Bucket": BUCKET, "Key": ONE})
    assert s3.get_object(Bucket=BUCKET, Key="sdk/copy")["Body"].read() == b"one"
    s3.delete_object(Bucket=BUCKET, Key="sdk/copy")
    for source in ({"Bucket": REFERENCE, "Key": "private.txt"}, {"Bucket": BUCKET, "Key": "cake.json"}):
        with pytest.raises(ClientError) as refused:
            s3.copy_object(Bucket=BUCKET, Key="sdk/copy", CopySource=source)
        answer = refused.value.response["ResponseMetadata"]
        assert answer["HTTPStatusCode"] == 403
        assert answer["HTTPHeaders"]["x-apostille-reason"] == "copy_source_not_allowed"
