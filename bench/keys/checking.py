"""What a request with a key costs when there are a thousand keys, and when there are a million."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from apostille.keys.cache import CacheBounds
from bench.accounting import read_rss_bytes
from bench.design import KEY_HEADER
from bench.keys.gateway import PATH, Site
from bench.keys.records import draw, make_unknown
from bench.load import Outcome, Target, run_rate
from bench.runner import find_cores

RATE = 300.0
FEW = 1_000
_ALLOWED = 1.10
_UNKNOWN_P99 = 0.005

OF_FEW, SAME, ANY, NONE = "of a thousand", "a thousand of the million", "any of the million", "unknown"


Keyed = tuple[Site, Sequence[str]]
"""A gateway and the keys of its store."""


async def check(few: Keyed, many: Keyed, folder: Path, *, rounds: int, seconds: float) -> Mapping[str, Any]:
    """An open loop at a fixed rate, the four kinds of load in turn, in an order that is drawn anew for each round."""
    chance = random.Random()  # noqa: S311 - which key is next, no secret
    count = round(RATE * seconds)
    site, keys = many
    kinds = {OF_FEW: few, SAME: (site, chance.sample(keys, FEW)), ANY: many, NONE: (site, [])}
    found: dict[str, list[Outcome]] = {kind: [] for kind in kinds}
    # A first one for the caches, which does not count.
    for number in range(rounds + 1):
        for kind in chance.sample(list(kinds), len(kinds)):
            site, keys = kinds[kind]
            values = folder / "values"
            values.write_text("\n".join(draw(keys, count, chance) if keys else make_unknown(count)))
            target = Target(port=site.port, path=PATH, varying=(KEY_HEADER, values), status=200 if keys else 401)
            outcome = await run_rate(target, seconds, find_cores().all, RATE)
            if number:
                found[kind].append(outcome)
    figures = {kind: _figures(outcomes) for kind, outcomes in found.items()}
    workers = {name: read_rss_bytes(pid) for name, pid in site.gateway.children().items() if name.startswith("auth")}
    return {
        "rate": RATE,
        "rounds": rounds,
        "seconds": seconds,
        **figures,
        "p99_ratio": figures[SAME]["p99"] / figures[OF_FEW]["p99"],
        "p99_ratio_any": figures[ANY]["p99"] / figures[OF_FEW]["p99"],
        "p99_ratios_of_rounds": [b.p99 / a.p99 for a, b in zip(found[OF_FEW], found[SAME], strict=True)],
        "known_keys_at_most": CacheBounds().known_keys,
        "worker_rss": workers,
        "good": figures[SAME]["p99"] <= _ALLOWED * figures[OF_FEW]["p99"]
        and figures[NONE]["p99"] <= _UNKNOWN_P99
        and not any(each.failed for outcomes in found.values() for each in outcomes),
    }


def _figures(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Seconds; the medians of the rounds, and how far they are apart."""
    p99 = [each.p99 for each in outcomes]
    return {
        "requests": sum(each.requests for each in outcomes),
        "failed": sum(each.failed for each in outcomes),
        "p50": median(each.p50 for each in outcomes),
        "p99": median(p99),
        "p99_of_rounds": [min(p99), max(p99)],
    }
