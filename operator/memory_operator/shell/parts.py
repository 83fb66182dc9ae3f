"""What the passes work with, and what they have in common."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from memory_contracts.v1alpha1 import API_VERSION, MemoryCluster
from memory_operator.backends.registry import BackendRegistry
from memory_operator.controller.correlator import ObjectReference
from memory_operator.controller.recorder import Recorder
from memory_operator.controller.work_queue import WorkQueue
from memory_operator.keys import Key
from memory_operator.kube.cache import Cache
from memory_operator.kube.entries import Entry, unpacked
from memory_operator.kube.resources import ResourceWriter
from memory_operator.kube.workloads import KubeWorkloads
from memory_operator.shell.vanished import Vanished
from memory_operator.world import World

CLUSTERS = 32  # each is read by every pass over its namespaces


@dataclass(frozen=True, slots=True)
class Parts:
    """What a pass reads, changes and tells."""

    cache: Cache
    queue: WorkQueue[Key]
    world: World
    backends: BackendRegistry
    workloads: KubeWorkloads
    resources: ResourceWriter
    recorder: Recorder
    vanished: Vanished


def reference_to(key: Key, entry: Entry) -> ObjectReference:
    """Return what an Event says of the object that it is about."""
    return ObjectReference(API_VERSION, key.kind, key.namespace, key.name, entry.uid)


def tenant_of(namespace: Key) -> str:
    """Return the name by which the backends know a MemoryNamespace."""
    return f"{namespace.namespace}/{namespace.name}"


def cluster_at(cache: Cache, key: Key) -> MemoryCluster | None:
    """Return the MemoryCluster unless it is gone or going; raises `ValidationError` when it cannot be read."""
    found = cache.entry(key)
    return _cluster(found.packed) if found and not found.deleting else None


@lru_cache(maxsize=CLUSTERS)
def _cluster(packed: bytes) -> MemoryCluster:
    return MemoryCluster.model_validate(unpacked(packed))


def release_backends(parts: Parts) -> None:
    """Close the backends of each MemoryCluster that is gone, and that nobody refers to any more."""

    def is_needed(cluster: Key) -> bool:
        found = parts.cache.entry(cluster)
        return (found is not None and not found.deleting) or bool(parts.cache.users_of(cluster))

    parts.backends.release(is_needed)
