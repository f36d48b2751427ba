"""The CPU of every design next to the others, as an SVG picture. Pure."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from bench.report import Report, Row

_WIDTH, _BAR, _GAP, _LEFT, _RIGHT, _TOP = 860, 20, 10, 380, 70, 46
_OURS, _THEIRS, _INK, _FAINT = "#2f6f9f", "#a9b4bd", "#24292f", "#8b949e"


def emit_plot(report: Report) -> str:
    """One bar for each design that was measured: CPU for a request, as a multiple of bare Envoy's."""
    rows = [(row, summary) for row in report.group("main") if (summary := row.summary("pinned"))]
    scale = (_WIDTH - _LEFT - _RIGHT) / max((summary.cpu_ratio.high for _, summary in rows), default=1.0)
    height = _TOP + len(rows) * (_BAR + _GAP) + 10
    picture = ET.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {_WIDTH} {height}",
            "width": str(_WIDTH),
            "height": str(height),
            "font-family": "system-ui, sans-serif",
            "font-size": "13",
        },
    )
    _add(picture, "rect", width=_WIDTH, height=height, fill="white")
    _add(picture, "text", "CPU for a request, × bare Envoy", x=_LEFT, y=20, fill=_INK, font_weight=600)
    one = round(_LEFT + scale, 1)
    _add(picture, "line", x1=one, y1=_TOP - 12, x2=one, y2=height - 10, stroke=_FAINT, stroke_dasharray="3 3")
    for number, (row, summary) in enumerate(rows):
        low, middle, high = (
            round(each * scale, 1) for each in (summary.cpu_ratio.low, summary.cpu_ratio.median, summary.cpu_ratio.high)
        )
        top = _TOP + number * (_BAR + _GAP)
        line, text = top + _BAR // 2, top + _BAR // 2 + 4
        _add(picture, "text", row.title, x=_LEFT - 8, y=text, fill=_INK, text_anchor="end")
        _add(picture, "rect", x=_LEFT, y=top, width=middle, height=_BAR, fill=_colour(row))
        _add(picture, "line", x1=_LEFT + low, y1=line, x2=_LEFT + high, y2=line, stroke=_INK)
        _add(picture, "text", f"{summary.cpu_ratio.median:.2f}", x=_LEFT + max(middle, high) + 6, y=text, fill=_INK)
    ET.indent(picture)
    return ET.tostring(picture, encoding="unicode") + "\n"


def _add(picture: ET.Element, tag: str, text: str | None = None, **attributes: object) -> None:
    named = {name.replace("_", "-"): str(value) for name, value in attributes.items()}
    ET.SubElement(picture, tag, named).text = text


def _colour(row: Row) -> str:
    return _OURS if row.name.startswith("apostille") else _THEIRS
