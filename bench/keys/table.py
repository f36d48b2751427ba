"""What was found of a million keys, in some lines for a terminal. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bench.keys.checking import ANY, NONE, OF_FEW, SAME
from bench.keys.timing import UNKNOWN, WRONG


def emit_table(found: Mapping[str, Any]) -> str:
    rows = [row for part, emit in _PARTS.items() if part in found for row in emit(found[part])]
    width = max((len(what) for what, _ in rows), default=0)
    return "\n".join(f"{what:<{width}}  {value}" for what, value in rows)


def _load(part: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield f"import of {part['keys']:,} keys, {part['bytes_a_line']} bytes each", f"{part['seconds']:.1f} s (60)"
    yield "memory of the store", f"{part['used_memory'] / 1e6:.0f} MB (300), {part['bytes_a_key']:.0f} bytes a key"
    yield "its process, at its largest", f"{part['rss'] / 1e6:.0f} MB, {part['rss_peak'] / 1e6:.0f} MB"
    yield "its files", f"{part['files'] / 1e6:.0f} MB"


def _records(part: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "KeyStore.load", f"{part['keys_a_second']:,.0f} keys a second"


def _restart(part: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "back after kill -9", f"{part['seconds']:.1f} s, {'all' if part['good'] else 'NOT ALL'} keys"


def _check(part: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for kind in (OF_FEW, SAME, ANY, NONE):
        each = part[kind]
        low, high = each["p99_of_rounds"]
        times = f"p50 {each['p50'] * 1e3:.2f} ms, p99 {each['p99'] * 1e3:.2f} ms ({low * 1e3:.2f} to {high * 1e3:.2f})"
        yield f"check, {kind}", times + (f", {each['failed']} FAILED" if each["failed"] else "")
    yield "p99, of the million by of a thousand", f"{part['p99_ratio']:.3f} (1.10); any key {part['p99_ratio_any']:.3f}"


def _worker(part: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    known = f"{part['known']:,} (at most {part['at_most']:,}), {part['bytes_a_key']:,.0f} bytes each"
    yield f"known to a worker of {part['asked']:,} that were asked for", known


def _timing(part: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for state, each in part.items():
        if isinstance(each, Mapping):
            wrong, unknown = each["median_us"][WRONG], each["median_us"][UNKNOWN]
            low, high = each["between_us"]
            difference = f"{each['difference_us']:.1f} µs ({low:.1f} to {high:.1f}, z {each['z']:.1f})"
            yield (
                f"refusal, id {state}, {each['samples']:,} samples",
                f"{WRONG} {wrong:.1f} µs, {UNKNOWN} {unknown:.1f} µs, difference {difference}",
            )


_PARTS = {
    "load": _load,
    "records": _records,
    "restart": _restart,
    "worker": _worker,
    "check": _check,
    "door": _timing,
    "gateway": _timing,
}
