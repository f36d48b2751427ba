"""The table, the page and the picture, from figures that were made up."""

from __future__ import annotations

import json
from dataclasses import replace
from xml.etree import ElementTree as ET

from bench.design import Group
from bench.figures import Sandwich
from bench.load import Outcome
from bench.machine import Machine
from bench.page import emit_page
from bench.plot import emit_plot
from bench.report import Report, Row, emit_report, emit_terminal, parse_report
from tests.unit.bench.test_figures import make_sandwich


def make_row(
    name: str,
    *sandwiches: Sandwich,
    title: str | None = None,
    group: Group = "main",
    scale: int = 1,
    skipped: str | None = None,
) -> Row:
    return Row(
        name=name,
        title=title or name,
        group=group,
        scale=scale,
        skipped=skipped,
        sandwiches=sandwiches,
        at_rate=(Outcome(requests=9, failed=0, seconds=1, p50=0.0005, p99=0.002),) if sandwiches else (),
        pss_bytes=(64 * 1024**2,) if sandwiches else (),
        start_seconds=(1.25,) if sandwiches else (),
    )


CHANGE = {
    "start_seconds": 9.5,
    "seconds": 0.4,
    "longest": 0.7,
    "changes": 5,
    "requests": 2000,
    "failed": 0,
    "p99": 0.003,
    "envoy_rss_bytes": 200 * 1024**2,
    "envoy_rss_after_changes_bytes": 240 * 1024**2,
    "envoy_peak_bytes": 260 * 1024**2,
    "pss_bytes": {"envoy": 190 * 1024**2},
}
REPORT = Report(
    machine=Machine(
        processor="Z80", cores=2, memory_gib=0.1, kernel="Linux 6", python="3.11", envoy="1.40.0", load="wrk"
    ),
    when="2026-01-02 03:04 UTC",
    minutes=12.5,
    seed=42,
    quick=False,
    starts=7,
    scale_starts=5,
    round_seconds=2,
    rate=1000.0,
    rows=(
        make_row("bare-nginx", make_sandwich(0, 12, load_share=0.99), title="bare nginx"),
        make_row("apostille-service", *(make_sandwich(n, 100) for n in range(3)), title="service <lane>"),
        make_row("apostille-envoy", skipped="skipped: not yet\nmore words"),
        make_row("noisy", make_sandwich(0, 80, others=0.9)),
        make_row("many", make_sandwich(0, 120, rate=900), title="service <lane>", group="routes", scale=10_000),
    ),
    signing={"us": 21.5, "low": 20.0, "high": 23.0, "batches": 100, "batch": 500},
    scale={
        "routes": 10_000,
        "translation": {"read": 1.0, "translate": 2.0, "emit": 0.5, "prove": 3.0},
        "change": CHANGE,
    },
)


def line_of(text: str, beginning: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(beginning))


def test_a_row_tells_cpu_ratio_throughput_latency_and_memory() -> None:
    cells = [cell.strip() for cell in line_of(emit_page(REPORT, plot="p.svg"), "| service <lane> |").split("|")]
    assert cells[1:8] == ["service <lane>", "100", "2.50 (2.50–2.50)", "1,000", "0.50 / 2.0", "64", "–"]


def test_a_throughput_that_the_generator_bounds_says_so() -> None:
    assert "| ≥ 1,000 |" in line_of(emit_page(REPORT, plot="p.svg"), "| bare nginx |")


def test_a_noisy_row_is_marked() -> None:
    assert "| 2.00 ! |" in line_of(emit_page(REPORT, plot="p.svg"), "| noisy |")


def test_what_was_not_measured_is_named_with_its_reason() -> None:
    for text in (emit_page(REPORT, plot="p.svg"), emit_terminal(REPORT)):
        assert "apostille-envoy: skipped: not yet" in text
        assert "more words" not in text


def test_many_routes_are_compared_with_one() -> None:
    page = emit_page(REPORT, plot="p.svg")
    routes = page[page.index("## Routes") :]
    assert "| service <lane> | 1 | 2.50 (2.50–2.50) | 1,000 | 100% | 1.2 | 64 |" in routes
    assert "| service <lane> | 10,000 | 3.00 | 900 | 90% | 1.2 | 64 |" in routes
    assert "## API keys" not in page


def test_a_change_that_failed_is_told_as_that() -> None:
    scale = {**(REPORT.scale or {}), "change": {"error": "StartError: it ended\nlong words"}}
    page = emit_page(replace(REPORT, scale=scale), plot="p.svg")
    assert "| one route changes while requests go through | StartError: it ended |" in page


def test_the_page_tells_the_machine_the_day_and_how_to_repeat_it() -> None:
    page = emit_page(REPORT, plot="p.svg")
    words = ("Z80", "2026-01-02 03:04 UTC", "seed 42", "(p.svg)", "No test asserts a time")
    assert [word for word in words if word not in page] == []


def test_the_picture_has_a_bar_for_each_measured_design() -> None:
    picture = ET.fromstring(emit_plot(REPORT))  # noqa: S314 - our own
    space = "{http://www.w3.org/2000/svg}"
    texts = [text.text for text in picture.iter(f"{space}text")]
    assert texts[1:] == ["bare nginx", "0.30", "service <lane>", "2.50", "noisy", "2.00"]
    _background, *bars = picture.iter(f"{space}rect")
    widths = [float(bar.attrib["width"]) for bar in bars]
    assert widths[1] > widths[2] > widths[0] > 0


def test_a_report_survives_its_file() -> None:
    assert parse_report(json.loads(json.dumps(emit_report(REPORT)))) == REPORT


def test_the_terminal_shows_every_measured_design() -> None:
    shown = emit_terminal(REPORT)
    assert line_of(shown, "service <lane>, 10,000 routes")
    assert line_of(shown, "noisy").split()[1] == "80"
    assert line_of(shown, "! other programs")
