"""What a source gives: texts by name, what could not be read, and word when that changes."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from apostille.status.problem import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """Everything a source holds at one moment.

    `files`: name → text, sorted by name; names are relative paths with ``/``. `findings`: what could not be read, and
    why; a file with a finding of effect Rejected is not in `files`. `vanished`: nothing is left where this source had
    something before, which is a fault (an unmounted or emptied folder) until someone says it is meant.
    """

    files: Mapping[str, str] = field(repr=False)
    findings: tuple[Finding, ...] = ()
    vanished: bool = False

    @property
    def digest(self) -> str:
        """Differs whenever anything in here differs."""
        digest = hashlib.sha256()
        for name, text in self.files.items():
            for part in (name, text):
                data = part.encode("utf-8", "surrogatepass")
                digest.update(len(data).to_bytes(8, "big"))
                digest.update(data)
        for finding in self.findings:
            digest.update(b"\xff" + str(finding).encode("utf-8", "surrogatepass"))
        digest.update(b"\xfe" if self.vanished else b"\xfd")
        return digest.hexdigest()


class Source(Protocol):
    @property
    def name(self) -> str:
        """Where it reads from, for people."""
        ...

    def read(self) -> Texts:
        """Read everything. May take a while (it blocks); never raises for what is wrong with the content."""
        ...

    def changes(self, stop: asyncio.Event) -> AsyncIterator[Texts]:
        """The texts each time they differ from what `read` or this iterator gave last; ends when `stop` is set."""
        ...
