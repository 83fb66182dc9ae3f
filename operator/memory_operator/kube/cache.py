"""What was last seen of the objects the operator cares about, with the indexes that lead back to who is affected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Any, TypeAlias

from memory_operator.keys import Key
from memory_operator.kube.ends import Ends
from memory_operator.kube.entries import (
    Child,
    Entry,
    NamespaceEntry,
    SecretEntry,
    child_of,
    entry_of,
    namespace_of,
    owner_of,
    secret_of,
    version_of,
)
from memory_operator.kube.kinds import MEMORY_CLUSTER, MEMORY_NAMESPACE, NAMESPACE, SECRET, Kind
from memory_operator.kube.references import References

Place: TypeAlias = tuple[str, str, str]  # kind, namespace and name


class Cache:
    """Used from one event loop only. `see` and `lose` return the keys that are affected by what happened."""

    def __init__(self) -> None:
        self._entries: dict[Key, Entry] = {}
        self._children: dict[Place, Child] = {}
        self._secrets: dict[tuple[str, str], SecretEntry] = {}
        self._namespaces: dict[str, NamespaceEntry] = {}
        self._by_owner: dict[Key, dict[Place, None]] = {}  # in the order in which they were first seen
        self._references = References()
        self._ends = Ends()

    # --- reading ------------------------------------------------------------------------------------------------------

    def entry(self, key: Key) -> Entry | None:
        """Return one of our resources as last seen."""
        return self._entries.get(key)

    def entries(self, kind: Kind) -> Iterator[tuple[Key, Entry]]:
        """Yield all resources of one kind."""
        return ((key, entry) for key, entry in self._entries.items() if key.kind == kind.kind)

    def users_of(self, cluster: Key) -> set[Key]:
        """Return the MemoryNamespaces that refer to the MemoryCluster, whether it exists or not."""
        return self._references.users_of(cluster)

    def readers_of(self, namespace: str, secret: str) -> set[Key]:
        """Return the resources that refer to the Secret."""
        return self._references.readers_of(namespace, secret)

    def children(self, owner: Key) -> list[Child]:
        """Return what is known of the owner's children."""
        return [self._children[place] for place in self._by_owner.get(owner, ())]

    def child(self, owner: Key, kind: Kind, name: str) -> Child | None:
        """Return one child as last seen."""
        found = self._children.get((kind.kind, owner.namespace, name))
        return found if found and found.owner == owner else None

    def secret(self, namespace: str, name: str) -> SecretEntry | None:
        """Return a Secret if it is one that is watched."""
        return self._secrets.get((namespace, name))

    def namespace_labels(self, name: str) -> Mapping[str, str] | None:
        """Return the labels of a Kubernetes namespace; None when it was not seen."""
        found = self._namespaces.get(name)
        return found.labels if found else None

    def namespace_terminating(self, name: str) -> bool:
        """Return whether the Kubernetes namespace is being deleted."""
        found = self._namespaces.get(name)
        return found is not None and found.terminating

    # --- writing ------------------------------------------------------------------------------------------------------

    def see(self, kind: Kind, body: Mapping[str, Any]) -> set[Key]:
        """Take in an object; older than what is known is ignored, and so is one that is known to be gone.

        A listing, or the answer to a write, may have been under way while the watch told of the end. Taken for alive,
        such an object would be given what nobody ever takes away again.
        """
        metadata = body["metadata"]
        if self._ends.outdates(metadata["uid"], version_of(metadata)):
            return set()
        if kind in (MEMORY_NAMESPACE, MEMORY_CLUSTER):
            return self._see_entry(Key(kind.kind, metadata["namespace"], metadata["name"]), body)
        if kind is NAMESPACE:
            return self._see_namespace(metadata)
        affected = self._see_secret(body) if kind is SECRET else set()
        return affected | self._see_child(kind, body)

    def lose(self, kind: Kind, body: Mapping[str, Any]) -> set[Key]:
        """Forget an object that is gone, or that no longer has the label by which it is watched."""
        metadata = body["metadata"]
        place = metadata.get("namespace", ""), metadata["name"]
        return self._lose(kind, *place, metadata["uid"], version_of(metadata))

    def drop_ghosts(self, kind: Kind, listed: Set[tuple[str, str]], version: int) -> set[Key]:
        """Forget what a complete listing (namespace and name of each object) does not hold: no watch told of its end.

        What was seen with a version newer than the listing's is no ghost.
        """
        affected: set[Key] = set()
        for namespace, name, uid in self._known(kind):
            if (namespace, name) not in listed:
                affected |= self._lose(kind, namespace, name, uid, version)
        return affected

    # --- parts --------------------------------------------------------------------------------------------------------

    def _lose(self, kind: Kind, namespace: str, name: str, uid: str, version: int) -> set[Key]:
        self._ends.note(uid, version)

        def is_it(known: Entry | Child | SecretEntry | NamespaceEntry) -> bool:
            return known.uid == uid and known.version <= version

        if kind in (MEMORY_NAMESPACE, MEMORY_CLUSTER):
            key = Key(kind.kind, namespace, name)
            return self._lose_entry(key, entry) if (entry := self._entries.get(key)) and is_it(entry) else set()
        if kind is NAMESPACE:
            if (found := self._namespaces.get(name)) and is_it(found):
                del self._namespaces[name]
            return set()
        affected: set[Key] = set()
        if kind is SECRET and (secret := self._secrets.get((namespace, name))) and is_it(secret):
            affected |= self._lose_secret(namespace, name)
        if (child := self._children.get((kind.kind, namespace, name))) and is_it(child):
            affected |= self._lose_child(child)
        return affected

    def _known(self, kind: Kind) -> list[tuple[str, str, str]]:
        """Return namespace, name and uid of all objects of a kind."""
        if kind in (MEMORY_NAMESPACE, MEMORY_CLUSTER):
            return [(key.namespace, key.name, each.uid) for key, each in self.entries(kind)]
        if kind is NAMESPACE:
            return [("", name, each.uid) for name, each in self._namespaces.items()]
        children = [(each.namespace, each.name, each.uid) for each in self._children.values() if each.kind is kind]
        secrets = self._secrets.items() if kind is SECRET else ()
        return children + [(*place, each.uid) for place, each in secrets]

    def _see_entry(self, key: Key, body: Mapping[str, Any]) -> set[Key]:
        before = self._entries.get(key)
        if before and before.version >= version_of(body["metadata"]):
            return set()
        entry = self._entries[key] = entry_of(key, body)
        self._references.replace(key, before, entry)
        return {key} if before is None or before.essence != entry.essence else set()

    def _lose_entry(self, key: Key, entry: Entry) -> set[Key]:
        del self._entries[key]
        self._references.replace(key, entry, None)
        return {key}

    def _see_namespace(self, metadata: Mapping[str, Any]) -> set[Key]:
        name, now = metadata["name"], namespace_of(metadata)
        before = self._namespaces.get(name)
        if before and before.version >= now.version:
            return set()
        self._namespaces[name] = now
        if before and (before.labels, before.terminating) == (now.labels, now.terminating):
            return set()
        return {key for key, _ in self.entries(MEMORY_NAMESPACE) if key.namespace == name}

    def _see_secret(self, body: Mapping[str, Any]) -> set[Key]:
        metadata = body["metadata"]
        place = (metadata["namespace"], metadata["name"])
        before = self._secrets.get(place)
        if before and before.version >= version_of(metadata):
            return set()
        now = secret_of(body)
        if now is None:
            return self._lose_secret(*place) if before else set()
        self._secrets[place] = now
        return self.readers_of(*place) if before is None or before.data != now.data else set()

    def _lose_secret(self, namespace: str, name: str) -> set[Key]:
        del self._secrets[namespace, name]
        return self.readers_of(namespace, name)

    def _see_child(self, kind: Kind, body: Mapping[str, Any]) -> set[Key]:
        owner, metadata = owner_of(body), body["metadata"]
        place = (kind.kind, metadata["namespace"], metadata["name"])
        before = self._children.get(place)
        if before and before.version >= version_of(metadata):
            return set()
        # Somebody may have changed the label that leads to the owner, who then has to set it right.
        affected = self._lose_child(before) if before and before.owner != owner else set()
        if owner is None:
            return affected
        now = self._children[place] = child_of(owner, kind, body)
        self._by_owner.setdefault(owner, {})[place] = None
        return affected if before and before.essence == now.essence else affected | {owner}

    def _lose_child(self, child: Child) -> set[Key]:
        place = (child.kind.kind, child.namespace, child.name)
        del self._children[place]
        del self._by_owner[child.owner][place]
        if not self._by_owner[child.owner]:
            del self._by_owner[child.owner]
        return {child.owner}
