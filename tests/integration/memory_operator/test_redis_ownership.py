"""Whose a user and its keys are in Redis: what is foreign survives, and what is ours goes without a rest."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from redis import exceptions
from redis_tenants import (
    BACKEND,
    MemoryLedger,
    Operator,
    admin,
    as_admin,
    as_tenant,
    keys,
    new_tenant,
    users,
)

from memory_contracts.conditions import Reason
from memory_contracts.errors import Conflict
from memory_operator.providers.redis.plan import plan, plan_deletion
from memory_operator.providers.shapes import Blocked


async def test_a_foreign_user_is_refused_and_survives_deletion(redis_server, redis_operator):
    tenant = new_tenant()
    await admin(redis_server, "ACL", "SETUSER", tenant.user, "on", ">theirs", "~precious:*", "+get")
    await admin(redis_server, "SET", f"{tenant.prefix}theirs", "1")
    before = await admin(redis_server, "ACL", "GETUSER", tenant.user)

    blocked = await redis_operator.converge(tenant)

    assert isinstance(blocked, Blocked)
    assert blocked.reason is Reason.FOREIGN_OBJECT
    assert tenant.user in blocked.message
    assert await redis_operator.backend.drifted([tenant], ()) == {tenant.tenant}
    assert await redis_operator.delete(tenant) == []
    assert await admin(redis_server, "ACL", "GETUSER", tenant.user) == before
    assert await keys(redis_server) == {f"{tenant.prefix}theirs"}


async def test_two_kubernetes_clusters_with_one_name_share_nothing_and_do_not_fight(redis_server, redis_operator):
    ours, theirs = new_tenant(), new_tenant(password="other-cluster")
    other = Operator(redis_server.connection)
    await redis_operator.converge(ours)
    assert isinstance(await other.converge(theirs), Blocked)

    redis_server.restart()  # which forgets the users: now the other one is faster
    assert await other.converge(theirs)
    await admin(redis_server, "SET", f"{ours.prefix}theirs", "1")

    blocked = await redis_operator.converge(ours)
    assert isinstance(blocked, Blocked)
    assert blocked.reason is Reason.CLAIMED_BY_ANOTHER
    assert theirs.uid in blocked.message
    assert await other.converge(theirs) == []
    await redis_operator.delete(ours)
    assert redis_operator.ledger.names == set()
    assert await users(redis_server) == {theirs.user}
    assert await keys(redis_server) == {f"{ours.prefix}theirs"}
    await other.backend.close()


async def test_deletion_removes_user_and_keys_of_this_tenant_only(redis_server, redis_operator):
    tenant, neighbour = new_tenant("res"), new_tenant("research")
    await redis_operator.converge(tenant)
    await redis_operator.converge(neighbour)
    # Names that begin alike, up to the ":" that ends a prefix.
    others = {f"{neighbour.prefix}a", f"{tenant.prefix[:-1]}", f"{tenant.prefix[:-1]}x:a", f"x{tenant.prefix}a", "a"}
    async with as_admin(redis_server) as client:
        await client.mset(dict.fromkeys(others, "1"))
        await client.mset({f"{tenant.prefix}{number}": "1" for number in range(2500)})
        await client.hset(f"{tenant.prefix}hash", "field", "1")
        await client.set(tenant.prefix.encode() + b"\xff\x00 not text", "1")

    async with as_tenant(redis_server, tenant) as still_open:
        await still_open.ping()
        steps = await redis_operator.delete(tenant)
        with pytest.raises(exceptions.ConnectionError):
            await still_open.set(f"{tenant.prefix}late", "1")

    assert steps == [f"delete user {tenant.user}", f"delete the keys {tenant.prefix}*", f"release {tenant.user}"]
    assert await keys(redis_server) == others
    assert await users(redis_server) == {neighbour.user}
    assert redis_operator.ledger.names == {neighbour.user}
    assert await redis_operator.delete(tenant) == []
    assert await redis_operator.converge(neighbour) == []


@pytest.mark.parametrize("done", range(3))
async def test_a_crash_between_the_steps_of_a_creation_leaves_what_the_next_pass_completes(
    redis_server, redis_operator, done
):
    tenant = new_tenant()
    steps = plan(tenant, await redis_operator.backend.observe(tenant, ()))
    assert isinstance(steps, list)
    assert len(steps) == 2
    await redis_operator.backend.apply(tenant, steps[:done], redis_operator.ledger, BACKEND)

    restarted = Operator(redis_server.connection, redis_operator.ledger)

    assert len(await restarted.converge(tenant)) == 2 - done
    assert await restarted.converge(tenant) == []
    async with as_tenant(redis_server, tenant) as client:
        assert await client.ping()
    await restarted.backend.close()


@pytest.mark.parametrize("done", range(4))
async def test_a_crash_between_the_steps_of_a_deletion_leaves_what_the_next_pass_completes(
    redis_server, redis_operator, done
):
    tenant = new_tenant()
    await redis_operator.converge(tenant)
    await admin(redis_server, "SET", f"{tenant.prefix}a", "1")
    steps = plan_deletion(tenant, await redis_operator.backend.observe(tenant, redis_operator.ledger.names))
    assert len(steps) == 3
    await redis_operator.backend.apply(tenant, steps[:done], redis_operator.ledger, BACKEND)

    restarted = Operator(redis_server.connection, redis_operator.ledger)
    await restarted.delete(tenant)

    assert await restarted.delete(tenant) == []
    assert await users(redis_server) == set()
    assert await keys(redis_server) == set()
    assert redis_operator.ledger.names == set()
    await restarted.backend.close()


async def test_a_name_that_another_tenant_claimed_is_left_alone(redis_server, redis_operator):
    class TakenLedger(MemoryLedger):
        async def claim(self, backend: str, objects: Collection[str]) -> None:
            raise Conflict(f"{backend}: {objects} belongs to another")

    redis_operator.ledger = TakenLedger()

    with pytest.raises(Conflict, match="belongs to another"):
        await redis_operator.converge(new_tenant())
    assert await users(redis_server) == set()
