"""The name of one of our two resources, as cache, queue and backends use it."""

from __future__ import annotations

from typing import NamedTuple

from memory_contracts.v1alpha1 import MemoryCluster, MemoryNamespace

CLUSTER_KIND = "MemoryCluster"
NAMESPACE_KIND = "MemoryNamespace"


class Key(NamedTuple):
    """Kind, namespace and name."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


def key_of(resource: MemoryCluster | MemoryNamespace) -> Key:
    """Return the key of a resource."""
    return Key(resource.kind, resource.metadata.namespace, resource.metadata.name)


def cluster_key_of(namespace: MemoryNamespace) -> Key:
    """Return the key of the MemoryCluster that a MemoryNamespace refers to."""
    reference = namespace.spec.cluster_ref
    return Key(CLUSTER_KIND, reference.namespace or namespace.metadata.namespace, reference.name)
