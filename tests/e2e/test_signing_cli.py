"""The AWS CLI, unmodified, at a gateway that signs."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.e2e.signing_cli import AwsCli, make_cli
from tests.e2e.signing_scene import ONE, REFERENCE, Scene, signing_scene, unsigned
from tests.e2e.stage import tell
from tests.e2e.stand_ins import BUCKET

# Every command is a Python of its own, and loads a large library.
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

MEBIBYTE = 1024 * 1024
# Above this the CLI uploads in parts.
IN_PARTS = 8 * MEBIBYTE
PART = 5 * MEBIBYTE
HERE = f"s3://{BUCKET}/sdk"
# Names that a file may have on Linux, and that paths, queries, headers and XML each spell in their own way.
ODD_NAMES = (
    "plain.txt", "with space", " leading", "trailing ", "a+b", "a%2Bb", "100%", "%7E~", "~tilde", "q?a=b&c=d", "h#f",
    "semi;colon", "at@sign", "co:lon", "com,ma", "dollar$", "ex!claim", "st*r", "quo'te", 'dou"ble', "back`tick",
    "(round)", "[square]", "{curly}", "<angle>", "p|pe", "car^et", "equals=", "back\\slash", "..hidden", "many...dots",
    "é-nfc", unicodedata.normalize("NFD", "é-nfd"), "日本語", "🍰", "deep/er/and deeper/x", "x-amz-acl", "l" * 200,
)  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with signing_scene(tmp_path_factory.mktemp("cli")) as scene:
        yield scene
        assert unsigned(scene.recorder.requests) == []
        tell(f"{len(scene.recorder.requests)} requests of the AWS CLI reached the bucket")


@pytest.fixture
def aws(scene: Scene, tmp_path: Path) -> AwsCli:
    return make_cli(tmp_path / "home", f"http://127.0.0.1:{scene.run.port}")


async def test_without_the_api_key_nothing_is_had(scene: Scene, aws: AwsCli) -> None:
    with scene.bucket_not_called():
        said = await aws.run("s3", "ls", f"s3://{BUCKET}/", key="another")
    assert said.code != 0
    assert "(401)" in said.err or "(403)" in said.err, said


async def test_cp_ls_mv_and_rm(scene: Scene, aws: AwsCli) -> None:
    (aws.folder / "up.txt").write_bytes(b"up and down")
    await aws("s3", "cp", "up.txt", f"{HERE}/a b+c.txt")
    assert (await scene.natively("GET", "sdk/a b+c.txt")).body == b"up and down"
    listed = (await aws("s3", "ls", f"{HERE}/")).out.split(maxsplit=2)
    assert listed[2].split(" ", 1) == ["11", "a b+c.txt\n"]
    await aws("s3", "cp", f"{HERE}/a b+c.txt", "down.txt")
    assert (aws.folder / "down.txt").read_bytes() == b"up and down"
    await aws("s3", "cp", f"{HERE}/a b+c.txt", f"{HERE}/copied")
    await aws("s3", "mv", f"{HERE}/copied", f"{HERE}/moved é")
    assert (await scene.natively("GET", "sdk/moved é")).body == b"up and down"
    assert (await scene.natively("GET", "sdk/copied")).status == 404
    await aws("s3", "rm", f"{HERE}/a b+c.txt")
    await aws("s3", "rm", f"{HERE}/moved é")
    assert (await aws.run("s3", "ls", f"{HERE}/")).out == ""


async def test_a_large_file_goes_in_parts_and_comes_back_in_ranges(scene: Scene, aws: AwsCli) -> None:
    content = os.urandom(IN_PARTS + 5 * MEBIBYTE + 1)
    (aws.folder / "large").write_bytes(content)
    before = len(scene.recorder.requests)
    await aws("s3", "cp", "large", f"{HERE}/large", "--no-progress")
    await aws("s3", "cp", f"{HERE}/large", "back", "--no-progress")
    assert hashlib.sha256((aws.folder / "back").read_bytes()).digest() == hashlib.sha256(content).digest()
    seen = scene.recorder.requests[before:]
    assert sum("partNumber=" in each.target for each in seen if each.method == "PUT") == 2
    assert sum(each.values("range") != () for each in seen if each.method == "GET") == 2
    await aws("s3", "rm", f"{HERE}/", "--recursive")


async def test_sync_carries_odd_names_there_and_back(scene: Scene, aws: AwsCli) -> None:
    names = set(ODD_NAMES)
    for name in names:
        path = aws.folder / "there" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    await aws("s3", "sync", "there", f"{HERE}/odd", "--no-progress")
    assert await scene.keys_by_gateway() >= {f"sdk/odd/{name}" for name in names}
    await aws("s3", "sync", f"{HERE}/odd", "back", "--no-progress")
    back = {str(path.relative_to(aws.folder / "back")): path for path in (aws.folder / "back").rglob("*")}
    assert {name: path.read_bytes() for name, path in back.items() if path.is_file()} == {
        name: name.encode() for name in names
    }
    assert (await aws("s3", "sync", "there", f"{HERE}/odd", "--no-progress", "--size-only")).out == ""
    (aws.folder / "there" / "a+b").unlink()
    await aws("s3", "sync", "there", f"{HERE}/odd", "--delete", "--no-progress")
    assert (await scene.natively("GET", "sdk/odd/a+b")).status == 404
    await aws("s3", "rm", f"{HERE}/odd/", "--recursive")
    assert not [key for key in await scene.keys_by_gateway() if key.startswith("sdk/")]


async def test_s3api_objects_ranges_and_conditions(scene: Scene, aws: AwsCli) -> None:
    (aws.folder / "body").write_bytes(b"0123456789")
    named = ("--bucket", BUCKET, "--key", "sdk/é ~%7E.txt")
    tag = (await aws("s3api", "put-object", *named, "--body", "body", "--metadata", "who=cli")).json["ETag"]
    head = (await aws("s3api", "head-object", *named)).json
    assert (head["ContentLength"], head["ETag"], head["Metadata"]) == (10, tag, {"who": "cli"})
    assert (await aws("s3api", "get-object", *named, "--range", "bytes=2-4", "part")).json["ContentRange"] == (
        "bytes 2-4/10"
    )
    assert (aws.folder / "part").read_bytes() == b"234"
    await aws("s3api", "get-object", *named, "--if-match", tag, "whole")
    assert (aws.folder / "whole").read_bytes() == b"0123456789"
    for condition, status in ((("--if-none-match", tag), "(304)"), (("--if-match", '"0"'), "(PreconditionFailed)")):
        said = await aws.run("s3api", "get-object", *named, *condition, "none")
        assert said.code != 0
        assert status in said.err, said
    said = await aws.run("s3api", "put-object", *named, "--body", "part", "--if-none-match", "*")
    assert "(PreconditionFailed)" in said.err, said
    listed = (await aws("s3api", "list-objects-v2", "--bucket", BUCKET, "--prefix", "sdk/")).json
    assert [each["Key"] for each in listed["Contents"]] == ["sdk/é ~%7E.txt"]
    await aws("s3api", "delete-object", *named)
    assert (await scene.natively("GET", "sdk/é ~%7E.txt")).status == 404


async def test_s3api_copies_what_may_be_copied(scene: Scene, aws: AwsCli) -> None:
    to = ("--bucket", BUCKET, "--key", "sdk/copy")
    await aws("s3api", "copy-object", *to, "--copy-source", f"{BUCKET}/{ONE}")
    assert (await scene.natively("GET", "sdk/copy")).body == b"one"
    for source in (f"{REFERENCE}/private.txt", f"{BUCKET}/cake.json"):
        with scene.bucket_not_called():
            said = await aws.run("s3api", "copy-object", *to, "--copy-source", source)
        assert said.code != 0
        assert "(403)" in said.err, said
    deleted = '{"Objects": [{"Key": "sdk/copy"}]}'
    assert "Errors" not in (await aws("s3api", "delete-objects", "--bucket", BUCKET, "--delete", deleted)).out
    assert (await scene.natively("GET", "sdk/copy")).status == 404


async def test_s3api_puts_an_object_together_from_parts(scene: Scene, aws: AwsCli) -> None:
    named = ("--bucket", BUCKET, "--key", "sdk/parts")
    upload = (await aws("s3api", "create-multipart-upload", *named)).json["UploadId"]
    content = os.urandom(PART + 7)
    made = []
    for at, piece in enumerate((content[:PART], content[PART:]), 1):
        (aws.folder / "piece").write_bytes(piece)
        numbered = ("--upload-id", upload, "--part-number", str(at), "--body", "piece")
        tag = (await aws("s3api", "upload-part", *named, *numbered)).json["ETag"].replace('"', '\\"')
        made.append(f'{{"PartNumber": {at}, "ETag": "{tag}"}}')
    listed = (await aws("s3api", "list-parts", *named, "--upload-id", upload)).json
    assert [each["Size"] for each in listed["Parts"]] == [PART, 7]
    parts = f'{{"Parts": [{", ".join(made)}]}}'
    await aws("s3api", "complete-multipart-upload", *named, "--upload-id", upload, "--multipart-upload", parts)
    assert (await scene.natively("GET", "sdk/parts")).body == content
    given_up = (await aws("s3api", "create-multipart-upload", *named)).json["UploadId"]
    await aws("s3api", "abort-multipart-upload", *named, "--upload-id", given_up)
    await aws("s3api", "delete-object", *named)
