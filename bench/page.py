"""docs/reference/performance.md, written from a report. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.design import Group
from bench.figures import QUIET
from bench.load import CONNECTIONS
from bench.report import HEAD, MIB, Report, Row, cells, first_line, rate_text, ratio_text


def emit_page(report: Report, *, plot: str) -> str:
    """`plot`: the picture's file, as the page names it."""
    return "\n".join(
        [
            _head(report, plot),
            _table(HEAD, [cells(row) for row in report.group("main") if row.sandwiches]),
            _KEY.format(rate=report.rate),
            *_skipped(report),
            *_scaled(report, "routes", "Routes", _ROUTES),
            *_scaled(report, "keys", "API keys", _KEYS),
            *_scale(report.scale),
            *_signing(report.signing),
            *_large(report.large),
            _method(report),
        ]
    )


def _head(report: Report, plot: str) -> str:
    machine = report.machine
    facts = [
        ("processor", f"{machine.processor}, {machine.cores} cores"),
        ("memory", f"{machine.memory_gib} GiB"),
        ("kernel", machine.kernel),
        ("Envoy", machine.envoy),
        ("Python", machine.python),
        ("load", machine.load),
        ("run", f"{'quick' if report.quick else 'full'}, {report.minutes} minutes, seed {report.seed}"),
    ]
    return _HEAD.format(when=report.when, plot=plot, machine=_table(("machine", ""), facts))


_HEAD = """\
# Performance

Written by `make bench` on {when}; do not edit.
One job for all: GET of a 1 KiB object over keep-alive HTTP/1.1, upstream plain HTTP.
Where a row checks a key and signs, the caller shows an API key,
and the request goes out with AWS Signature Version 4.

{machine}

![CPU for a request, as a multiple of bare Envoy's]({plot})
"""

_KEY = """
*CPU µs*: processor time of all processes of the design for one request, on one core, as it was in this run.
*× bare*: the same, divided by that of the bare Envoy rounds right before and after: the figure to compare.
*req/s*: what one core of gateway answers; ≥ where the generator's core was full first.
*p50 / p99*: at {rate:,.0f} requests a second, counted from when a request was due.
*MiB*: memory of all processes (PSS): a page that several programs share, such as Envoy's code, counts in parts.
*2 cores*: load, upstream and gateway share both cores.
**!**: other programs kept the processors busy meanwhile.
"""

_ROUTES = "The last route of so many is asked.\nBare Envoy has them as a list of prefixes."
_KEYS = "The last key of so many is shown."


def _skipped(report: Report) -> Iterable[str]:
    if report.skipped:
        yield "Not measured:\n"
        yield from (f"- {row.name}: {first_line(row.skipped)}" for row in report.skipped if row.skipped is not None)
        yield ""


def _scaled(report: Report, group: Group, title: str, words: str) -> Iterable[str]:
    rows = [row for row in report.group(group) if row.sandwiches]
    if rows:
        ones = [row for row in report.group("main") if row.sandwiches and row.title in {each.title for each in rows}]
        ordered = sorted((*ones, *rows), key=lambda row: (row.title, row.scale))
        yield f"## {title}\n\n{words}\n"
        yield _table(
            ("design", group, "× bare (quartiles)", "req/s", "of its own with one", "start s", "MiB"),
            [_scaled_cells(row, next(one for one in ones if one.title == row.title)) for row in ordered if ones],
        )
        yield ""


def _scaled_cells(row: Row, one: Row) -> Sequence[str]:
    summary, single = row.summary("pinned"), one.summary("pinned")
    # Over their own bare rounds: the machine was not equally fast at both times.
    share = f"{summary.rate_ratio / single.rate_ratio:.0%}" if summary and single else "–"
    return (
        row.title,
        f"{row.scale:,}",
        ratio_text(summary),
        rate_text(summary),
        share,
        f"{min(row.start_seconds):.1f}",
        f"{row.memory_mib:.0f}" if row.memory_mib is not None else "–",
    )


def _scale(found: Mapping[str, Any] | None) -> Iterable[str]:
    if found is None:
        return
    times, change = found["translation"], found["change"]
    yield f"## A configuration of {found['routes']:,} routes\n"
    rows = [
        ("read and parse all files", f"{times['read']:.2f} s"),
        ("translate", f"{times['translate']:.2f} s"),
        ("write Envoy's messages", f"{times['emit']:.2f} s"),
        ("prove them with a real Envoy", f"{times['prove']:.2f} s"),
    ]
    if "error" in change:
        rows.append(("one route changes while requests go through", first_line(change["error"])))
    else:
        rows += [
            ("start of the whole gateway", f"{change['start_seconds']:.1f} s"),
            (
                f"one route changes: until it is served (median of {change['changes']}, longest)",
                f"{change['seconds']:.2f} s, {change['longest']:.2f} s",
            ),
            ("requests meanwhile, failed, p99", _while_changing(change)),
            (
                "Envoy's memory: at rest, right after the changes, at its highest",
                ", ".join(
                    f"{change[name] / MIB:.0f} MiB"
                    for name in ("envoy_rss_bytes", "envoy_rss_after_changes_bytes", "envoy_peak_bytes")
                ),
            ),
            *((f"memory of {name}", f"{size / MIB:.0f} MiB") for name, size in change["pss_bytes"].items()),
        ]
    yield _table(("what", "measured"), rows)
    yield ""


def _while_changing(change: Mapping[str, Any]) -> str:
    return f"{change['requests']:,}, {change['failed']}, {change['p99'] * 1000:.1f} ms"


def _signing(found: Mapping[str, Any] | None) -> Iterable[str]:
    if found is not None:
        yield "## A signature\n"
        between = f"{found['low']:.1f}–{found['high']:.1f}"
        yield f"SigV4 of a GET in Python, derived key at hand: {found['us']:.1f} µs ({between}).\n"


def _large(found: Mapping[str, Any] | None) -> Iterable[str]:
    if found is not None:
        yield "## Large objects\n"
        yield f"{found['gib']:g} GiB each way, signed, by `python -m bench.large_objects`.\n"
        yield _table(
            ("resident memory, MiB", "before", "most during the upload", "most during the download"),
            [
                (
                    name,
                    f"{size / MIB:.0f}",
                    f"{found['upload'][name] / MIB:.0f}",
                    f"{found['download'][name] / MIB:.0f}",
                )
                for name, size in found["before"].items()
            ],
        )
        yield f"\nUpload {found['upload_mib_s']:.0f} MiB/s, download {found['download_mib_s']:.0f} MiB/s.\n"


_METHOD = """\
## How it was measured

`make bench` measures everything in one run; `make bench ARGS=--quick` takes some minutes and says less.
The program is [bench/](../../bench/__main__.py); a design is one file in [designs/](../../bench/designs/__init__.py).

- **Placement.** All processes of a design on core 0, generator and upstream on core 1; then all on both.
  Proxies have as many workers as the machine has cores, in both placements; Apostille runs with its defaults.
- **Work.** Processor time is the scheduler's own count (`schedstat`): all threads of all processes, children included.
  The upstream is an Envoy that answers by itself. Load: {connections} connections.
- **Correctness first.** Before anything is measured a recorder stands in for the upstream.
  Every request must arrive with exactly one signature, which botocore recomputes;
  a wrong key must get 401 and reach nobody.
- **Noise.** The same configuration reads differently from one process start to the next, and keeps that for life.
  So a figure is the median over {starts} fresh starts ({scale_starts} with many routes or keys);
  the quartiles are over starts.
  Each round of {seconds} s stands between two rounds of a bare Envoy that was started for it,
  and counts as a ratio to them.
  The order is shuffled anew in each pass.
  Rounds in which other programs used more than {quiet:.0%} of a core are left out where enough quiet ones remain.
  The row *bare Envoy* is measured like any other, against another bare Envoy:
  how far it is from 1 is the error to expect.
- **No test asserts a time.** Tests check the harness's arithmetic; figures are for people.
- **Stand-ins.** In the published design a Python auth service stands in for a compiled one, which Envoy asks by gRPC.
  The hand-written proxy is one process.
  No TLS, no large bodies, no HTTP/2 from the client in these rows.
"""


def _method(report: Report) -> str:
    return _METHOD.format(
        connections=CONNECTIONS,
        starts=report.starts,
        scale_starts=report.scale_starts,
        seconds=report.round_seconds,
        quiet=QUIET,
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
