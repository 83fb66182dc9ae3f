"""Events at a real API server (events.k8s.io/v1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from memory_operator.controller.correlator import Post
from memory_operator.controller.rest import MERGE_PATCH, RestClient, call

API_VERSION = "events.k8s.io/v1"
MAX_NOTE_BYTES = 1024
# Where Events about objects without a namespace live.
DEFAULT_NAMESPACE = "default"


class KubernetesEventApi:
    """Writes Events in the name of `controller` (a qualified name) running as `instance` (e.g. the pod's name).

    `permit` is asked before each, and raises `PlatformError` when this process may not write.
    """

    def __init__(
        self, client: RestClient, *, controller: str, instance: str, permit: Callable[[], None] = lambda: None
    ) -> None:
        self._client = client
        self._permit = permit
        self._reporter = {"reportingController": controller, "reportingInstance": instance[:128]}

    async def create(self, post: Post, at: datetime) -> None:
        """Write a new Event; raises as `rest.call` does."""
        self._permit()
        body = {**build_event(post, at), **self._reporter}
        await call(self._client, "POST", _collection(post), body, kind="Event", permit=self._permit)

    async def continue_series(self, post: Post, at: datetime) -> None:
        """Say that it happened again; raises `NotFound` when the Event has expired."""
        self._permit()
        body = {"series": {"count": post.count, "lastObservedTime": _time(at)}}
        path = f"{_collection(post)}/{post.name}"
        await call(self._client, "PATCH", path, body, kind="Event", content_type=MERGE_PATCH, permit=self._permit)


def build_event(post: Post, at: datetime) -> Mapping[str, Any]:
    """Return the manifest, but for who reports it."""
    event, about = post.event, post.event.regarding
    regarding = {
        "apiVersion": about.api_version,
        "kind": about.kind,
        "namespace": about.namespace,
        "name": about.name,
        "uid": about.uid,
    }
    return {
        "apiVersion": API_VERSION,
        "kind": "Event",
        "metadata": {"name": post.name, "namespace": about.namespace or DEFAULT_NAMESPACE},
        "eventTime": _time(at),
        "type": "Warning" if event.warning else "Normal",
        "reason": event.reason,
        "action": event.action,
        "note": shorten(event.note),
        "regarding": {field: value for field, value in regarding.items() if value},
    }


def shorten(note: str) -> str:
    """Return `note` cut to what the API accepts, which counts bytes."""
    encoded = note.encode()
    if len(encoded) <= MAX_NOTE_BYTES:
        return note
    return encoded[: MAX_NOTE_BYTES - len("…".encode())].decode(errors="ignore") + "…"


def _collection(post: Post) -> str:
    return f"/apis/{API_VERSION}/namespaces/{post.event.regarding.namespace or DEFAULT_NAMESPACE}/events"


def _time(at: datetime) -> str:
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")
