"""The metrics of the operator process, all of them, and a function for each thing that happens."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector

from memory_operator.controller.schedule import Priority

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


def _counter(name: str, text: str, *labels: str) -> Counter:
    return Counter(f"memory_operator_{name}", text, labels, registry=REGISTRY)


def _gauge(name: str, text: str, *labels: str) -> Gauge:
    return Gauge(f"memory_operator_{name}", text, labels, registry=REGISTRY)


def _histogram(name: str, text: str, *labels: str) -> Histogram:
    return Histogram(f"memory_operator_{name}", text, labels, buckets=_SECONDS, registry=REGISTRY)


RECONCILES = _counter("reconcile", "Passes over one object, by how they ended.", "kind", "result")
RECONCILE_SECONDS = _histogram("reconcile_duration_seconds", "Time of one pass over one object.", "kind")
QUEUE_DEPTH = _gauge("queue_depth", "Keys in the queue: ready, or waiting for their time.", "state")
QUEUE_ADDS = _counter("queue_adds", "Keys put into the queue, by why.", "priority")
QUEUE_LATENCY = _histogram("queue_latency_seconds", "Time a key was ready before a worker took it.", "priority")
QUEUE_WORK = _histogram("queue_work_duration_seconds", "Time a worker had a key.")
RETRIES = _counter("retries", "Keys put back into the queue after a failure.")
KUBERNETES_REQUESTS = _counter(
    "kubernetes_requests", "Calls to the Kubernetes API; code is the HTTP status or none.", "verb", "kind", "code"
)
DRIFT_DETECTED = _counter("drift_detected", "Passes that found something other than it was left.")
DRIFT_CORRECTED = _counter("drift_corrected", "Passes that put something back as it should be.")
LEADER = _gauge("leader", "1 while this replica leads.")
EVENTS = _counter("events", "Kubernetes Events, by what became of them.", "result")
WATCH_RESTARTS = _counter("watch_restarts", "Watches that had to begin anew.", "kind")
NAMESPACES = _gauge("namespaces", "MemoryNamespaces, by whether they are ready.", "ready")


@contextlib.contextmanager
def reconciling(kind: str) -> Iterator[Callable[[str], None]]:
    """Time one pass. The pass calls what it is given with its result; one that ends by an error counts as ``error``."""
    began, results = time.perf_counter(), ["error"]
    try:
        yield results.append
    finally:
        RECONCILE_SECONDS.labels(kind).observe(time.perf_counter() - began)
        RECONCILES.labels(kind, results[-1]).inc()


def kubernetes_request(verb: str, kind: str, code: str) -> None:
    """Count a call to the Kubernetes API."""
    KUBERNETES_REQUESTS.labels(verb, kind, code).inc()


def drift_detected(*, corrected: bool) -> None:
    """Count a pass that found drift, and whether it was to correct it."""
    DRIFT_DETECTED.inc()
    if corrected:
        DRIFT_CORRECTED.inc()


def event_handled(result: str) -> None:
    """Count what became of a Kubernetes Event."""
    EVENTS.labels(result).inc()


def watch_restarted(kind: str) -> None:
    """Count a watch that had to begin anew."""
    WATCH_RESTARTS.labels(kind).inc()


def lead_by(is_leader: Callable[[], bool]) -> None:
    """Ask `is_leader` at each scrape."""
    LEADER.set_function(is_leader)


def count_namespaces(total: int, ready: int) -> None:
    """Set how many MemoryNamespaces there are."""
    NAMESPACES.labels("true").set(ready)
    NAMESPACES.labels("false").set(total - ready)


class MeasuredQueue:
    """The `QueueMetrics` of this process."""

    def added(self, priority: Priority) -> None:
        """Count a key that was put into the queue."""
        QUEUE_ADDS.labels(_name(priority)).inc()

    def depth(self, ready: int, waiting: int) -> None:
        """Note how many keys there are."""
        QUEUE_DEPTH.labels("ready").set(ready)
        QUEUE_DEPTH.labels("waiting").set(waiting)

    def started(self, priority: Priority, waited: float) -> None:
        """Note how long a key had to wait for a worker."""
        QUEUE_LATENCY.labels(_name(priority)).observe(waited)

    def finished(self, worked: float) -> None:
        """Note how long a worker had a key."""
        QUEUE_WORK.observe(worked)

    def retried(self) -> None:
        """Count a key that was put back."""
        RETRIES.inc()


def _name(priority: Priority) -> str:
    return priority.name.lower().replace("_", "-")
