"""The sweep: one query tells which of many tenants are not as they should be."""

from dataclasses import replace
from uuid import uuid4

import asyncpg
import pytest
from postgres_tenants import PASSWORD, converge, delete, new_tenant, run

from memory_contracts.errors import Unavailable
from memory_operator.providers.postgres import pool
from memory_operator.providers.postgres.client import PostgresBackend
from memory_operator.providers.postgres.plan import plan


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every statement that the pool's connections send."""
    sent: list[str] = []

    class Counting(asyncpg.Connection):
        async def execute(self, query, *args, **more):
            sent.append(query)
            return await super().execute(query, *args, **more)

        async def fetch(self, query, *args, **more):
            sent.append(query)
            return await super().fetch(query, *args, **more)

        async def fetchrow(self, query, *args, **more):
            sent.append(query)
            return await super().fetchrow(query, *args, **more)

        async def fetchval(self, query, *args, **more):
            sent.append(query)
            return await super().fetchval(query, *args, **more)

    make = asyncpg.create_pool
    monkeypatch.setattr(pool.asyncpg, "create_pool", lambda **arguments: make(**arguments, connection_class=Counting))
    return sent


async def test_exactly_the_tenants_that_drifted_are_named(backend, address):
    tenants = [new_tenant() for _ in range(6)]
    for tenant in tenants:
        await converge(backend, tenant)
    missing, damaged, wider = new_tenant(), tenants[2], replace(tenants[4], connection_limit=99)
    await run(address, f"alter role {damaged.login_roles[1]} set search_path to public")
    tenants[4] = wider

    assert await backend.drifted([*tenants, missing]) == {damaged.tenant, wider.tenant, missing.tenant}


async def test_no_tenants_is_no_question_worth_an_error(backend):
    assert await backend.drifted([]) == set()


async def test_the_number_of_queries_does_not_depend_on_the_number_of_tenants(asked, backend):
    tenants = [new_tenant() for _ in range(5)]
    for tenant in tenants:
        await converge(backend, tenant)

    counts = []
    for number in (1, 5):
        asked.clear()
        assert await backend.drifted(tenants[:number]) == set()
        counts.append(len(asked))

    assert counts == [1, 1]


async def test_a_pass_over_a_converged_tenant_is_three_round_trips(asked, backend):
    tenant = new_tenant()
    await converge(backend, tenant)
    asked.clear()

    assert await converge(backend, tenant) == []

    assert len(asked) == 3


async def test_a_pass_over_a_converged_tenant_writes_nothing(backend):
    tenant = new_tenant()
    await converge(backend, tenant)

    async with backend.session(tenant) as session:
        steps = plan(tenant, await session.observe(tenant))
        await session.apply(tenant, steps)
        number = await session._connection.fetchval("select pg_current_xact_id_if_assigned()::text")

    assert (steps, number) == ([], None)  # a transaction that writes has a number


async def test_a_tenant_that_is_dropped_meanwhile_does_not_spoil_the_sweep(backend):
    tenants = [new_tenant() for _ in range(3)]
    for tenant in tenants:
        await converge(backend, tenant)
    await delete(backend, tenants[1])

    assert await backend.drifted(tenants) == {tenants[1].tenant}


async def test_a_server_that_is_away_is_an_error_and_no_drift(address):
    async with PostgresBackend(replace(address, port=1)) as backend:
        with pytest.raises(Unavailable):
            await backend.drifted([new_tenant()])


async def test_an_administrator_that_may_not_read_passwords_sees_all_other_drift(address):
    admin, tenant = f"admin_{uuid4().hex[:8]}", new_tenant()
    await run(address, f"create role {admin} login createrole password '{PASSWORD}'")
    await run(address, f"grant create on database {address.database} to {admin}")
    async with PostgresBackend(replace(address, user=admin, password=PASSWORD)) as backend:
        await converge(backend, tenant)
        assert await backend.drifted([tenant]) == set()
        await run(address, f"grant select on {tenant.schema}.memories to public")

        assert await backend.drifted([tenant]) == {tenant.tenant}


async def test_an_administrator_that_was_granted_the_verifiers_needs_no_login(address):
    admin, tenant = f"admin_{uuid4().hex[:8]}", new_tenant()
    await run(address, f"create role {admin} login createrole password '{PASSWORD}'")
    await run(address, f"grant create on database {address.database} to {admin}")
    await run(address, f"grant select (oid, rolpassword) on pg_authid to {admin}")
    try:
        async with PostgresBackend(replace(address, user=admin, password=PASSWORD)) as backend:
            await converge(backend, tenant)
            assert await backend.drifted([tenant]) == set()
            await run(address, f"alter role {tenant.active.role} password 'changed'")

            assert await backend.drifted([tenant]) == {tenant.tenant}
            await run(address, f"revoke select (oid, rolpassword) on pg_authid from {admin}")
            with pytest.raises(Exception, match="permission denied"):
                await backend.drifted([tenant])
            assert await backend.drifted([tenant]) == {tenant.tenant}  # by a login now
    finally:
        await run(address, f"revoke select (oid, rolpassword) on pg_authid from {admin}")
