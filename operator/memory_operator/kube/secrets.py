"""Secrets in a cluster: those that specifications refer to, and the one that keeps a tenant's credentials."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping

from memory_contracts.conditions import Reason
from memory_contracts.errors import Conflict, Rejected
from memory_contracts.v1alpha1 import MemoryNamespace
from memory_operator.kube.cache import Cache
from memory_operator.kube.children import is_ours
from memory_operator.kube.client import KubeClient
from memory_operator.kube.entries import controller_uid, decode_secret
from memory_operator.kube.kinds import SECRET
from memory_operator.kube.workloads import KubeWorkloads
from memory_operator.specs.labels import Manifest
from memory_operator.specs.secret import StoredCredentials, read_credentials
from memory_operator.specs.tenant import tenant_names

# A Secret without the watch label is asked for again after this time; well inside the minute that drift may last.
FRESH_SECONDS = 20.0


class KubeSecrets:
    """Reads watched Secrets from the cache, others from the API server.

    Where the cache is `complete`, the Secret of a tenant that it does not know is taken for one to be made; making it
    shows whether there is one after all.
    """

    def __init__(
        self,
        client: KubeClient,
        cache: Cache,
        workloads: KubeWorkloads,
        clock: Callable[[], float] = time.monotonic,
        *,
        complete: bool = False,
    ) -> None:
        self._client = client
        self._cache = cache
        self._workloads = workloads
        self._clock = clock
        self._complete = complete
        self._unseen: set[tuple[str, str]] = set()  # of tenants, there, and not in the cache
        self._read: OrderedDict[tuple[str, str], tuple[float, Mapping[str, str]]] = OrderedDict()

    async def read(self, namespace: str, name: str) -> Mapping[str, str]:
        """Return the values of a Secret as text; raises `Rejected` when there is none."""
        if watched := self._cache.secret(namespace, name):
            return decode_secret(watched.data)
        now = self._clock()
        self._drop_stale(now)
        if kept := self._read.get((namespace, name)):
            return kept[1]
        found = await self._client.get(SECRET, namespace, name)
        if found is None:
            raise Rejected(
                f"Secret {name} is missing in namespace {namespace}; create it", reason=Reason.SECRET_NOT_FOUND
            )
        values = decode_secret(found.get("data") or {})
        self._read[namespace, name] = (now, values)
        return values

    async def stored(self, namespace: MemoryNamespace) -> StoredCredentials:
        """Return what the tenant's Secret holds; empty when there is none. Raises `Rejected` when it is not ours."""
        place, name = namespace.metadata.namespace, tenant_names(namespace).credentials
        cached = self._cache.secret(place, name)
        if cached and cached.owner_uid == namespace.metadata.uid:
            return read_credentials(cached.data)
        if self._is_new(place, name):
            return StoredCredentials()
        found = await self._client.get(SECRET, place, name)
        if found is None:
            return StoredCredentials()
        if not is_ours(found, namespace.metadata.uid):
            raise Rejected(
                f"Secret {name} exists in namespace {place} and was not made by the operator; delete or rename it",
                reason=Reason.FOREIGN_OBJECT,
            )
        if controller_uid(found) == namespace.metadata.uid:
            self._cache.see(SECRET, found)
        return read_credentials(found.get("data") or {})

    async def keep(self, namespace: MemoryNamespace, manifest: Manifest) -> None:
        """Write the Secret of the tenant before anything depends on it.

        Raises `Conflict`, and changes nothing, when it was taken for a new one and is there: the next look reads it.
        """
        place, name = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
        try:
            await self._workloads.keep(namespace, manifest, new=self._is_new(place, name))
        except Conflict:
            self._unseen.add((place, name))
            raise
        self._unseen.discard((place, name))

    def _is_new(self, place: str, name: str) -> bool:
        known = self._cache.secret(place, name) is not None or (place, name) in self._unseen
        return self._complete and not known

    def _drop_stale(self, now: float) -> None:
        """Keep no secrets of others for longer than they are of use."""
        while self._read and now - next(iter(self._read.values()))[0] >= FRESH_SECONDS:
            self._read.popitem(last=False)
