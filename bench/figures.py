"""From rounds to figures: ratios to neighbours, medians and quartiles. Pure.

It must not know how a round is run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

Placement = Literal["pinned", "shared"]

QUIET = 0.15
"""A round is quiet when all other programs together used less than this of one processor."""
_ENOUGH_QUIET = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One load on one design. `cpu_ns`: of all its processes. `others`: processors that everything else kept busy.

    `load_share`: how busy the generator's own processor was, which bounds the throughput that can be seen.
    """

    requests: int
    failed: int
    seconds: float
    cpu_ns: int
    others: float
    load_share: float
    p50: float
    p99: float

    @property
    def cpu_us(self) -> float:
        """CPU for a request, in microseconds."""
        return self.cpu_ns / max(self.requests, 1) / 1000

    @property
    def rate(self) -> float:
        return (self.requests - self.failed) / self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandwich:
    """A round between two rounds of the bare proxy, all three close in time. `start` numbers the fresh processes."""

    start: int
    placement: Placement
    before: Round
    middle: Round
    after: Round

    @property
    def cpu_ratio(self) -> float:
        return self.middle.cpu_us / ((self.before.cpu_us + self.after.cpu_us) / 2)

    @property
    def rate_ratio(self) -> float:
        return self.middle.rate / ((self.before.rate + self.after.rate) / 2)

    @property
    def quiet(self) -> bool:
        return max(self.before.others, self.middle.others, self.after.others) < QUIET

    @property
    def load_bound(self) -> bool:
        """The generator and the upstream had no time left: the design could have answered more."""
        return self.middle.load_share > 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """`median` with the quartiles around it."""

    low: float
    median: float
    high: float
    count: int


def spread(values: Iterable[float]) -> Spread:
    """Raises ValueError for no values."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values have no median")
    return Spread(low=_at(ordered, 0.25), median=_at(ordered, 0.5), high=_at(ordered, 0.75), count=len(ordered))


def _at(ordered: Sequence[float], share: float) -> float:
    """Linear between the two values that `share` falls between."""
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A design in one placement. `quiet`: only quiet rounds went in; otherwise there were too few of them."""

    cpu_ratio: Spread
    cpu_us: Spread
    rate: float
    rate_ratio: float
    load_bound: bool
    failed: int
    starts: int
    quiet: bool


def summarise(sandwiches: Sequence[Sandwich]) -> Summary | None:
    """One value for each start of the design, then the spread over the starts; None for no rounds."""
    if not sandwiches:
        return None
    calm = [each for each in sandwiches if each.quiet]
    quiet = len({each.start for each in calm}) >= _ENOUGH_QUIET or len(calm) == len(sandwiches)
    used = calm if quiet else list(sandwiches)
    starts = sorted({each.start for each in used})
    by_start = [[each for each in used if each.start == start] for start in starts]
    return Summary(
        cpu_ratio=spread(median(each.cpu_ratio for each in group) for group in by_start),
        cpu_us=spread(median(each.middle.cpu_us for each in group) for group in by_start),
        rate=median(median(each.middle.rate for each in group) for group in by_start),
        rate_ratio=median(median(each.rate_ratio for each in group) for group in by_start),
        load_bound=any(each.load_bound for each in used),
        failed=sum(each.middle.failed for each in used),
        starts=len(starts),
        quiet=quiet,
    )
