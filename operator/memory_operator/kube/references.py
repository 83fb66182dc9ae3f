"""Who refers to which MemoryCluster and to which Secrets."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from memory_operator.keys import Key
from memory_operator.kube.entries import Entry


class References:
    """An index over the references of our resources, whether what they name exists or not."""

    def __init__(self) -> None:
        self._by_cluster: dict[Key, set[Key]] = {}
        self._by_secret: dict[tuple[str, str], set[Key]] = {}

    def users_of(self, cluster: Key) -> set[Key]:
        """Return the MemoryNamespaces that refer to the MemoryCluster."""
        return set(self._by_cluster.get(cluster, ()))

    def readers_of(self, namespace: str, secret: str) -> set[Key]:
        """Return the resources that refer to the Secret."""
        return set(self._by_secret.get((namespace, secret), ()))

    def replace(self, key: Key, before: Entry | None, after: Entry | None) -> None:
        """Take in that a resource came, changed, or went."""
        for index, place in self._links(before):
            index[place].discard(key)
            if not index[place]:
                del index[place]
        for index, place in self._links(after):
            index.setdefault(place, set()).add(key)

    def _links(self, entry: Entry | None) -> list[tuple[dict[Any, set[Key]], Hashable]]:
        if entry is None:
            return []
        secrets = [(self._by_secret, place) for place in entry.secrets]
        return [(self._by_cluster, entry.cluster), *secrets] if entry.cluster else [*secrets]
