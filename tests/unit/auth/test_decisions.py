from __future__ import annotations

import json
from datetime import UTC, datetime
from io import StringIO

import pytest
from prometheus_client import CollectorRegistry

from apostille.auth.decisions import Decision, DecisionLog, DecisionMetrics, json_logger


class FixedClock:
    def now(self) -> datetime:
        return datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    def monotonic(self) -> float:
        return 0.0


DENIED = Decision(
    verdict="deny",
    status=401,
    program="n/p@1",
    policy="n/p",
    route="r",
    request_id="id",
    duration=0.0015,
    consumer="alice",
    reason="no",
)
BROKEN = Decision(
    verdict="broken",
    status=500,
    program="n/p@1",
    policy="n/p",
    route="r",
    request_id="id",
    duration=0.5,
    step="sign",
    reason="pass_through_failed",
    cause="timeout",
    bypassed=("first",),
)


def test_a_decision_is_one_line_of_json_without_empty_fields() -> None:
    stream = StringIO()
    DecisionLog(json_logger(stream), FixedClock()).record(DENIED)
    assert json.loads(stream.getvalue()) == {
        "event": "auth_decision",
        "level": "info",
        "time": "2026-01-02T03:04:05.000+00:00",
        "verdict": "deny",
        "status": 401,
        "duration_ms": 1.5,
        "program": "n/p@1",
        "policy": "n/p",
        "route": "r",
        "consumer": "alice",
        "reason": "no",
        "request_id": "id",
    }
    assert stream.getvalue().count("\n") == 1


def test_what_failed_is_a_warning_that_says_where_and_why() -> None:
    stream = StringIO()
    DecisionLog(json_logger(stream), FixedClock()).record(BROKEN)
    line = json.loads(stream.getvalue())
    assert line["level"] == "warning"
    assert (line["step"], line["reason"], line["cause"]) == ("sign", "pass_through_failed", "timeout")
    assert line["bypassed"] == ["first"]


def test_decisions_are_counted_by_policy_verdict_and_reason() -> None:
    registry = CollectorRegistry()
    metrics = DecisionMetrics(registry)
    for each in (DENIED, DENIED, BROKEN):
        metrics.record(each.policy, each.verdict, each.reason, each.duration, each.bypassed)

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    assert value("apostille_auth_decisions_total", policy="n/p", verdict="deny", reason="no") == 2
    assert value("apostille_auth_decisions_total", policy="n/p", verdict="broken", reason="pass_through_failed") == 1
    assert value("apostille_auth_decision_seconds_count", policy="n/p") == 3
    assert value("apostille_auth_decision_seconds_sum", policy="n/p") == pytest.approx(0.503)
    assert value("apostille_auth_bypassed_total", policy="n/p", step="first") == 1


def test_a_bucket_counts_what_took_as_long_as_its_bound_or_less() -> None:
    registry = CollectorRegistry()
    metrics = DecisionMetrics(registry)
    for seconds in (0.0, 0.0005, 0.0006, 5.0, 5.1):
        metrics.record("n/p", "allow", "", seconds)

    def up_to(bound: str) -> float | None:
        return registry.get_sample_value("apostille_auth_decision_seconds_bucket", {"policy": "n/p", "le": bound})

    assert [up_to(bound) for bound in ("0.0005", "0.001", "2.5", "5.0", "+Inf")] == [2, 3, 3, 4, 5]
