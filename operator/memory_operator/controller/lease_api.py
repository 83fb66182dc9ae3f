"""The Lease of an elector at a real API server (coordination.k8s.io/v1)."""

from __future__ import annotations

from typing import Any

from memory_contracts.errors import NotFound
from memory_operator.controller.lease import LeaseRecord, StoredLease
from memory_operator.controller.rest import RestClient, call

API_VERSION = "coordination.k8s.io/v1"


class KubernetesLeaseApi:
    """One Lease, by namespace and name."""

    def __init__(self, client: RestClient, namespace: str, name: str) -> None:
        self._client = client
        self._metadata = {"namespace": namespace, "name": name}
        self._collection = f"/apis/{API_VERSION}/namespaces/{namespace}/leases"
        self._path = f"{self._collection}/{name}"

    async def get(self) -> StoredLease | None:
        """Return the Lease, None when there is none."""
        try:
            return _read(await call(self._client, "GET", self._path, kind="Lease"))
        except NotFound:
            return None

    async def create(self, record: LeaseRecord) -> StoredLease:
        """Create it; raises `Conflict` when it exists, `NotFound` when its namespace does not."""
        body = _manifest(self._metadata, record)
        return _read(await call(self._client, "POST", self._collection, body, kind="Lease"))

    async def replace(self, stored: StoredLease, record: LeaseRecord) -> StoredLease:
        """Write `record` over `stored`; labels and the like stay, resourceVersion makes it conditional."""
        body = _manifest(dict(stored.metadata), record)
        return _read(await call(self._client, "PUT", self._path, body, kind="Lease"))


def _manifest(metadata: dict[str, Any], record: LeaseRecord) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "leaseDurationSeconds": record.duration_seconds,
        "leaseTransitions": record.transitions,
        "acquireTime": record.acquire_time or None,
        "renewTime": record.renew_time or None,
        # Absent, not empty: newer API servers refuse an empty holder.
        "holderIdentity": record.holder or None,
    }
    return {"apiVersion": API_VERSION, "kind": "Lease", "metadata": metadata, "spec": spec}


def _read(lease: dict[str, Any]) -> StoredLease:
    """Read what any version of any elector, or a person with kubectl, may have written."""
    spec = lease.get("spec") or {}
    record = LeaseRecord(
        holder=spec.get("holderIdentity") or "",
        duration_seconds=spec.get("leaseDurationSeconds") or 0,
        acquire_time=spec.get("acquireTime") or "",
        renew_time=spec.get("renewTime") or "",
        transitions=spec.get("leaseTransitions") or 0,
    )
    return StoredLease(record, lease["metadata"])
