"""Takes keys from the queue, runs the pass that each calls for, and decides what follows from its failure."""

from __future__ import annotations

import asyncio
import logging

from memory_contracts.errors import Conflict, NotFound, PlatformError
from memory_operator.controller.metrics import reconciling
from memory_operator.controller.schedule import Priority
from memory_operator.controller.work_queue import QueueShutDown
from memory_operator.keys import Key
from memory_operator.kube.cache import Cache
from memory_operator.kube.kinds import MEMORY_CLUSTER, MEMORY_NAMESPACE
from memory_operator.shell.cluster_pass import ClusterPass
from memory_operator.shell.namespace_pass import NamespacePass
from memory_operator.shell.parts import Parts

WORKERS = 32
# One MemoryCluster whose backends hang cannot take every worker.
WORKERS_PER_CLUSTER = 6
CONFLICT_SECONDS = 0.2

logger = logging.getLogger(__name__)


class Workers:
    """Runs passes until the queue is shut down."""

    def __init__(self, parts: Parts) -> None:
        self._queue = parts.queue
        self._namespaces, self._clusters = NamespacePass(parts), ClusterPass(parts)

    async def run(self) -> None:
        """Work; returns after `shutdown` of the queue, when every pass that was begun has ended."""
        async with asyncio.TaskGroup() as group:
            for number in range(WORKERS):
                group.create_task(self._work(), name=f"worker {number}")

    async def _work(self) -> None:
        while True:
            try:
                key = await self._queue.get()
            except QueueShutDown:
                return
            try:
                await self._process(key)
            finally:
                self._queue.done(key)

    async def _process(self, key: Key) -> None:
        with reconciling(key.kind) as result:
            try:
                await (self._clusters if key.kind == MEMORY_CLUSTER.kind else self._namespaces).run(key)
                result("ok")
            except (Conflict, NotFound) as error:  # the object has changed or gone since it was seen
                result("conflict")
                logger.info(error.detail, extra={"event": "reconcile.conflict", "object": "/".join(key)})
                self._queue.add_after(key, CONFLICT_SECONDS, Priority.RETRY)
            except PlatformError as error:
                result("failed")
                logger.warning(error.detail, extra={"event": "reconcile.failed", "object": "/".join(key)})
                self._queue.retry(key)
            except Exception:
                # The last resort: one object must never stop the others.
                logger.exception("a pass failed", extra={"event": "reconcile.crashed", "object": "/".join(key)})
                self._queue.retry(key)


def lane_of(cache: Cache, key: Key) -> Key | None:
    """Return what keys that must not take every worker have in common: their MemoryCluster."""
    entry = cache.entry(key) if key.kind == MEMORY_NAMESPACE.kind else None
    return entry.cluster if entry else None


def priority_of(kind_name: str, event: str | None) -> Priority:
    """Return how urgent an event about an object of this kind is; None is no event but a part of a listing."""
    if event is None:
        return Priority.START_UP
    if kind_name in (MEMORY_NAMESPACE.kind, MEMORY_CLUSTER.kind):
        return Priority.CREATION if event == "ADDED" else Priority.USER_EDIT
    return Priority.SECRET if kind_name == "Secret" else Priority.CHILD
