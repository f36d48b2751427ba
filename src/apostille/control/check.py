"""The whole way from manifests to Envoy's verdict, once, without serving anything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from apostille.base.refs import Origin
from apostille.control.candidate import Judging, compile_candidate
from apostille.control.reading import Reader
from apostille.sources.files import FilesSource
from apostille.status.report import Report, compile_report


async def compile_check(path: Path, judging: Judging) -> Report:
    """All problems of a folder or file at once. Places are given by paths that begin with `path`, as it was written."""
    reading = Reader().read(FilesSource(path).read())
    candidate = await compile_candidate(reading.snapshot, judging)

    def placed(origin: Origin) -> Origin:
        return replace(origin, file=str(path / origin.file)) if path.is_dir() else replace(origin, file=str(path))

    return compile_report(
        ((resource.ref, placed(resource.origin)) for resource in reading.snapshot.resources),
        (replace(each, origin=placed(each.origin)) for each in (*reading.findings, *candidate.findings)),
        (replace(each, origin=placed(each.origin)) for each in candidate.notes),
    )
