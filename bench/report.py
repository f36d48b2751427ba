"""Everything that one run of the bench found, as data, and as a table for the terminal.

The raw rounds are kept: every figure that is shown is computed from them anew. It must not know how they were measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import cattrs

from bench.design import Group
from bench.figures import Placement, Sandwich, Summary, summarise
from bench.load import Outcome
from bench.machine import Machine

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A design and all that was seen of it. `skipped`: why it was not measured, or not to the end."""

    name: str
    title: str
    group: Group
    scale: int
    skipped: str | None
    sandwiches: tuple[Sandwich, ...]
    at_rate: tuple[Outcome, ...]
    pss_bytes: tuple[int, ...]
    start_seconds: tuple[float, ...]

    def summary(self, placement: Placement) -> Summary | None:
        return summarise([each for each in self.sandwiches if each.placement == placement])

    @property
    def p50(self) -> float | None:
        """Median over the starts, in seconds, at the fixed rate."""
        return median(each.p50 for each in self.at_rate) if self.at_rate else None

    @property
    def p99(self) -> float | None:
        return median(each.p99 for each in self.at_rate) if self.at_rate else None

    @property
    def memory_mib(self) -> float | None:
        return median(self.pss_bytes) / MIB if self.pss_bytes else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """`signing`, `scale`, `large`: what the programs of these names print; None where they did not run."""

    machine: Machine
    when: str
    minutes: float
    seed: int
    quick: bool
    starts: int
    scale_starts: int
    round_seconds: int
    rate: float
    rows: tuple[Row, ...]
    signing: Mapping[str, Any] | None = None
    scale: Mapping[str, Any] | None = None
    large: Mapping[str, Any] | None = None

    def group(self, group: Group) -> tuple[Row, ...]:
        return tuple(each for each in self.rows if each.group == group)

    def find(self, name: str) -> Row | None:
        return next((each for each in self.rows if each.name == name), None)

    @property
    def skipped(self) -> tuple[Row, ...]:
        return tuple(each for each in self.rows if each.skipped is not None)


def emit_report(report: Report) -> dict[str, Any]:
    """As JSON, raw rounds and all."""
    found: dict[str, Any] = cattrs.unstructure(report)
    return found


def parse_report(data: Mapping[str, Any]) -> Report:
    return cattrs.structure(data, Report)


HEAD = ("design", "CPU µs", "× bare (quartiles)", "req/s", "p50 / p99 ms", "MiB", "2 cores: × bare", "req/s")


def cells(row: Row) -> tuple[str, ...]:
    """A row of the table, under `HEAD`."""
    pinned, shared = row.summary("pinned"), row.summary("shared")
    return (
        row.title,
        f"{pinned.cpu_us.median:.0f}" if pinned else "–",
        ratio_text(pinned),
        rate_text(pinned),
        f"{row.p50 * 1000:.2f} / {row.p99 * 1000:.1f}" if row.p50 is not None and row.p99 is not None else "–",
        f"{row.memory_mib:.0f}" if row.memory_mib is not None else "–",
        f"{shared.cpu_ratio.median:.2f}{'' if shared.quiet else ' !'}" if shared else "–",
        rate_text(shared),
    )


def ratio_text(summary: Summary | None) -> str:
    """Median and quartiles; ``!`` where the machine was not quiet."""
    if summary is None:
        return "–"
    spread = summary.cpu_ratio
    around = f" ({spread.low:.2f}–{spread.high:.2f})" if spread.count > 1 else ""
    return f"{spread.median:.2f}{around}{'' if summary.quiet else ' !'}"


def rate_text(summary: Summary | None) -> str:
    """``≥`` where the generator and the upstream had no time left."""
    return f"{'≥ ' if summary.load_bound else ''}{summary.rate:,.0f}" if summary else "–"


def emit_terminal(report: Report) -> str:
    rows = [HEAD, *(_scaled(row) for row in report.rows if row.sandwiches)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    lines = [
        "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    lines += [f"{row.name}: {first_line(row.skipped)}" for row in report.skipped if row.skipped is not None]
    lines += [f"{name}: {value}" for name, value in (("signing", report.signing), ("scale", report.scale)) if value]
    if any("!" in cell for row in rows for cell in row):
        lines.append("! other programs kept the processors busy while this was measured")
    return "\n".join(lines)


def _scaled(row: Row) -> Sequence[str]:
    title, *others = cells(row)
    return (title if row.group == "main" else f"{title}, {row.scale:,} {row.group}", *others)


def first_line(text: str) -> str:
    return text.splitlines()[0]
