"""What the tests of the Qdrant provider share: tenants, a pass of the reconcile, and objects of somebody else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import uuid4

from qdrant.process import QdrantDouble
from qdrant_client import AsyncQdrantClient, models

from memory_contracts.conditions import Reason
from memory_operator.providers.qdrant.client import QdrantBackend
from memory_operator.providers.qdrant.connection import QdrantConnection
from memory_operator.providers.qdrant.plan import DesiredCollection, plan, plan_deletion
from memory_operator.providers.shapes import Blocked

DIMENSIONS = 4
POINT = models.PointStruct(id=1, vector=[1.0, 0.0, 0.0, 0.0], payload={"type": "episodic"})
INDEXES = (("type", "keyword"), ("version", "integer"))


def new_tenant(**changes: Any) -> DesiredCollection:
    """The server is shared, so each test takes a namespace of its own."""
    stem = f"mem-team-{uuid4().hex[:8]}-research"
    return replace(
        DesiredCollection(
            tenant=f"{stem[4:17]}/research",
            uid=str(uuid4()),
            collection=f"{stem}-1",
            alias=stem,
            dimensions=DIMENSIONS,
            payload_indexes=INDEXES,
        ),
        **changes,
    )


async def converge(server: QdrantBackend, desired: DesiredCollection) -> list[str] | Blocked:
    """One pass, as the reconcile makes it; returns the summaries of the steps."""
    steps = plan(desired, await server.observe(desired))
    if isinstance(steps, Blocked):
        return steps
    await server.apply(desired, steps)
    return [step.summary for step in steps]


async def delete(server: QdrantBackend, desired: DesiredCollection) -> list[str]:
    steps = plan_deletion(desired, await server.observe(desired))
    await server.apply(desired, steps)
    return [step.summary for step in steps]


async def reason_of_block(server: QdrantBackend, desired: DesiredCollection) -> Reason:
    answer = await converge(server, desired)
    assert isinstance(answer, Blocked)
    return answer.reason


async def make_foreign(client: AsyncQdrantClient, name: str, size: int = DIMENSIONS, **metadata: str) -> None:
    """A collection with one point, which the provider did not make."""
    vectors = models.VectorParams(size=size, distance=models.Distance.COSINE)
    await client.create_collection(name, vectors, metadata=metadata or None)
    await client.upsert(name, [models.PointStruct(id=1, vector=[1.0] * size)])


async def point_alias(client: AsyncQdrantClient, alias: str, collection: str) -> None:
    target = models.CreateAlias(collection_name=collection, alias_name=alias)
    await client.update_collection_aliases([models.CreateAliasOperation(create_alias=target)])


def connection_to(double: QdrantDouble, **changes: Any) -> QdrantConnection:
    return replace(QdrantConnection(double.url, double.api_key), **changes)
