"""The Qdrant provider on a test double of the server: what is not the tenant's is refused, and stays as it is.

The double is Qdrant's own engine behind an imitation of its REST interface, which is held to answers of a real server.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest
from qdrant_tenants import (
    POINT,
    converge,
    delete,
    make_foreign,
    new_tenant,
    point_alias,
    reason_of_block,
)

from memory_contracts.conditions import Reason
from memory_contracts.errors import Conflict
from memory_operator.providers.qdrant.plan import DropCollection
from memory_operator.providers.shapes import Blocked


@pytest.mark.parametrize(
    "metadata",
    [{}, {"owner": "somebody"}, {"memory-operator/tenant": "team-b/other", "memory-operator/uid": "uid-9"}],
    ids=["unmarked", "marked by others", "another tenant's"],
)
async def test_a_foreign_collection_is_refused_and_survives_deletion(qdrant_provider, qdrant_client, metadata):
    tenant = new_tenant()
    await make_foreign(qdrant_client, tenant.collection, **metadata)

    assert await reason_of_block(qdrant_provider, tenant) is Reason.FOREIGN_OBJECT
    assert await delete(qdrant_provider, tenant) == []

    assert (await qdrant_client.count(tenant.collection)).count == 1
    assert ((await qdrant_client.get_collection(tenant.collection)).config.metadata or {}) == metadata


async def test_an_alias_that_leads_to_a_foreign_collection_is_left_to_it(qdrant_provider, qdrant_client):
    tenant, theirs = new_tenant(), f"foreign-{uuid4().hex[:8]}"
    await make_foreign(qdrant_client, theirs)
    await point_alias(qdrant_client, tenant.alias, theirs)

    assert await reason_of_block(qdrant_provider, tenant) is Reason.FOREIGN_OBJECT
    assert await delete(qdrant_provider, tenant) == []

    assert (await qdrant_client.count(tenant.alias)).count == 1


async def test_a_foreign_collection_with_the_name_of_the_alias_is_refused(qdrant_provider, qdrant_client):
    tenant = new_tenant()
    await make_foreign(qdrant_client, tenant.alias)

    assert await reason_of_block(qdrant_provider, tenant) is Reason.FOREIGN_OBJECT
    assert await delete(qdrant_provider, tenant) == []

    assert not await qdrant_client.collection_exists(tenant.collection)
    assert (await qdrant_client.count(tenant.alias)).count == 1


async def test_a_foreign_alias_with_the_name_of_the_collection_is_refused(qdrant_provider, qdrant_client):
    tenant, theirs = new_tenant(), f"foreign-{uuid4().hex[:8]}"
    await make_foreign(qdrant_client, theirs)
    await point_alias(qdrant_client, tenant.collection, theirs)

    assert await reason_of_block(qdrant_provider, tenant) is Reason.FOREIGN_OBJECT
    assert await delete(qdrant_provider, tenant) == []

    assert (await qdrant_client.count(theirs)).count == 1


async def test_other_dimensions_are_reported_and_the_data_is_untouched(qdrant_provider, qdrant_client):
    tenant = new_tenant()
    await converge(qdrant_provider, tenant)
    await qdrant_client.upsert(tenant.alias, [POINT])

    answer = await converge(qdrant_provider, replace(tenant, dimensions=8))

    assert isinstance(answer, Blocked)
    assert answer.reason is Reason.VECTOR_MISMATCH
    assert f"collection {tenant.collection} stores 4-dimensional vectors, the spec asks for 8" in answer.message
    assert (await qdrant_client.count(tenant.alias)).count == 1


async def test_two_objects_of_one_name_never_share_a_collection(qdrant_provider, qdrant_client):
    here = new_tenant()
    there = replace(here, uid=str(uuid4()))  # the same name in another Kubernetes cluster, on the same Qdrant
    await converge(qdrant_provider, here)
    await qdrant_client.upsert(here.alias, [POINT])

    assert await reason_of_block(qdrant_provider, there) is Reason.CLAIMED_BY_ANOTHER
    assert await delete(qdrant_provider, there) == []

    assert await converge(qdrant_provider, here) == []
    assert (await qdrant_client.count(here.alias)).count == 1


async def test_two_objects_of_one_name_at_the_same_time_make_one_winner(qdrant_provider):
    here = new_tenant()
    both = [here, replace(here, uid=str(uuid4()))]

    answers = await asyncio.gather(*(converge(qdrant_provider, each) for each in both), return_exceptions=True)

    assert not any(isinstance(each, BaseException) and not isinstance(each, Conflict) for each in answers)
    second_pass = [await converge(qdrant_provider, each) for each in both]
    assert sorted(type(each).__name__ for each in second_pass) == ["Blocked", "list"]


async def test_what_an_earlier_object_left_is_adopted_with_its_points(qdrant_provider, qdrant_client):
    earlier = new_tenant()
    await converge(qdrant_provider, earlier)
    await qdrant_client.upsert(earlier.alias, [POINT])
    again = replace(earlier, uid=str(uuid4()), adopts=frozenset({earlier.uid}))

    assert await converge(qdrant_provider, again) == [
        f"take over collection {again.collection} of {again.tenant} from its former object {earlier.uid}"
    ]

    assert await converge(qdrant_provider, again) == []
    assert await reason_of_block(qdrant_provider, earlier) is Reason.CLAIMED_BY_ANOTHER
    assert (await qdrant_client.count(again.alias)).count == 1


async def test_deletion_takes_collection_and_alias_and_is_done_when_they_are_gone(qdrant_provider, qdrant_client):
    tenant, neighbour = new_tenant(), new_tenant()
    await converge(qdrant_provider, tenant)
    await converge(qdrant_provider, neighbour)

    assert await delete(qdrant_provider, tenant) == [f"drop collection {tenant.collection} and its aliases"]
    assert await delete(qdrant_provider, tenant) == []

    assert not await qdrant_client.collection_exists(tenant.collection)
    assert tenant.alias not in {each.alias_name for each in (await qdrant_client.get_aliases()).aliases}
    assert await converge(qdrant_provider, neighbour) == []


async def test_a_deletion_decided_before_somebody_else_took_the_name_is_not_carried_out(qdrant_provider, qdrant_client):
    tenant = new_tenant()
    await make_foreign(qdrant_client, tenant.collection)

    with pytest.raises(Conflict, match="another owner"):
        await qdrant_provider.apply(tenant, [DropCollection(tenant.collection)])

    assert (await qdrant_client.count(tenant.collection)).count == 1
