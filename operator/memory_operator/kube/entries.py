"""What is kept of each object that is watched, and how it is made from the object."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from memory_contracts.v1alpha1 import API_VERSION
from memory_operator.keys import Key
from memory_operator.kube.compare import content_digest
from memory_operator.kube.facts import facts_of
from memory_operator.kube.kinds import ENDPOINT_SLICE, MEMORY_CLUSTER, MEMORY_NAMESPACE, Kind
from memory_operator.specs.labels import MANAGED_BY, MANAGER, NAMESPACE_LABEL, WATCH_LABEL, WATCH_OWNED

_NONE: Mapping[str, Any] = {}


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
        return unpacked(self.packed)

    @property
    def essence(self) -> tuple[object, ...]:
        """What differs when more has changed than our own status: specification, deletion, finalizers, identity."""
        return self.uid, self.generation, self.deleting, self.finalizers, self.labels


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

    @property
    def essence(self) -> tuple[object, ...]:
        """What differs when the owner has to look at it."""
        return self.owner, self.uid, self.digest, self.facts


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


def entry_of(key: Key, body: Mapping[str, Any]) -> Entry:
    """Return what is kept of one of our resources."""
    metadata = body["metadata"]
    return Entry(
        uid=metadata["uid"],
        version=version_of(metadata),
        generation=metadata["generation"],
        deleting="deletionTimestamp" in metadata,
        ready=_is_ready(body),
        created=metadata["creationTimestamp"],
        labels=metadata.get("labels") or _NONE,
        finalizers=tuple(metadata.get("finalizers", ())),
        cluster=cluster_key(key, body) if key.kind == MEMORY_NAMESPACE.kind else None,
        secrets=frozenset(referenced_secrets(key, body)),
        packed=_packed(key, body),
    )


def child_of(owner: Key, kind: Kind, body: Mapping[str, Any]) -> Child:
    """Return what is kept of a child of `owner`."""
    metadata = body["metadata"]
    return Child(
        owner=owner,
        kind=kind,
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        version=version_of(metadata),
        digest=content_digest(body) if kind is not ENDPOINT_SLICE else "",
        owner_uid=controller_uid(body),
        stuck=", ".join(metadata.get("finalizers", ())) if "deletionTimestamp" in metadata else "",
        facts=facts_of(kind, body),
    )


def secret_of(body: Mapping[str, Any]) -> SecretEntry | None:
    """Return what is kept of a Secret; None without the watch label, for no watch would tell of its next change."""
    metadata = body["metadata"]
    label = metadata.get("labels", _NONE).get(WATCH_LABEL)
    if label is None:
        return None
    # Of our own only the credentials are read back.
    read = label != WATCH_OWNED or body.get("type") == "Opaque"
    data = dict(body.get("data") or {}) if read else {}
    return SecretEntry(metadata["uid"], version_of(metadata), controller_uid(body), data)


def namespace_of(metadata: Mapping[str, Any]) -> NamespaceEntry:
    """Return what is kept of a Kubernetes namespace."""
    labels = metadata.get("labels") or _NONE
    return NamespaceEntry(metadata["uid"], version_of(metadata), labels, "deletionTimestamp" in metadata)


def version_of(metadata: Mapping[str, Any]) -> int:
    """Return the version, which grows with each change."""
    return int(metadata["resourceVersion"])


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


def unpacked(packed: bytes) -> dict[str, Any]:
    """Return the object of an entry."""
    body: dict[str, Any] = orjson.loads(packed)
    return body


def _packed(key: Key, body: Mapping[str, Any]) -> bytes:
    metadata = body["metadata"]
    names = ("name", "namespace", "uid", "generation", "deletionTimestamp")
    # Items of a listing carry neither version nor kind.
    kept = {"apiVersion": API_VERSION, "kind": key.kind, "metadata": {n: metadata[n] for n in names if n in metadata}}
    kept |= {name: body[name] for name in ("spec", "status") if name in body}
    return orjson.dumps(kept)


def _is_ready(body: Mapping[str, Any]) -> bool:
    conditions = (body.get("status") or {}).get("conditions") or ()
    return any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions)
