"""The AWS CLI as a user has it: a process of its own, whose settings all lie in one folder of the test."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.docs.pages import ROOT, blocks_of
from tests.e2e.signing_scene import API_KEY, REGION

PAGE = ROOT / "docs" / "reference" / "aws-signing.md"
# As the page tells it: the CLI has no option for a header, but it takes plugins.
CONFIG = f"""\
[plugins]
apostille = gateway_key
[default]
region = {REGION}
s3 =
    addressing_style = path
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # Any: whatever the command writes
        return json.loads(self.out)


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsCli:
    """`folder` is its home; nothing of this machine's AWS settings is read."""

    folder: Path
    endpoint: str

    async def run(self, *arguments: str, key: str = API_KEY[1]) -> Said:
        """``aws ARGUMENTS``; the current folder is `folder`."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "ignore", "-m", "awscli", "--endpoint-url", self.endpoint, *arguments),
            cwd=self.folder,
            env=self._environment(key),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
        )
        async with asyncio.timeout(60):
            out, err = await process.communicate()
        return Said(code=process.returncode or 0, out=out.decode(), err=err.decode())

    async def __call__(self, *arguments: str) -> Said:
        """`run`, and it must work."""
        said = await self.run(*arguments)
        assert said.code == 0, f"aws {' '.join(arguments)}: {said}"
        return said

    def _environment(self, key: str) -> dict[str, str]:
        return {
            "PATH": os.defpath,
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(self.folder / "plugins"),
            "AWS_CONFIG_FILE": str(self.folder / "config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(self.folder / "credentials"),
            # They open nothing: the CLI wants to sign, and the gateway puts its own signature in place.
            "AWS_ACCESS_KEY_ID": "none",
            "AWS_SECRET_ACCESS_KEY": "none",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_MAX_ATTEMPTS": "1",
            "AWS_PAGER": "",
            "GATEWAY_API_KEY": key,
        }


def make_cli(folder: Path, endpoint: str) -> AwsCli:
    """With the plugin that stands in the docs."""
    (folder / "plugins").mkdir(parents=True)
    (plugin,) = (block.text for block in blocks_of(PAGE) if block.kind == "python")
    (folder / "plugins" / "gateway_key.py").write_text(plugin)
    (folder / "config").write_text(CONFIG)
    return AwsCli(folder=folder, endpoint=endpoint)
