"""What new namespaces cost without an operator: the same requests and SQL, sent by a script that knows them."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime
from typing import Any

import asyncpg
from postgres_tenants import address_of, converge, new_tenant
from tenants import workload

from benchmarks.api import MERGE_PATCH, Api
from benchmarks.cluster import SYSTEM
from memory_operator.controller.correlator import Event, ObjectReference, Post
from memory_operator.controller.event_api import build_event
from memory_operator.kube.client import APPLY
from memory_operator.kube.kinds import CHILD_KINDS, MEMORY_NAMESPACE, kind_of
from memory_operator.local.postgres_server import PostgresServer
from memory_operator.providers.postgres.claimant import Claimant
from memory_operator.providers.postgres.client import PostgresBackend
from memory_operator.providers.postgres.ledger import PostgresLedger
from memory_operator.shell.workers import WORKERS_PER_CLUSTER

# A Kubernetes namespace and a database of its own.
PLACE = "floor"
PATH = MEMORY_NAMESPACE.path(PLACE)


class Floor:
    """The requests and statements of `status`, that of a namespace which the operator has made."""

    def __init__(self, api: Api, postgres: PostgresServer, status: dict[str, Any]) -> None:
        self._api = api
        self._address = address_of(postgres.admin_url().rpartition("/")[0] + f"/{PLACE}")
        self._admin_url = postgres.admin_url()
        self._status = status

    async def seconds(self, count: int) -> float:
        """Make so many, as many at a time as the operator, and return how long it took; what would keep it is removed.

        The operator must not run meanwhile.
        """
        await self._prepare()
        async with PostgresBackend(self._address, Claimant(PLACE, 1)) as backend:
            ledger, gate = PostgresLedger(backend), asyncio.Semaphore(WORKERS_PER_CLUSTER)

            async def one(number: int) -> None:
                async with gate:
                    await self._make(f"floor{number}", backend, ledger)

            await one(count)
            began = time.monotonic()
            await asyncio.gather(*[one(number) for number in range(count)])
            seconds = time.monotonic() - began
        await self._clear(count + 1)
        return seconds

    async def _make(self, name: str, backend: PostgresBackend, ledger: PostgresLedger) -> None:
        body = {"metadata": {"name": name, "namespace": PLACE}, "spec": {"clusterRef": {"namespace": SYSTEM}}}
        made = await self._api.send("POST", PATH, _typed(body))
        metadata = {"name": name, "namespace": PLACE, "uid": made["metadata"]["uid"]}
        await self._apply(_typed({"metadata": {**metadata, "finalizers": ["example.com/floor"]}}))
        secret, *others, deployment = _children(name)
        await self._apply(secret)
        tenant = new_tenant()
        await ledger.claim_tenant(tenant.tenant, tenant.uid)
        await converge(backend, tenant, is_new=True)
        await asyncio.gather(*[self._apply(each) for each in others])
        await self._apply(deployment)
        await self._apply(_typed({"metadata": metadata, "status": self._status}), "status")
        await self._tell(metadata)

    async def _apply(self, manifest: dict[str, Any], subresource: str = "") -> None:
        metadata = manifest["metadata"]
        path = kind_of(manifest).path(metadata["namespace"], metadata["name"], subresource)
        query = "?fieldManager=floor&force=true&fieldValidation=Ignore"
        await self._api.send("PATCH", path + query, manifest, APPLY)

    async def _tell(self, metadata: dict[str, str]) -> None:
        about = ObjectReference(MEMORY_NAMESPACE.api_version, MEMORY_NAMESPACE.kind, PLACE, metadata["name"], "")
        post = Post(Event(about, "Progressing", "Ready is False: 0 of 1 ready"), metadata["name"], 1)
        reporter = {"reportingController": "example.com/floor", "reportingInstance": "floor"}
        path = f"/apis/events.k8s.io/v1/namespaces/{PLACE}/events"
        await self._api.send("POST", path, {**build_event(post, datetime.now(UTC)), **reporter})

    async def _prepare(self) -> None:
        await self._api.send("POST", "/api/v1/namespaces", {"metadata": {"name": PLACE}})
        connection = await asyncpg.connect(self._admin_url)
        try:
            await connection.execute(f"create database {PLACE}")
        finally:
            await connection.close()

    async def _clear(self, count: int) -> None:
        for kind in CHILD_KINDS:
            await self._api.send("DELETE", kind.path(PLACE))
        release = {"metadata": {"finalizers": None}}
        for number in range(count):
            await self._api.send("PATCH", f"{PATH}/floor{number}", release, MERGE_PATCH)
        await self._api.send("DELETE", PATH)


def _typed(body: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": MEMORY_NAMESPACE.api_version, "kind": MEMORY_NAMESPACE.kind, **body}


def _children(name: str) -> list[dict[str, Any]]:
    """Return the manifests, the Secret that comes first at the front and the Deployment at the end."""
    text = json.dumps(workload().children).replace("team-a", PLACE).replace("research", name)
    order = {"Secret": 0, "Deployment": 2}
    return sorted(json.loads(text), key=lambda each: order.get(each["kind"], 1))
