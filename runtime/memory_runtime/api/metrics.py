"""The metrics of an API process, labelled by route template: a raw path would make a series of each coordinate."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Gauge, Histogram, PlatformCollector, ProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from memory_runtime.composition import Application

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)

LATENCY = Histogram(
    "api_request_latency_seconds",
    "Time from the first byte of a request to the last of its answer.",
    ["endpoint", "method", "status"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=REGISTRY,
)
MEMORIES = Gauge("memories", "Live memories in this process's index.", ["type"], registry=REGISTRY)
FEED_SILENCE = Gauge(
    "change_feed_silence_seconds", "Time since the change feed last heard from the database.", registry=REGISTRY
)
UNMATCHED = "unmatched"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Measure:
    """ASGI middleware: observes the latency of each request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, timing it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            route = getattr(scope.get("route"), "path", UNMATCHED)
            method = scope["method"] if scope["method"] in _METHODS else "other"
            LATENCY.labels(route, method, status).observe(time.perf_counter() - started)


def observe_application(app: Application) -> None:
    """Bring the gauges up to date."""
    for name, count in app.index.counts.items():
        MEMORIES.labels(name).set(count)
    FEED_SILENCE.set(app.feed.silence)
