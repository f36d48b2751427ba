from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from apostille.base.errors import StartError
from apostille.base.secrets import SecretText
from apostille.demo.bucket import start_bucket


async def test_a_file_system_without_attributes_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(os, "setxattr", refuse)
    with pytest.raises(StartError, match=r"keeps no extended attributes .*; name a folder on another one, ext4"):
        await start_bucket(tmp_path / "bucket")


@pytest.mark.parametrize("secret", ["", "two words", "line\nbreak", "50%"])
async def test_a_secret_key_that_is_none_is_refused(tmp_path: Path, secret: str) -> None:
    with pytest.raises(ValueError, match="letters, digits"):
        await start_bucket(tmp_path, secret_key=SecretText(secret))


async def test_only_the_owner_reads_the_folder_and_objects_outlive_a_restart(tmp_path: Path) -> None:
    folder = tmp_path / "bucket"
    secret = SecretText("canary+secret/1")
    for restarted in (False, True):
        bucket = await start_bucket(folder, secret_key=secret)
        try:
            await bucket.create_bucket("cakes")
            if not restarted:
                await bucket.put_object("cakes", "cake.json", b"cake")
        finally:
            await bucket.stop()
        assert "canary" not in repr(bucket) + bucket.child.log.read_text()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    holding = [path for path in folder.iterdir() if path.is_file() and b"canary" in path.read_bytes()]
    assert [(path.name, stat.S_IMODE(path.stat().st_mode)) for path in holding] == [("proxy-server.conf", 0o600)]
