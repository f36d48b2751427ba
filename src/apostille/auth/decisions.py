"""Every decision leaves one log line and a few counts. Neither ever holds a credential."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TextIO

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram
from structlog.typing import FilteringBoundLogger

from apostille.base.clock import Clock

ALLOW = "allow"
DENY = "deny"
BROKEN = "broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """`verdict` is ALLOW, DENY (the caller was refused) or BROKEN (refused because something of ours failed).

    `policy` is ``namespace/name``, empty when the program is unknown. `step`: who decided, empty when all allowed.
    `cause`: what failed, such as an exception's type. `duration` in seconds.
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
    bypassed: tuple[str, ...] = ()
    cause: str = ""


class DecisionMetrics:
    """Counts, by policy. Callers cannot make up label values: all of them come from our configuration."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._decisions = Counter(
            "apostille_auth_decisions_total",
            "Decisions of the auth service.",
            ("policy", "verdict", "reason"),
            registry=registry,
        )
        self._seconds = Histogram(
            "apostille_auth_decision_seconds",
            "Time to a decision, from the question to the answer.",
            ("policy",),
            buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
            registry=registry,
        )
        self._bypassed = Counter(
            "apostille_auth_bypassed_total",
            "Steps passed over because they could not be asked and their author allows that.",
            ("policy", "step"),
            registry=registry,
        )

    def record(self, decision: Decision) -> None:
        self._decisions.labels(decision.policy, decision.verdict, decision.reason).inc()
        self._seconds.labels(decision.policy).observe(decision.duration)
        for step in decision.bypassed:
            self._bypassed.labels(decision.policy, step).inc()


class DecisionLog:
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
