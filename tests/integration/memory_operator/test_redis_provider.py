"""The Redis provider on a real server: what it makes, repairs, refuses, and leaves alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from redis import exceptions
from redis_server import RedisServer, program_version
from redis_tenants import (
    Operator,
    admin,
    as_admin,
    as_tenant,
    calls,
    new_tenant,
    users,
)


async def test_a_converged_tenant_needs_no_step(redis_operator):
    tenant = new_tenant()

    assert await redis_operator.converge(tenant)
    assert await redis_operator.converge(tenant) == []


EDITS = {
    "all keys": ("allkeys",),
    "another's keys": ("~mem-team-b-*",),
    "all channels": ("allchannels",),
    "all commands": ("+@all",),
    "one command more": ("+flushall",),
    "one command less": ("-get",),
    "no password asked": ("nopass",),
    "a second password": (">backdoor",),
    "another password": ("resetpass", ">another"),
    "switched off": ("off",),
    "a selector": ("(+@all ~*)",),
    "its mark": ("resetkeys", "~mem-*"),
    "everything": ("reset",),
}


@pytest.mark.parametrize("rules", EDITS.values(), ids=EDITS)
async def test_a_user_edited_by_hand_is_found_and_repaired(redis_server, redis_operator, rules):
    tenant = new_tenant()
    await redis_operator.converge(tenant)
    good = await admin(redis_server, "ACL", "GETUSER", tenant.user)
    await admin(redis_server, "ACL", "SETUSER", tenant.user, *rules)

    assert await redis_operator.backend.drifted([tenant], redis_operator.ledger.names) == {tenant.tenant}
    (step,) = await redis_operator.converge(tenant)

    assert step.startswith(f"set user {tenant.user}: ")
    assert await redis_operator.converge(tenant) == []
    assert await admin(redis_server, "ACL", "GETUSER", tenant.user) == good


async def test_a_deleted_user_comes_back(redis_server, redis_operator):
    tenant = new_tenant()
    await redis_operator.converge(tenant)
    await admin(redis_server, "ACL", "DELUSER", tenant.user)

    assert await redis_operator.converge(tenant)
    async with as_tenant(redis_server, tenant) as client:
        assert await client.ping()


async def test_a_new_password_replaces_the_old_one_and_open_connections_go_on(redis_server, redis_operator):
    old = new_tenant()
    new = replace(old, password="the-next-password")
    await redis_operator.converge(old)
    async with as_tenant(redis_server, old) as open_before:
        await open_before.ping()

        (step,) = await redis_operator.converge(new)

        assert "password" in step
        assert await open_before.ping()
    async with as_tenant(redis_server, new) as client:
        assert await client.ping()
    async with as_tenant(redis_server, old) as client:
        with pytest.raises(exceptions.AuthenticationError):
            await client.ping()
    assert await redis_operator.converge(new) == []


@pytest.mark.parametrize("password", ["password-of-research", "another"])
async def test_a_password_is_proved_by_a_login_of_its_own(redis_server, redis_operator, password):
    tenant = new_tenant()
    await redis_operator.converge(tenant)
    logins = await calls(redis_server, "auth")

    observed = await redis_operator.backend.observe(replace(tenant, password=password), redis_operator.ledger.names)

    assert observed.password_works is (password == tenant.password)
    assert await calls(redis_server, "auth") == logins + 2  # with the one that asks


async def test_users_lost_in_a_restart_are_found_and_made_again(redis_server, redis_operator):
    tenants = [new_tenant(name) for name in ("one", "two")]
    for tenant in tenants:
        await redis_operator.converge(tenant)

    redis_server.restart()

    assert await users(redis_server) == set()
    assert await redis_operator.backend.drifted(tenants, redis_operator.ledger.names) == {
        each.tenant for each in tenants
    }
    for tenant in tenants:
        assert len(await redis_operator.converge(tenant)) == 1
    assert await redis_operator.backend.drifted(tenants, redis_operator.ledger.names) == set()


async def test_with_an_acl_file_users_and_deletions_outlive_a_restart(start_redis: Callable[..., RedisServer]):
    server = start_redis(acl_file=True)
    operator = Operator(server.connection)
    kept, deleted = new_tenant("kept"), new_tenant("deleted")
    assert "acl-file" in (await operator.backend.facts()).features
    await operator.converge(kept)
    await operator.converge(deleted)
    await operator.delete(deleted)

    server.restart()

    assert await users(server) == {kept.user}
    assert await operator.converge(kept) == []
    await operator.backend.close()


async def test_drift_is_found_for_exactly_the_drifted_by_one_question(redis_server, redis_operator):
    tenants = {name: new_tenant(name) for name in ("fine", "edited", "gone", "password", "fenced", "read-only")}
    tenants["fenced"] = replace(tenants["fenced"], enabled=False)
    tenants["read-only"] = replace(tenants["read-only"], read_only=True)
    for tenant in tenants.values():
        await redis_operator.converge(tenant)
    assert await redis_operator.backend.drifted(tenants.values(), redis_operator.ledger.names) == set()

    await admin(redis_server, "ACL", "SETUSER", tenants["edited"].user, "+keys")
    await admin(redis_server, "ACL", "SETUSER", tenants["password"].user, "resetpass", ">other")
    await admin(redis_server, "ACL", "DELUSER", tenants["gone"].user)
    await admin(redis_server, "ACL", "SETUSER", "somebody-else", "on", "nopass")
    before = await calls(redis_server, "acl|list")
    found = await redis_operator.backend.drifted(tenants.values(), redis_operator.ledger.names)

    assert found == {tenants[name].tenant for name in ("edited", "gone", "password")}
    assert await calls(redis_server, "acl|list") - before == 1


async def test_a_converged_tenant_is_observed_without_a_write(redis_server, redis_operator):
    tenant = new_tenant()
    await redis_operator.converge(tenant)
    await redis_operator.backend.facts()
    seen = await commands(redis_server)

    await redis_operator.converge(tenant)
    await redis_operator.backend.drifted([tenant], redis_operator.ledger.names)
    await redis_operator.backend.facts()

    assert await commands(redis_server) - seen <= {"acl|list"}  # and what had been called before
    assert await redis_operator.converge(tenant) == []


async def commands(server: RedisServer) -> set[str]:
    async with as_admin(server) as client:
        return {name.removeprefix("cmdstat_") for name in await client.info("commandstats")}


async def test_the_server_tells_what_it_is(redis_server, redis_operator):
    facts = await redis_operator.backend.facts()

    assert facts.version == program_version()
    assert facts.identity == f"127.0.0.1:{redis_server.port}"
    assert facts.features == ("maxmemory-policy=noeviction",)


async def test_a_default_user_open_to_everybody_is_told(redis_server, redis_operator):
    await admin(redis_server, "ACL", "SETUSER", "default", "on", "nopass")

    assert "open-default-user" in (await redis_operator.backend.facts()).features


async def test_passes_over_many_tenants_share_a_few_connections(redis_server, redis_operator):
    tenants = [new_tenant(f"tenant-{number}") for number in range(40)]

    async with asyncio.TaskGroup() as group:
        for tenant in tenants:
            group.create_task(redis_operator.converge(tenant))

    assert await users(redis_server) == {tenant.user for tenant in tenants}
    assert await redis_operator.backend.drifted(tenants, redis_operator.ledger.names) == set()
    async with as_admin(redis_server) as client:
        assert len(await client.client_list()) <= 5


async def test_a_cancelled_pass_leaves_the_backend_in_order(redis_server, redis_operator):
    tenant = new_tenant()
    await redis_operator.converge(tenant)
    for delay in (0, 0.0005, 0.001, 0.002):
        task = asyncio.create_task(redis_operator.converge(tenant))
        await asyncio.sleep(delay)
        task.cancel()
        await asyncio.wait([task])  # some end before they are cancelled

    assert await redis_operator.converge(tenant) == []
