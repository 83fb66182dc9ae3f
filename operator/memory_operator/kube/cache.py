"""What was last seen of the objects the operator cares about, with the indexes that lead back to who is affected."""

from __future__ import annotations

import base64
import json
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from memory_contracts.v1alpha1 import API_VERSION
from memory_operator.keys import Key
from memory_operator.kube.compare import content_digest
from memory_operator.kube.kinds import (
    DEPLOYMENT,
    ENDPOINT_SLICE,
    MEMORY_CLUSTER,
    MEMORY_NAMESPACE,
    NAMESPACE,
    SECRET,
    Kind,
)
from memory_operator.specs.labels import MANAGED_BY, MANAGER, NAMESPACE_LABEL, WATCH_LABEL, WATCH_OWNED

SERVICE_NAME = "kubernetes.io/service-name"
_NONE: Mapping[str, Any] = {}
Place: TypeAlias = tuple[str, str, str]  # kind, namespace and name
# So many objects are remembered to be gone; the oldest news on its way is seconds old.
REMEMBERED_ENDS = 10_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One of our resources: the object without what nobody here reads, packed, for there may be thousands.

    `cluster` is the MemoryCluster that a MemoryNamespace refers to, `secrets` are (namespace, name) of the Secrets that
    the specification refers to.
    """

    uid: str
    version: int
    generation: int
    deleting: bool
    ready: bool
    created: str
    labels: Mapping[str, str]
    finalizers: tuple[str, ...]
    cluster: Key | None
    secrets: frozenset[tuple[str, str]]
    packed: bytes = field(repr=False)

    @property
    def body(self) -> dict[str, Any]:
        """The object, unpacked."""
        body: dict[str, Any] = json.loads(self.packed)
        return body


@dataclass(frozen=True, slots=True)
class Child:
    """An object that the operator made, or an EndpointSlice of its Service. `facts` is what availability needs.

    `owner` is the MemoryNamespace that its labels lead to, `owner_uid` the uid of the controller among its owners.
    `stuck` names the finalizers that hold an object which is being deleted.
    """

    owner: Key
    kind: Kind
    namespace: str
    name: str
    uid: str
    version: int
    digest: str
    owner_uid: str
    stuck: str
    facts: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class SecretEntry:
    """A Secret that the operator made, or that is labelled to be watched."""

    uid: str
    version: int
    owner_uid: str
    data: Mapping[str, str] = field(repr=False)  # base64, as the API server gives it


@dataclass(frozen=True, slots=True)
class NamespaceEntry:
    """A Kubernetes namespace."""

    uid: str
    version: int
    labels: Mapping[str, str]
    terminating: bool


class Cache:
    """Used from one event loop only. `see` and `lose` return the keys that are affected by what happened."""

    def __init__(self) -> None:
        self._entries: dict[Key, Entry] = {}
        self._children: dict[Place, Child] = {}
        self._secrets: dict[tuple[str, str], SecretEntry] = {}
        self._namespaces: dict[str, NamespaceEntry] = {}
        self._by_owner: dict[Key, dict[Place, None]] = {}  # in the order in which they were first seen
        self._by_cluster: dict[Key, set[Key]] = {}
        self._by_secret: dict[tuple[str, str], set[Key]] = {}
        self._gone: OrderedDict[str, int] = OrderedDict()

    # --- reading ------------------------------------------------------------------------------------------------------

    def entry(self, key: Key) -> Entry | None:
        """Return one of our resources as last seen."""
        return self._entries.get(key)

    def entries(self, kind: Kind) -> Iterator[tuple[Key, Entry]]:
        """Yield all resources of one kind."""
        return ((key, entry) for key, entry in self._entries.items() if key.kind == kind.kind)

    def users_of(self, cluster: Key) -> set[Key]:
        """Return the MemoryNamespaces that refer to the MemoryCluster, whether it exists or not."""
        return set(self._by_cluster.get(cluster, ()))

    def readers_of(self, namespace: str, secret: str) -> set[Key]:
        """Return the resources that refer to the Secret."""
        return set(self._by_secret.get((namespace, secret), ()))

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
        if self._is_gone(metadata["uid"], _version(metadata)):
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
        return self._lose(kind, *place, metadata["uid"], _version(metadata))

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
        self._note_end(uid, version)

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

    def _note_end(self, uid: str, version: int) -> None:
        self._gone[uid] = version
        if len(self._gone) > REMEMBERED_ENDS:
            self._gone.popitem(last=False)

    def _is_gone(self, uid: str, version: int) -> bool:
        """Return whether this is old news; one that changed after its end had only lost the label that we watch."""
        if version <= self._gone.get(uid, -1):
            return True
        self._gone.pop(uid, None)
        return False

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
        metadata, before = body["metadata"], self._entries.get(key)
        version = _version(metadata)
        if before and before.version >= version:
            return set()
        entry = _packed(key, body, version)
        self._entries[key] = entry
        self._index(key, before, entry)
        return {key} if before is None or _matters(before, entry) else set()

    def _lose_entry(self, key: Key, entry: Entry) -> set[Key]:
        del self._entries[key]
        self._index(key, entry, None)
        return {key}

    def _index(self, key: Key, before: Entry | None, after: Entry | None) -> None:
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

    def _see_namespace(self, metadata: Mapping[str, Any]) -> set[Key]:
        name, version, before = metadata["name"], _version(metadata), self._namespaces.get(metadata["name"])
        if before and before.version >= version:
            return set()
        labels, terminating = metadata.get("labels") or _NONE, "deletionTimestamp" in metadata
        self._namespaces[name] = NamespaceEntry(metadata["uid"], version, labels, terminating)
        if before and (before.labels, before.terminating) == (labels, terminating):
            return set()
        return {key for key, _ in self.entries(MEMORY_NAMESPACE) if key.namespace == name}

    def _see_secret(self, body: Mapping[str, Any]) -> set[Key]:
        metadata = body["metadata"]
        place, version = (metadata["namespace"], metadata["name"]), _version(metadata)
        before = self._secrets.get(place)
        if before and before.version >= version:
            return set()
        if WATCH_LABEL not in metadata.get("labels", _NONE):  # no watch would tell of its next change
            return self._lose_secret(*place) if before else set()
        # Of our own only the credentials are read back.
        ours = metadata.get("labels", {}).get(WATCH_LABEL) == WATCH_OWNED
        read = not ours or body.get("type") == "Opaque"
        data = dict(body.get("data") or {}) if read else {}
        self._secrets[place] = SecretEntry(metadata["uid"], version, controller_uid(body), data)
        changed = before is None or before.data != self._secrets[place].data
        return self.readers_of(*place) if changed else set()

    def _lose_secret(self, namespace: str, name: str) -> set[Key]:
        del self._secrets[namespace, name]
        return self.readers_of(namespace, name)

    def _see_child(self, kind: Kind, body: Mapping[str, Any]) -> set[Key]:
        owner, metadata = owner_of(body), body["metadata"]
        place, version = (kind.kind, metadata["namespace"], metadata["name"]), _version(metadata)
        before = self._children.get(place)
        if before and before.version >= version:
            return set()
        # Somebody may have changed the label that leads to the owner, who then has to set it right.
        affected = self._lose_child(before) if before and before.owner != owner else set()
        if owner is None:
            return affected
        now = self._children[place] = _child(owner, kind, body, version)
        self._by_owner.setdefault(owner, {})[place] = None
        same = before and _essence(before) == _essence(now)
        return affected if same else affected | {owner}

    def _lose_child(self, child: Child) -> set[Key]:
        place = (child.kind.kind, child.namespace, child.name)
        del self._children[place]
        del self._by_owner[child.owner][place]
        if not self._by_owner[child.owner]:
            del self._by_owner[child.owner]
        return {child.owner}


def owner_of(body: Mapping[str, Any]) -> Key | None:
    """Return the MemoryNamespace that an object belongs to, by its labels; None when it is not one of ours."""
    metadata = body["metadata"]
    labels = metadata.get("labels", _NONE)
    if labels.get(MANAGED_BY) != MANAGER or NAMESPACE_LABEL not in labels:
        return None
    return Key(MEMORY_NAMESPACE.kind, metadata["namespace"], labels[NAMESPACE_LABEL])


def cluster_key(namespace: Key, body: Mapping[str, Any]) -> Key:
    """Return the MemoryCluster that a MemoryNamespace refers to."""
    reference = body.get("spec", {}).get("clusterRef", {})
    place = reference.get("namespace") or namespace.namespace
    return Key(MEMORY_CLUSTER.kind, place, reference.get("name", "default"))


def referenced_secrets(key: Key, body: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Return (namespace, name) of each Secret that the object refers to; references never leave its namespace."""
    return {(key.namespace, name) for name in _secret_names(body.get("spec", {}))}


def _secret_names(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for field_name, inner in value.items():
            if field_name.lower().endswith("secretref") and isinstance(inner, Mapping) and "name" in inner:
                yield inner["name"]
            else:
                yield from _secret_names(inner)


def controller_uid(body: Mapping[str, Any]) -> str:
    """Return the uid of the object's controller, or an empty text."""
    references = body["metadata"].get("ownerReferences", ())
    return next((str(each["uid"]) for each in references if each.get("controller")), "")


def decode_secret(data: Mapping[str, str]) -> dict[str, str]:
    """Return the data of a Secret as text; a value that is not UTF-8 is left out."""
    decoded: dict[str, str] = {}
    for name, value in data.items():
        try:
            decoded[name] = base64.b64decode(value).decode()
        except (ValueError, TypeError):  # neither base64 nor text, or null
            continue
    return decoded


def _version(metadata: Mapping[str, Any]) -> int:
    return int(metadata["resourceVersion"])


def _packed(key: Key, body: Mapping[str, Any], version: int) -> Entry:
    metadata = body["metadata"]
    names = ("name", "namespace", "uid", "generation", "deletionTimestamp")
    # Items of a listing carry neither version nor kind.
    kept = {"apiVersion": API_VERSION, "kind": key.kind, "metadata": {n: metadata[n] for n in names if n in metadata}}
    kept |= {name: body[name] for name in ("spec", "status") if name in body}
    return Entry(
        uid=metadata["uid"],
        version=version,
        generation=metadata["generation"],
        deleting="deletionTimestamp" in metadata,
        ready=_is_ready(body),
        created=metadata["creationTimestamp"],
        labels=metadata.get("labels") or _NONE,
        finalizers=tuple(metadata.get("finalizers", ())),
        cluster=cluster_key(key, body) if key.kind == MEMORY_NAMESPACE.kind else None,
        secrets=frozenset(referenced_secrets(key, body)),
        packed=json.dumps(kept, separators=(",", ":")).encode(),
    )


def _is_ready(body: Mapping[str, Any]) -> bool:
    conditions = (body.get("status") or {}).get("conditions") or ()
    return any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions)


def _child(owner: Key, kind: Kind, body: Mapping[str, Any], version: int) -> Child:
    metadata = body["metadata"]
    return Child(
        owner=owner,
        kind=kind,
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        version=version,
        digest=content_digest(body) if kind is not ENDPOINT_SLICE else "",
        owner_uid=controller_uid(body),
        stuck=", ".join(metadata.get("finalizers", ())) if "deletionTimestamp" in metadata else "",
        facts=_facts(kind, body),
    )


def _essence(child: Child) -> tuple[object, ...]:
    return child.owner, child.uid, child.digest, child.facts


def _matters(before: Entry, after: Entry) -> bool:
    """Return whether a change is more than our own status: specification, deletion, finalizers, identity."""

    def essence(entry: Entry) -> tuple[object, ...]:
        return entry.uid, entry.generation, entry.deleting, entry.finalizers, entry.labels

    return essence(before) != essence(after)


def _facts(kind: Kind, body: Mapping[str, Any]) -> Mapping[str, Any]:
    if kind is DEPLOYMENT:
        return _deployment_facts(body, body.get("status", _NONE))
    if kind is ENDPOINT_SLICE:
        service = body["metadata"].get("labels", _NONE).get(SERVICE_NAME, "")
        # Ready unless it says that it is not (discovery/v1, EndpointConditions).
        ready = [each.get("conditions", _NONE).get("ready") is not False for each in body.get("endpoints") or ()]
        return {"service": service, "ready": sum(ready)}
    return _NONE


def _deployment_facts(body: Mapping[str, Any], status: Mapping[str, Any]) -> Mapping[str, Any]:
    counts = ("replicas", "readyReplicas", "updatedReplicas", "observedGeneration")
    problems = {
        each["type"]: each.get("message", "")
        for each in status.get("conditions", ())
        if (each["type"], each["status"]) == ("ReplicaFailure", "True")
        or each.get("reason") == "ProgressDeadlineExceeded"
    }
    return {name: status.get(name, 0) for name in counts} | {
        "generation": body["metadata"].get("generation", 0),
        "wanted": body["spec"].get("replicas", 1),
        "problems": problems,
    }
