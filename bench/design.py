"""What a design under measurement is: something that can be started anew, again and again, and answers a GET.

A new one is one file in `bench.designs` with a class like that, and its name in the list there.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from bench.load import Target

Group = Literal["main", "routes", "keys"]

# AWS's own documentation credentials: they open nothing.
ACCESS_KEY = "AKIAIOSFODNN7EXAMPLE"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"  # noqa: S105 - see above
REGION = "eu-west-1"
BUCKET_HOST = "example-bucket.s3.eu-west-1.amazonaws.com"
KEY_HEADER = "api-key"
OBJECT_PATH = "/cake.json"
API_KEY = "demo-key-00000"


class NotHere(Exception):
    """This design cannot be measured on this machine, or not as what it says it is. The text says why."""


class WrongAnswer(Exception):
    """The design does not do the job, so its figures would mean nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a design is started: a fresh private folder, the port of the upstream, and the processors there are."""

    folder: Path
    upstream: int
    cores: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """`roots`: its processes; what they start themselves is counted along. `target`: the request to measure with.

    `admin`: where its own pages are, if it has any.
    """

    roots: tuple[int, ...]
    target: Target
    admin: str = ""


class Design(Protocol):
    """`name` is for the command line, `title` for the table; `scale` is the number of routes or keys of its group.

    `checks_key`, `signs`: what it does on each request, which is tried before anything is measured. `follows`: the
    design of which this is a larger or smaller form, or nothing; where that one is not to be had, neither is this.
    """

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def group(self) -> Group: ...
    @property
    def scale(self) -> int: ...
    @property
    def follows(self) -> str: ...
    @property
    def checks_key(self) -> bool: ...
    @property
    def signs(self) -> bool: ...

    def start(self, place: Place) -> AbstractAsyncContextManager[Running]:
        """Serving inside ``async with``, gone after it. Raises NotHere."""
        ...

    async def check(self, running: Running) -> None:
        """Called after some requests: whether this is what its name says. Raises NotHere or WrongAnswer."""
        ...
