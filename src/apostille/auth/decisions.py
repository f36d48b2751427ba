"""Every decision is counted, and each but a plain approval leaves a log line. Neither ever holds a credential."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import TextIO

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from structlog.typing import FilteringBoundLogger

from apostille.base.clock import Clock

ALLOW = "allow"
DENY = "deny"
BROKEN = "broken"

# Upper bounds of the histogram's buckets, in seconds.
_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_BUCKETS = (*map(str, _BOUNDS), "+Inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """`verdict` is ALLOW, DENY (the caller was refused) or BROKEN (refused because something of ours failed).

    `policy` is ``namespace/name``, empty when the program is unknown. `step`: who decided, empty when all allowed.
    `key`: what stands for the caller's key. `cause`: what failed, such as an exception's type. `duration` in seconds.
    """

    verdict: str
    status: int
    program: str
    route: str
    request_id: str
    duration: float
    policy: str = ""
    step: str = ""
    reason: str = ""
    consumer: str = ""
    key: str = ""
    bypassed: tuple[str, ...] = ()
    cause: str = ""


class DecisionMetrics(Collector):
    """Counts, by policy. Callers cannot make up label values: all of them come from our configuration.

    The sums are plain numbers and become metrics when somebody looks: the counters of prometheus_client lock and search
    for each request. There is no lock here, because one event loop both counts and looks.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._decisions: dict[tuple[str, str, str], int] = {}
        self._seconds: dict[str, _Durations] = {}
        self._bypassed: dict[tuple[str, str], int] = {}
        registry.register(self)

    def record(self, policy: str, verdict: str, reason: str, duration: float, bypassed: tuple[str, ...] = ()) -> None:
        """`duration` in seconds; the rest as in `Decision`."""
        decided = (policy, verdict, reason)
        self._decisions[decided] = self._decisions.get(decided, 0) + 1
        durations = self._seconds.get(policy)
        if durations is None:
            durations = self._seconds[policy] = _Durations()
        durations.counts[bisect_left(_BOUNDS, duration)] += 1
        durations.sum += duration
        for step in bypassed:
            self._bypassed[policy, step] = self._bypassed.get((policy, step), 0) + 1

    def describe(self) -> Iterable[Metric]:
        return self._families()

    def collect(self) -> Iterable[Metric]:
        decisions, seconds, bypassed = families = self._families()
        for labels, number in self._decisions.items():
            decisions.add_metric(labels, number)
        for policy, durations in self._seconds.items():
            # A bucket of Prometheus holds those below it too.
            buckets = zip(_BUCKETS, accumulate(durations.counts), strict=True)
            seconds.add_metric((policy,), [(bound, float(number)) for bound, number in buckets], durations.sum)
        for passed_over, number in self._bypassed.items():
            bypassed.add_metric(passed_over, number)
        return families

    @staticmethod
    def _families() -> tuple[CounterMetricFamily, HistogramMetricFamily, CounterMetricFamily]:
        return (
            CounterMetricFamily(
                "apostille_auth_decisions_total",
                "Decisions of the auth service.",
                labels=("policy", "verdict", "reason"),
            ),
            HistogramMetricFamily(
                "apostille_auth_decision_seconds",
                "Time to a decision, from the question to the answer.",
                labels=("policy",),
            ),
            CounterMetricFamily(
                "apostille_auth_bypassed_total",
                "Steps passed over because they could not be asked and their author allows that.",
                labels=("policy", "step"),
            ),
        )


class _Durations:
    """How many decisions took up to each bound, and the seconds of all."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * len(_BUCKETS)
        self.sum = 0.0


class DecisionLog:
    """Lines of denials, of what is broken, and of steps passed over.

    An approval is not written: the access log has it, with policy and consumer, and a line here for every request
    would cost as much as the decision itself.
    """

    def __init__(self, logger: FilteringBoundLogger, clock: Clock) -> None:
        self._logger = logger
        self._clock = clock

    def record(self, decision: Decision) -> None:
        """A broken decision, or one that passed over a step, is a warning. Empty fields are left out."""
        write = self._logger.warning if decision.verdict == BROKEN or decision.bypassed else self._logger.info
        fields: dict[str, object] = {
            "program": decision.program,
            "policy": decision.policy,
            "route": decision.route,
            "step": decision.step,
            "reason": decision.reason,
            "consumer": decision.consumer,
            "key": decision.key,
            "bypassed": list(decision.bypassed),
            "cause": decision.cause,
            "request_id": decision.request_id,
        }
        write(
            "auth_decision",
            time=self._clock.now().isoformat(timespec="milliseconds"),
            verdict=decision.verdict,
            status=decision.status,
            duration_ms=round(decision.duration * 1000, 3),
            **{name: value for name, value in fields.items() if value},
        )


def json_logger(stream: TextIO) -> FilteringBoundLogger:
    """One JSON object per line; nothing of structlog's global configuration is used or changed."""
    logger: FilteringBoundLogger = structlog.wrap_logger(
        structlog.WriteLogger(stream),
        processors=[structlog.processors.add_log_level, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
        cache_logger_on_first_use=True,
    )
    return logger
