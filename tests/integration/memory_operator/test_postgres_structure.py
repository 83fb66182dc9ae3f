"""What the migrations make, line by line, and what happens when some of it is gone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from postgres_tenants import converge, new_tenant, run

from memory_contracts.database.structure import structure
from memory_operator.providers.postgres.client import PostgresBackend
from memory_operator.providers.postgres.sql import query
from memory_operator.providers.shapes import Blocked


async def test_the_lines_are_what_the_migrations_make(backend, address):
    """On a change of the migrations put the lines that are shown here into structure.txt."""
    tenant = new_tenant()
    await converge(backend, tenant)

    rows = await run(address, f"{query('structure')}".replace("n.oid", f"'{tenant.schema}'::regnamespace"))

    assert sorted(row[0] for row in rows if row[0]) == sorted(structure())


async def test_an_operator_that_was_just_started_finds_what_is_gone_without_a_sweep(backend, address):
    tenant = new_tenant()
    await converge(backend, tenant)
    await run(address, f"drop index {tenant.schema}.memories_words")

    async with PostgresBackend(address) as successor:
        steps = await converge(successor, tenant)

    assert steps == [f"make index memories_words of schema {tenant.schema} anew"]


async def test_what_is_gone_is_told_until_it_is_back(backend, address):
    tenant = new_tenant()
    await converge(backend, tenant)
    await run(address, f"alter table {tenant.schema}.memories alter content drop not null")

    assert await backend.drifted([tenant]) == {tenant.tenant}
    for _ in range(2):
        blocked = await converge(backend, tenant)
        assert isinstance(blocked, Blocked)
        assert "column memories.content" in blocked.message
    await run(address, f"alter table {tenant.schema}.memories alter content set not null")

    assert await converge(backend, tenant) == []
    assert await backend.drifted([tenant]) == set()


async def test_indexes_and_columns_of_somebody_else_are_no_drift(backend, address):
    tenant = new_tenant()
    await converge(backend, tenant)
    await run(
        address,
        f"create index theirs on {tenant.schema}.memories (importance)",
        f"alter table {tenant.schema}.memories add column theirs text",
    )

    assert await backend.drifted([tenant]) == set()
    assert await converge(backend, tenant) == []


async def test_a_column_that_was_put_back_is_whole_whatever_number_it_has_now(backend, address):
    """As after a restored backup, where the columns are numbered anew."""
    tenant = new_tenant()
    await converge(backend, tenant)
    keys = f"{tenant.schema}.idempotency_keys"
    await run(address, f"alter table {keys} drop column created_at, drop column key")
    assert await backend.drifted([tenant]) == {tenant.tenant}
    await run(
        address,
        f"alter table {keys} add key text primary key, add created_at timestamptz not null default now()",
        f"create index idempotency_keys_created_at on {keys} (created_at)",
        f"grant select, insert, update, delete on {keys} to {tenant.login_roles[0]}",
    )

    assert await backend.drifted([tenant]) == set()


@pytest.mark.parametrize(
    "damage", ["drop table {}.outbox cascade", "alter table {}.memories alter content drop not null"]
)
async def test_a_damaged_schema_can_be_fenced_all_the_same(backend, address, damage):
    tenant = new_tenant()
    await converge(backend, tenant)
    await run(address, damage.format(tenant.schema))

    blocked = await converge(backend, replace(tenant, access="none"))

    assert isinstance(blocked, Blocked)
    query = f"select rolcanlogin from pg_roles where rolname = '{tenant.active.role}'"
    assert [row[0] for row in await run(address, query)] == [False]
