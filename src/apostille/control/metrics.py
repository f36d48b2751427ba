"""What the control plane counts of itself."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from apostille.xds.feedback import Nack


class ControlMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._generation = Gauge(
            "apostille_control_configuration_generation",
            "How many configurations this process has published.",
            registry=registry,
        )
        self._seconds = Histogram(
            "apostille_control_publish_seconds",
            "From changed texts to a published configuration.",
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
            registry=registry,
        )
        self._problems = Gauge(
            "apostille_control_findings",
            "What is wrong with the resources being served.",
            ("severity",),
            registry=registry,
        )
        self.failures = Counter(
            "apostille_control_failures_total",
            "Configurations that could not be published because of a failure of ours.",
            registry=registry,
        )
        self._nacks = Counter(
            "apostille_xds_nacks_total",
            "Configurations that an Envoy or an auth worker refused.",
            ("group",),
            registry=registry,
        )

    def published(self, generation: int, seconds: float, *, errors: int, warnings: int) -> None:
        self._generation.set(generation)
        self._seconds.observe(seconds)
        self._problems.labels("error").set(errors)
        self._problems.labels("warning").set(warnings)

    def nacked(self, nack: Nack) -> None:
        self._nacks.labels(nack.group).inc()
