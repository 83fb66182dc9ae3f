"""Takes keys from the queue, runs the pass that each calls for, writes the status, and decides when to look again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from memory_contracts.api.base import parse_duration
from memory_contracts.api.status import NamespaceCount
from memory_contracts.conditions import Condition, Reason
from memory_contracts.errors import Conflict, NotFound, PlatformError
from memory_contracts.v1alpha1 import (
    API_VERSION,
    MemoryCluster,
    MemoryNamespace,
    MemoryNamespaceStatus,
)
from memory_operator.backends import BackendRegistry
from memory_operator.cluster import answers_changed, reconcile_cluster
from memory_operator.controller.correlator import Event, ObjectReference
from memory_operator.controller.metrics import count_namespaces, drift_detected, reconciling
from memory_operator.controller.recorder import Recorder
from memory_operator.controller.schedule import Priority
from memory_operator.controller.work_queue import QueueShutDown, WorkQueue
from memory_operator.deletion import depart
from memory_operator.keys import Key, cluster_key_of
from memory_operator.kube.cache import Cache, Entry
from memory_operator.kube.kinds import MEMORY_CLUSTER, MEMORY_NAMESPACE
from memory_operator.kube.resources import ResourceWriter, is_held
from memory_operator.kube.workloads import KubeWorkloads
from memory_operator.outcome import paused_status
from memory_operator.reconcile import reconcile
from memory_operator.shell.refusal import departing, refused_cluster, refused_namespace
from memory_operator.shell.vanished import Vanished
from memory_operator.specs.tenant import tenant_names
from memory_operator.status import is_ready, needs_retry, recheck_after
from memory_operator.world import Backends, World

WORKERS = 32
# One MemoryCluster whose backends hang cannot take every worker.
WORKERS_PER_CLUSTER = 12
COUNT_SECONDS = 2.0
CONFLICT_SECONDS = 0.2
# Nobody tells of an object that is gone when its MemoryCluster goes on.
PAUSED_SECONDS = 30.0
# Of a Secret without the watch label nobody tells that it has changed.
UNWATCHED_SECONDS = 40.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """What the workers work with."""

    cache: Cache
    queue: WorkQueue[Key]
    world: World
    backends: BackendRegistry
    workloads: KubeWorkloads
    resources: ResourceWriter
    recorder: Recorder
    vanished: Vanished


class Workers:
    """Runs passes until the queue is shut down."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._cache, self._queue = parts.cache, parts.queue
        self._seen: dict[Key, tuple[int, Backends | None]] = {}

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
                await (self._cluster(key) if key.kind == MEMORY_CLUSTER.kind else self._namespace(key))
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

    # --- MemoryNamespace ----------------------------------------------------------------------------------------------

    async def _namespace(self, key: Key) -> None:
        entry = self._cache.entry(key)
        if entry is None:
            return await self._clean_up(key)
        self._parts.vanished.forget(key)
        if not entry.deleting and self._cache.namespace_terminating(key.namespace):
            return None  # nothing can be made there any more, and its own deletion follows
        try:
            namespace, cluster = MemoryNamespace.model_validate(entry.body), self._cluster_at(_cluster_key(entry))
        except ValidationError as error:
            return await self._refuse(key, entry, error)
        if entry.deleting:
            return await self._depart(key, entry, namespace, cluster)
        if cluster and cluster.spec.paused:
            return await self._note(key, entry, namespace, paused_status(namespace, self._now()))
        if not is_held(entry):
            await self._parts.resources.hold(key, entry)
        status = await reconcile(namespace, cluster, self._parts.world)
        self._count_drift(namespace.status, status)
        return await self._note(key, entry, namespace, status)

    async def _refuse(self, key: Key, entry: Entry, error: ValidationError) -> None:
        """Say what cannot be read; to go, an object needs neither all of it nor a MemoryCluster."""
        if entry.deleting and (namespace := departing(entry)):
            try:
                cluster = self._cluster_at(_cluster_key(entry))
            except ValidationError:
                cluster = None
            return await self._depart(key, entry, namespace, cluster)
        await self._parts.resources.write_status(key, entry, refused_namespace(entry, error, self._now()))
        return None

    async def _note(self, key: Key, entry: Entry, namespace: MemoryNamespace, status: MemoryNamespaceStatus) -> None:
        before = namespace.status.conditions if namespace.status else []
        if await self._parts.resources.write_status(key, entry, status):
            self._parts.recorder.record_transitions(_reference(key, entry), before, status.conditions)
        if is_ready(before) != is_ready(status.conditions):
            self._queue.add_after(_cluster_key(entry), COUNT_SECONDS, Priority.DRIFT)
        self._look_again(key, entry, status.conditions)

    def _look_again(self, key: Key, entry: Entry, conditions: Sequence[Condition]) -> None:
        if needs_retry(conditions):
            self._queue.retry(key)
            return
        self._queue.forget(key)
        if (seconds := recheck_after(conditions)) is not None:
            self._queue.add_after(key, seconds, Priority.RETRY)
        elif any(self._cache.secret(*each) is None for each in entry.secrets):
            self._queue.add_after(key, UNWATCHED_SECONDS, Priority.DRIFT)

    async def _depart(self, key: Key, entry: Entry, namespace: MemoryNamespace, cluster: MemoryCluster | None) -> None:
        if not is_held(entry):
            return
        if cluster and cluster.spec.paused:
            await self._note(key, entry, namespace, paused_status(namespace, self._now()))
            return
        last = self._parts.backends.last(_cluster_key(entry))
        departure = await depart(namespace, cluster, self._parts.world, last, stranded=self._is_stranded(key, entry))
        if departure.left_behind:
            about = Event(_reference(key, entry), Reason.DELETION_BLOCKED, departure.left_behind, warning=True)
            self._parts.recorder.record(about)
            logger.warning(departure.left_behind, extra={"event": "deletion.left_behind"})
        if departure.done:
            self._parts.backends.forget(_cluster_key(entry), tenant_names(namespace).qualified)
            await self._parts.resources.release(key, entry)
            self._forget(key)
            return
        await self._note(key, entry, namespace, departure.status)
        self._queue.add_after(key, departure.wait_seconds, Priority.RETRY)

    async def _clean_up(self, key: Key) -> None:
        """The object is gone; see to it that what was made for it goes too, where nobody else will."""
        namespace = self._parts.vanished.get(key)
        if namespace is None:
            return self._forget(key)
        home = cluster_key_of(namespace)
        cluster = self._cluster_at(home)
        if cluster and cluster.spec.paused:
            return self._queue.add_after(key, PAUSED_SECONDS, Priority.RETRY)
        departure = await depart(namespace, cluster, self._parts.world, self._parts.backends.last(home))
        if not departure.done:
            self._parts.vanished.put(namespace.model_copy(update={"status": departure.status}))
            return self._queue.add_after(key, departure.wait_seconds, Priority.RETRY)
        told = departure.left_behind or f"what was made for {tenant_names(namespace).qualified} went after it"
        logger.info(told, extra={"event": "deletion.late"})
        self._parts.backends.forget(home, tenant_names(namespace).qualified)
        self._parts.vanished.forget(key)
        return self._forget(key)

    def _forget(self, key: Key) -> None:
        self._parts.workloads.forget(key)
        self._queue.forget(key)

    def _is_stranded(self, key: Key, entry: Entry) -> bool:
        """Return whether what is missing of the MemoryCluster cannot come back: its namespace waits for this object."""
        home = _cluster_key(entry).namespace
        return home == key.namespace and self._cache.namespace_terminating(home)

    def _cluster_at(self, key: Key) -> MemoryCluster | None:
        found = self._cache.entry(key)
        return MemoryCluster.model_validate(found.body) if found and not found.deleting else None

    def _count_drift(self, before: MemoryNamespaceStatus | None, after: MemoryNamespaceStatus) -> None:
        known, found = before.drift if before else None, after.drift
        if found and found != known:
            drift_detected(corrected=found.corrected > (known.corrected if known else 0))

    # --- MemoryCluster ------------------------------------------------------------------------------------------------

    async def _cluster(self, key: Key) -> None:
        entry = self._cache.entry(key)
        if entry is None or entry.deleting:
            self._seen.pop(key, None)
            self._queue.forget(key)
            return self._wake_users(key)
        try:
            cluster = MemoryCluster.model_validate(entry.body)
        except ValidationError as error:
            self._seen[key] = entry.generation, None
            await self._parts.resources.write_status(key, entry, refused_cluster(entry, error, self._now()))
            return self._wake_users(key)
        status, backends = await reconcile_cluster(cluster, self._count_users(key), self._parts.world)
        if await self._parts.resources.write_status(key, entry, status):
            known = cluster.status.conditions if cluster.status else []
            self._parts.recorder.record_transitions(_reference(key, entry), known, status.conditions)
        if self._is_news(key, (entry.generation, backends)) or answers_changed(cluster.status, status):
            self._wake_users(key)
        elif backends and not cluster.spec.paused:
            await self._wake_drifted(key)
        everyone = [each for _, each in self._cache.entries(MEMORY_NAMESPACE)]
        count_namespaces(len(everyone), sum(each.ready for each in everyone))
        interval = parse_duration(cluster.spec.resync.interval).total_seconds()
        self._queue.forget(key)
        self._queue.add_after(key, interval, Priority.DRIFT)
        return None

    def _is_news(self, key: Key, now: tuple[int, Backends | None]) -> bool:
        """Return whether the specification is another, or what its Secrets say of the way to the backends.

        When the process has just begun it is not: all users are in the queue then.
        """
        before, self._seen[key] = self._seen.get(key, now), now
        return before != now

    async def _wake_drifted(self, key: Key) -> None:
        drifted = await self._parts.backends.drifted(key)
        for user in self._cache.users_of(key):
            if f"{user.namespace}/{user.name}" in drifted:
                self._queue.add(user, Priority.DRIFT)

    def _wake_users(self, key: Key) -> None:
        for user in self._cache.users_of(key):
            self._queue.add(user, Priority.SECRET)

    def _count_users(self, key: Key) -> NamespaceCount:
        found = [entry for user in self._cache.users_of(key) if (entry := self._cache.entry(user))]
        return NamespaceCount(total=len(found), ready=sum(entry.ready for entry in found))

    def _now(self) -> datetime:
        return self._parts.world.now()


def _reference(key: Key, entry: Entry) -> ObjectReference:
    return ObjectReference(API_VERSION, key.kind, key.namespace, key.name, entry.uid)


def _cluster_key(namespace: Entry) -> Key:
    assert namespace.cluster, "only a MemoryNamespace refers to a MemoryCluster"
    return namespace.cluster


def lane_of(cache: Cache, key: Key) -> Key | None:
    """Return what keys that must not take every worker have in common: their MemoryCluster."""
    entry = cache.entry(key) if key.kind == MEMORY_NAMESPACE.kind else None
    return entry.cluster if entry else None


def priority_of(kind_name: str) -> Priority:
    """Return how urgent an event about an object of this kind is."""
    if kind_name in (MEMORY_NAMESPACE.kind, MEMORY_CLUSTER.kind):
        return Priority.USER_EDIT
    return Priority.SECRET if kind_name == "Secret" else Priority.CHILD
