"""Writing our own two resources: status and finalizer, each by a field manager of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

from memory_contracts.api.base import API_GROUP
from memory_operator.keys import Key
from memory_operator.kube.cache import Cache
from memory_operator.kube.client import KubeClient, Object
from memory_operator.kube.entries import Entry
from memory_operator.kube.kinds import MEMORY_CLUSTER, MEMORY_NAMESPACE, Kind

FINALIZER = f"{API_GROUP}/backends"
STATUS_MANAGER = "memory-operator-status"
FINALIZER_MANAGER = "memory-operator-finalizer"
KINDS = {kind.kind: kind for kind in (MEMORY_NAMESPACE, MEMORY_CLUSTER)}


class ResourceWriter:
    """Writes, and puts what came of it into the cache at once: the watch would show the former state a while longer.

    `overtaken` is told of an object that somebody else had changed before our write was answered. The answer holds that
    change too, so what the watch tells of it is no news any more.
    """

    def __init__(self, client: KubeClient, cache: Cache, overtaken: Callable[[Key], None]) -> None:
        self._client = client
        self._cache = cache
        self._overtaken = overtaken

    async def write_status(self, key: Key, entry: Entry, status: BaseModel) -> bool:
        """Write the status unless it is what is there already; return whether it was written."""
        wanted = status.model_dump(mode="json", by_alias=True, exclude_none=True)
        if wanted == _own_part(entry.body.get("status", {}), wanted):
            return False
        body = _manifest(key, entry) | {"status": wanted}
        self._take_in(key, entry, await self._client.apply(body, STATUS_MANAGER, subresource="status"))
        return True

    async def hold(self, key: Key, entry: Entry) -> None:
        """Add our finalizer, before anything outside of Kubernetes is made."""
        await self._set_finalizers(key, entry, [FINALIZER])

    async def release(self, key: Key, entry: Entry) -> None:
        """Take our finalizer away; others stay. It goes also when somebody else has set it too, as a backup does."""
        found = await self._set_finalizers(key, entry, [])
        metadata, kind = found["metadata"], KINDS[key.kind]
        if FINALIZER in metadata.get("finalizers", ()):
            rest = [each for each in metadata["finalizers"] if each != FINALIZER]
            patch = {"metadata": {"resourceVersion": metadata["resourceVersion"], "finalizers": rest}}
            self._take_in(key, entry, await self._client.merge(kind, key.namespace, key.name, patch))

    async def _set_finalizers(self, key: Key, entry: Entry, finalizers: list[str]) -> Object:
        body = _manifest(key, entry)
        body["metadata"]["finalizers"] = finalizers
        found = await self._client.apply(body, FINALIZER_MANAGER)
        self._take_in(key, entry, found)
        return found

    def _take_in(self, key: Key, entry: Entry, found: Object) -> None:
        """An object that is being deleted goes with its last finalizer."""
        metadata = found["metadata"]
        deleting = "deletionTimestamp" in metadata
        ended = deleting and not metadata.get("finalizers")
        (self._cache.lose if ended else self._cache.see)(KINDS[key.kind], found)
        if (metadata["generation"], deleting) != (entry.generation, entry.deleting) and not ended:
            self._overtaken(key)


def is_held(entry: Entry) -> bool:
    """Return whether the object carries our finalizer."""
    return FINALIZER in entry.finalizers


def _own_part(status: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Return the status without conditions that others have added."""
    ours = {each["type"] for each in wanted["conditions"]}
    conditions = [each for each in status.get("conditions", ()) if each["type"] in ours]
    return status | {"conditions": conditions}


def _manifest(key: Key, entry: Entry) -> dict[str, Any]:
    kind: Kind = KINDS[key.kind]
    # With the uid a deleted object is not made again.
    metadata = {"namespace": key.namespace, "name": key.name, "uid": entry.uid}
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata}
