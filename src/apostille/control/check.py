"""The whole way from manifests to Envoy's verdict, once, without serving anything."""

from __future__ import annotations

from pathlib import Path

from apostille.control.candidate import Judging, compile_candidate
from apostille.control.reading import Reader
from apostille.sources.files import FilesSource
from apostille.status.report import Report, compile_report


async def compile_check(path: Path, judging: Judging) -> Report:
    """All problems of a folder or file at once."""
    reading = Reader().read(FilesSource(path).read())
    candidate = await compile_candidate(reading.snapshot, judging)
    return compile_report(
        ((resource.ref, resource.origin) for resource in reading.snapshot.resources),
        (*reading.findings, *candidate.findings),
    )
