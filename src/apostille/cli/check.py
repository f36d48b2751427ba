"""``apostille check``: everything that is wrong with a folder or file, before it is served."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apostille.cli.arguments import EnvoyPath, Ports, parse_ports
from apostille.cli.output import Format, print_json, print_note, print_result

if TYPE_CHECKING:
    from apostille.status.report import Report


def check(
    path: Annotated[Path, typer.Argument(metavar="DIR|FILE", help="Manifests: a folder, or one file.")],
    output: Annotated[
        Format, typer.Option("-o", "--output", help="Lines for people, or one JSON document.")
    ] = Format.TEXT,
    port: Ports = None,
    envoy: EnvoyPath = None,
) -> None:
    """Tell all problems of a folder or file at once; a real Envoy has the last word.

    Notes after them say what an OutboundAuthPolicy lets callers do.

    Exits 0 when nothing is wrong (warnings apart), 1 when something is.
    """
    from apostille.control.app import compile_judging
    from apostille.control.check import compile_check

    judging = compile_judging(address="127.0.0.1", ports=parse_ports(port), envoy=envoy)
    report = asyncio.run(compile_check(path, judging))
    if output is Format.JSON:
        _print_json(report)
    else:
        _print_lines(report)
    if report.has_errors:
        raise typer.Exit(1)


def _print_json(report: Report) -> None:
    from apostille.control.app import describe_finding

    notes = [
        {
            "resource": str(note.ref),
            "file": note.origin.file,
            "line": note.origin.line,
            "column": note.origin.column,
            "lines": list(note.lines),
        }
        for note in report.notes
    ]
    print_json({"items": [describe_finding(finding) for finding in report.findings], "notes": notes})


def _print_lines(report: Report) -> None:
    for finding in report.findings:
        print_result(f"{'warning' if finding.is_warning else 'error'}: {finding}")
    for note in report.notes:
        print_result(f"note: {note.origin}: {note.ref}")
        for line in note.lines:
            print_result(f"  {line}")
    errors = sum(not finding.is_warning for finding in report.findings)
    warnings = len(report.findings) - errors
    print_note(f"{len(report.statuses)} resources, {errors} errors, {warnings} warnings")
