"""One pass over a MemoryCluster: do its backends answer, who uses them, and who has to look again?"""

from __future__ import annotations

from pydantic import ValidationError

from memory_contracts.api.base import parse_duration
from memory_contracts.api.status import NamespaceCount
from memory_contracts.v1alpha1 import MemoryCluster
from memory_operator.cluster import answers_changed, is_unanswered, reconcile_cluster
from memory_operator.controller.metrics import count_namespaces
from memory_operator.controller.schedule import Priority
from memory_operator.keys import Key
from memory_operator.kube.kinds import MEMORY_NAMESPACE
from memory_operator.shell.parts import Parts, reference_to, release_backends, tenant_of
from memory_operator.shell.refusal import refused_cluster
from memory_operator.world import Backends


class ClusterPass:
    """Remembers what each MemoryCluster was last found to be, to tell its users when that is another."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._cache, self._queue = parts.cache, parts.queue
        self._seen: dict[Key, tuple[int, Backends | None]] = {}

    async def run(self, key: Key) -> None:
        """Ask the backends, tell what they say, and put on the queue whom that concerns."""
        entry = self._cache.entry(key)
        if entry is None or entry.deleting:
            self._seen.pop(key, None)
            self._queue.forget(key)
            release_backends(self._parts)
            return self._wake_users(key)
        try:
            cluster = MemoryCluster.model_validate(entry.body)
        except ValidationError as error:
            self._seen[key] = entry.generation, None
            await self._parts.resources.write_status(key, entry, refused_cluster(entry, error, self._parts.world.now()))
            return self._wake_users(key)
        status, backends = await reconcile_cluster(cluster, self._count_users(key), self._parts.world)
        if await self._parts.resources.write_status(key, entry, status):
            known = cluster.status.conditions if cluster.status else []
            self._parts.recorder.record_transitions(reference_to(key, entry), known, status.conditions)
        if self._is_news(key, (entry.generation, backends)) or answers_changed(cluster.status, status):
            self._wake_users(key)
        elif not cluster.spec.paused:
            await self._wake_doubtful(key, backends, unanswered=is_unanswered(status))
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

    async def _wake_doubtful(self, key: Key, backends: Backends | None, *, unanswered: bool) -> None:
        """Put on the queue who is not as it should be, and who calls itself Ready on a backend that does not answer.

        A backend may have come back for its users and gone again between two of these passes.
        """
        drifted = await self._parts.backends.drifted(key) if backends else set()
        for user in self._cache.users_of(key):
            entry = self._cache.entry(user)
            if tenant_of(user) in drifted or (unanswered and entry and entry.ready):
                self._queue.add(user, Priority.DRIFT)

    def _wake_users(self, key: Key) -> None:
        for user in self._cache.users_of(key):
            self._queue.add(user, Priority.SECRET)

    def _count_users(self, key: Key) -> NamespaceCount:
        found = [entry for user in self._cache.users_of(key) if (entry := self._cache.entry(user))]
        return NamespaceCount(total=len(found), ready=sum(entry.ready for entry in found))
