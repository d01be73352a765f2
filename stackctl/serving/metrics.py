"""What the model server counts, in Prometheus' format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The counters of one server.

    Attributes:
        requests: answered requests by path and status.
        seconds: time from admission to answer by path.
        rejected: refused requests by error code.
        swaps: flips from one version to another.
        fallbacks: flips back to the version before because the new one failed.
        deaths: processes of versions that died or were killed, by cause (``memory``, ``timeout``, ``other``).
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter("stackctl_requests", "Answered requests", ["path", "status"], registry=registry)
        self.seconds = Histogram(
            "stackctl_request_seconds", "Time to answer", ["path"], registry=registry, buckets=BUCKETS
        )
        self.rejected = Counter("stackctl_rejected", "Refused requests", ["code"], registry=registry)
        self.swaps = Counter("stackctl_swaps", "Flips to another version", registry=registry)
        self.fallbacks = Counter("stackctl_fallbacks", "Flips back from a version that failed", registry=registry)
        self.deaths = Counter("stackctl_deaths", "Processes that died or were killed", ["cause"], registry=registry)
        self._in_flight = Gauge("stackctl_in_flight", "Requests that compute", registry=registry)
        self._queued = Gauge("stackctl_queued", "Requests that wait", registry=registry)
        self._restarts = Gauge(
            "stackctl_child_restarts", "Replaced processes of the serving version", registry=registry
        )
        self._backup_age = Gauge(
            "stackctl_backup_age_seconds",
            "Age of the newest verified snapshot, and of the newest run",
            ["of"],
            registry=registry,
        )
        self._backup_degraded = Gauge(
            "stackctl_backup_degraded",
            "Whether the newest verified snapshot is too old, or none",
            [],
            registry=registry,
        )
        self._model = Gauge("stackctl_model_info", "The serving version", ["name", "version"], registry=registry)

    def watch(self, in_flight: Callable[[], float], queued: Callable[[], float]) -> None:
        """Take the gauges' values from these functions."""
        self._in_flight.set_function(in_flight)
        self._queued.set_function(queued)

    def text(
        self, name: str, version: str | None, restarts: int, backup: Mapping[str, float] = MappingProxyType({})
    ) -> bytes:
        """Return everything as text, with the version that serves now and the ages of ``backup`` (``BackupAge``)."""
        self._model.clear()
        if version is not None:
            self._model.labels(name, version).set(1)
        self._restarts.set(restarts)
        self._backup_age.clear()
        for of in ("verified", "run"):
            if of in backup:
                self._backup_age.labels(of).set(backup[of])
        # Nobody who could not ask may say that all is well.
        self._backup_degraded.set(backup.get("degraded", float("nan")))
        return generate_latest(self._registry)
