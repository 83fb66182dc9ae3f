"""The Qdrant provider on a test double of the server: what it makes, repairs, and notices.

The double is Qdrant's own engine behind an imitation of its REST interface, which is held to answers of a real server.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from qdrant_client import AsyncQdrantClient, models
from qdrant_tenants import (
    DIMENSIONS,
    INDEXES,
    POINT,
    connection_to,
    converge,
    new_tenant,
    point_alias,
)

from memory_contracts.errors import Conflict
from memory_operator.providers.qdrant.plan import DesiredCollection, PointAlias, plan


async def test_a_new_tenant_gets_a_marked_collection_with_indexes_behind_an_alias(qdrant_provider, qdrant_client):
    tenant = new_tenant()

    assert await converge(qdrant_provider, tenant)

    info = await qdrant_client.get_collection(tenant.alias)
    assert info.config.metadata == {"memory-operator/tenant": tenant.tenant, "memory-operator/uid": tenant.uid}
    assert info.config.params.vectors == models.VectorParams(size=DIMENSIONS, distance=models.Distance.COSINE)
    assert {name: index.data_type.value for name, index in info.payload_schema.items()} == dict(INDEXES)
    await qdrant_client.upsert(tenant.alias, [POINT])
    assert (await qdrant_client.count(tenant.collection)).count == 1


async def test_a_converged_tenant_needs_no_step_and_no_change(connect_qdrant, own_qdrant):
    server, tenant = connect_qdrant(connection_to(own_qdrant)), new_tenant()
    await converge(server, tenant)
    own_qdrant.forget_requests()

    assert await converge(server, tenant) == []
    assert await server.drifted([tenant]) == set()

    assert own_qdrant.writes() == []


async def test_a_pass_over_a_converged_tenant_is_two_requests(connect_qdrant, own_qdrant):
    server, tenant = connect_qdrant(connection_to(own_qdrant)), new_tenant()
    await converge(server, tenant)
    own_qdrant.forget_requests()

    await server.observe(tenant)

    assert len(own_qdrant.requests()) == 2


async def test_a_deleted_collection_is_made_again(qdrant_provider, qdrant_client):
    tenant = new_tenant()
    await converge(qdrant_provider, tenant)
    await qdrant_client.delete_collection(tenant.collection)

    await converge(qdrant_provider, tenant)

    assert await converge(qdrant_provider, tenant) == []
    assert (await qdrant_client.count(tenant.alias)).count == 0


async def test_a_lost_or_changed_payload_index_is_repaired_and_the_points_stay(qdrant_provider, qdrant_client):
    tenant = new_tenant()
    await converge(qdrant_provider, tenant)
    await qdrant_client.upsert(tenant.alias, [POINT])
    await qdrant_client.delete_payload_index(tenant.collection, "version")
    await qdrant_client.create_payload_index(tenant.collection, "type", models.PayloadSchemaType.INTEGER)

    assert await converge(qdrant_provider, tenant) == [
        f"index payload field type of collection {tenant.collection} as keyword instead of integer",
        f"index payload field version of collection {tenant.collection} as integer",
    ]

    assert await converge(qdrant_provider, tenant) == []
    assert (await qdrant_client.count(tenant.alias)).count == 1


async def test_an_alias_that_leads_elsewhere_is_moved_without_a_moment_without_it(connect_qdrant, own_qdrant):
    server = connect_qdrant(connection_to(own_qdrant))
    tenant = new_tenant()
    older = replace(tenant, collection=f"{tenant.alias}-0")
    await converge(server, older)

    assert await converge(server, tenant) == [
        f"create collection {tenant.collection} for {tenant.tenant}: 4-dimensional vectors, Cosine",
        f"index payload field type of collection {tenant.collection} as keyword",
        f"index payload field version of collection {tenant.collection} as integer",
        f"move alias {tenant.alias} from collection {older.collection} to {tenant.collection}",
    ]

    moves = [each for each in own_qdrant.writes() if each.path == "/collections/aliases"]
    assert len(moves) == 2  # to the older one, then in one action to the newer
    assert await converge(server, tenant) == []


async def test_a_lost_alias_is_made_again(qdrant_provider, qdrant_client):
    tenant = new_tenant()
    await converge(qdrant_provider, tenant)
    gone = models.DeleteAlias(alias_name=tenant.alias)
    await qdrant_client.update_collection_aliases([models.DeleteAliasOperation(delete_alias=gone)])

    assert await converge(qdrant_provider, tenant) == [f"point alias {tenant.alias} to collection {tenant.collection}"]
    assert await converge(qdrant_provider, tenant) == []


@pytest.mark.parametrize("done", range(5))
async def test_an_operator_that_dies_between_steps_converges_afterwards(qdrant_provider, qdrant_client, done):
    tenant = new_tenant()
    steps = plan(tenant, await qdrant_provider.observe(tenant))
    assert isinstance(steps, list)
    assert len(steps) == 4

    await qdrant_provider.apply(tenant, steps[:done])  # and here it dies

    rest = await converge(qdrant_provider, tenant)
    assert rest == [step.summary for step in steps[done:]]
    assert await converge(qdrant_provider, tenant) == []


async def test_a_plan_that_somebody_else_was_faster_with_is_a_conflict(qdrant_provider):
    tenant = new_tenant()
    steps = plan(tenant, await qdrant_provider.observe(tenant))
    await converge(qdrant_provider, tenant)

    with pytest.raises(Conflict, match=f"create collection {tenant.collection}"):
        await qdrant_provider.apply(tenant, steps)
    assert await converge(qdrant_provider, tenant) == []


async def test_a_step_on_a_collection_that_is_gone_is_a_conflict(qdrant_provider):
    tenant = new_tenant()

    with pytest.raises(Conflict, match="point alias"):
        await qdrant_provider.apply(tenant, [PointAlias(tenant.alias, tenant.collection)])


async def set_mark(client: AsyncQdrantClient, tenant: DesiredCollection) -> None:
    await client.update_collection(tenant.collection, metadata={"memory-operator/uid": "somebody"})


async def drop_index(client: AsyncQdrantClient, tenant: DesiredCollection) -> None:
    await client.delete_payload_index(tenant.collection, "type")


async def drop_collection(client: AsyncQdrantClient, tenant: DesiredCollection) -> None:
    await client.delete_collection(tenant.collection)


async def drop_alias(client: AsyncQdrantClient, tenant: DesiredCollection) -> None:
    gone = models.DeleteAlias(alias_name=tenant.alias)
    await client.update_collection_aliases([models.DeleteAliasOperation(delete_alias=gone)])


async def remake_with_other_dimensions(client: AsyncQdrantClient, tenant: DesiredCollection) -> None:
    metadata = (await client.get_collection(tenant.collection)).config.metadata
    await client.delete_collection(tenant.collection)
    vectors = models.VectorParams(size=8, distance=models.Distance.COSINE)
    await client.create_collection(tenant.collection, vectors, metadata=metadata)
    await point_alias(client, tenant.alias, tenant.collection)


CHANGES = [set_mark, drop_index, drop_collection, drop_alias, remake_with_other_dimensions]


async def test_a_sweep_finds_exactly_those_that_somebody_changed(qdrant_provider, qdrant_client):
    tenants = [new_tenant() for _ in range(len(CHANGES) + 3)]
    for tenant in tenants:
        await converge(qdrant_provider, tenant)

    for change, tenant in zip(CHANGES, tenants, strict=False):
        await change(qdrant_client, tenant)

    assert await qdrant_provider.drifted(tenants) == {tenant.tenant for tenant in tenants[: len(CHANGES)]}


async def test_sweeps_look_into_everybody_in_turn_at_a_bounded_cost(connect_qdrant, own_qdrant):
    server, tenants = connect_qdrant(connection_to(own_qdrant)), [new_tenant() for _ in range(6)]
    for tenant in tenants:
        await converge(server, tenant)
    client = AsyncQdrantClient(**own_qdrant.client_arguments())
    await drop_index(client, tenants[0])
    own_qdrant.forget_requests()

    found = [await server.drifted(tenants, at_least=2) for _ in range(2)]

    await client.close()
    assert sorted(map(len, found)) == [0, 1]
    assert set.union(*found) == {tenants[0].tenant}
    assert len(own_qdrant.requests()) == 2 * (2 + 3)


async def test_a_sweep_over_nobody_finds_nobody(qdrant_provider):
    assert await qdrant_provider.drifted([]) == set()
