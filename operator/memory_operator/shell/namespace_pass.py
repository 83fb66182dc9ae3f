"""One pass over a MemoryNamespace: what is done, what is written after it, and when it is looked at again."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from pydantic import ValidationError

from memory_contracts.conditions import Condition, Reason
from memory_contracts.v1alpha1 import MemoryCluster, MemoryNamespace, MemoryNamespaceStatus
from memory_operator.controller.correlator import Event
from memory_operator.controller.metrics import drift_detected
from memory_operator.controller.schedule import Priority
from memory_operator.deletion import depart
from memory_operator.keys import Key, cluster_key_of
from memory_operator.kube.entries import Entry
from memory_operator.kube.resources import is_held
from memory_operator.outcome import paused_status
from memory_operator.reconcile import Unwanted, reconcile
from memory_operator.shell.parts import Parts, cluster_at, reference_to, release_backends, tenant_of
from memory_operator.shell.refusal import departing, refused_namespace
from memory_operator.specs.tenant import tenant_names
from memory_operator.status import is_ready, needs_retry, recheck_after

COUNT_SECONDS = 2.0
# Nobody tells of an object that is gone when its MemoryCluster goes on.
PAUSED_SECONDS = 30.0
# Of a Secret without the watch label nobody tells that it has changed.
UNWATCHED_SECONDS = 40.0

logger = logging.getLogger(__name__)


class NamespacePass:
    """Knows what a MemoryNamespace calls for: to be made, to be let go, or to be cleaned up after."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._cache, self._queue = parts.cache, parts.queue

    async def run(self, key: Key) -> None:
        """Look at the object, or at what it has left."""
        entry = self._cache.entry(key)
        if entry is None:
            return await self._clean_up(key)
        self._parts.vanished.forget(key)
        if not entry.deleting and self._cache.namespace_terminating(key.namespace):
            return None  # nothing can be made there any more, and its own deletion follows
        try:
            namespace = MemoryNamespace.model_validate(entry.body)
            cluster = cluster_at(self._cache, _cluster_key(entry))
        except ValidationError as error:
            return await self._refuse(key, entry, error)
        if entry.deleting:
            return await self._depart(key, entry, namespace, cluster)
        return await self._converge(key, entry, namespace, cluster)

    async def _converge(
        self, key: Key, entry: Entry, namespace: MemoryNamespace, cluster: MemoryCluster | None
    ) -> None:
        if cluster and cluster.spec.paused:
            return await self._note(key, entry, namespace, paused_status(namespace, self._parts.world.now()))
        if not is_held(entry):
            await self._parts.resources.hold(key, entry)
        try:
            status = await reconcile(namespace, cluster, self._parts.world, lambda: self._is_wanted(key, entry))
        except Unwanted:
            return None  # what is to be done instead is on the queue
        self._count_drift(namespace.status, status)
        return await self._note(key, entry, namespace, status)

    async def _refuse(self, key: Key, entry: Entry, error: ValidationError) -> None:
        """Say what cannot be read; to go, an object needs neither all of it nor a MemoryCluster."""
        if entry.deleting and (namespace := departing(entry)):
            try:
                cluster = cluster_at(self._cache, _cluster_key(entry))
            except ValidationError:
                cluster = None
            return await self._depart(key, entry, namespace, cluster)
        await self._parts.resources.write_status(key, entry, refused_namespace(entry, error, self._parts.world.now()))
        return None

    async def _note(self, key: Key, entry: Entry, namespace: MemoryNamespace, status: MemoryNamespaceStatus) -> None:
        before = namespace.status.conditions if namespace.status else []
        if await self._parts.resources.write_status(key, entry, status):
            self._parts.recorder.record_transitions(reference_to(key, entry), before, status.conditions)
        if is_ready(before) != is_ready(status.conditions):
            self._queue.add_after(_cluster_key(entry), COUNT_SECONDS, Priority.DRIFT)
        self._look_again(key, entry, status.conditions)

    def _look_again(self, key: Key, entry: Entry, conditions: Sequence[Condition]) -> None:
        if needs_retry(conditions):
            self._queue.retry(key)
            return
        self._queue.forget(key)
        if (seconds := recheck_after(conditions, self._parts.world.now())) is not None:
            self._queue.add_after(key, seconds, Priority.RETRY)
        elif any(self._cache.secret(*each) is None for each in entry.secrets):
            self._queue.add_after(key, UNWATCHED_SECONDS, Priority.DRIFT)

    async def _depart(self, key: Key, entry: Entry, namespace: MemoryNamespace, cluster: MemoryCluster | None) -> None:
        if not is_held(entry):
            self._forget(key)
            return
        if cluster and cluster.spec.paused:
            await self._note(key, entry, namespace, paused_status(namespace, self._parts.world.now()))
            return
        last = self._parts.backends.last(_cluster_key(entry))
        departure = await depart(namespace, cluster, self._parts.world, last, stranded=self._is_stranded(key, entry))
        if departure.left_behind:
            about = Event(reference_to(key, entry), Reason.DELETION_BLOCKED, departure.left_behind, warning=True)
            self._parts.recorder.record(about)
            logger.warning(departure.left_behind, extra={"event": "deletion.left_behind"})
        if departure.done:
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
        cluster = cluster_at(self._cache, home)
        if cluster and cluster.spec.paused:
            return self._queue.add_after(key, PAUSED_SECONDS, Priority.RETRY)
        departure = await depart(namespace, cluster, self._parts.world, self._parts.backends.last(home))
        if not departure.done:
            self._parts.vanished.put(namespace.model_copy(update={"status": departure.status}))
            return self._queue.add_after(key, departure.wait_seconds, Priority.RETRY)
        told = departure.left_behind or f"what was made for {tenant_names(namespace).qualified} went after it"
        logger.info(told, extra={"event": "deletion.late"})
        self._parts.vanished.forget(key)
        return self._forget(key)

    def _forget(self, key: Key) -> None:
        """Drop all that is remembered of an object that is gone, also of one whose finalizer somebody has removed."""
        self._parts.workloads.forget(key)
        self._parts.backends.forget(tenant_of(key))
        release_backends(self._parts)
        self._queue.forget(key)

    def _is_wanted(self, key: Key, entry: Entry) -> bool:
        now = self._cache.entry(key)
        return now is not None and now.uid == entry.uid and not now.deleting

    def _is_stranded(self, key: Key, entry: Entry) -> bool:
        """Return whether what is missing of the MemoryCluster cannot come back: its namespace waits for this object."""
        home = _cluster_key(entry).namespace
        return home == key.namespace and self._cache.namespace_terminating(home)

    def _count_drift(self, before: MemoryNamespaceStatus | None, after: MemoryNamespaceStatus) -> None:
        known, found = before.drift if before else None, after.drift
        if found and found != known:
            drift_detected(corrected=found.corrected > (known.corrected if known else 0))


def _cluster_key(namespace: Entry) -> Key:
    assert namespace.cluster, "only a MemoryNamespace refers to a MemoryCluster"
    return namespace.cluster
