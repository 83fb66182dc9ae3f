"""How a tenant leaves a real server: everything of its own goes, nothing else, and never half."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from postgres_tenants import (
    address_of,
    connect,
    converge,
    delete,
    new_tenant,
    observe,
    role_maker,
    roles_of,
    run,
    run_as_tenant,
    schema_exists,
)

from memory_contracts.conditions import Reason
from memory_contracts.errors import Conflict
from memory_operator.providers.postgres.address import PostgresAddress
from memory_operator.providers.postgres.client import PostgresBackend
from memory_operator.providers.postgres.deletion import plan_deletion
from memory_operator.providers.postgres.plan import plan
from memory_operator.providers.postgres.tenant import DesiredTenant
from memory_operator.providers.shapes import Blocked

STORE = "insert into metadata (name, value) values ('embedder', 'x')"


@pytest.fixture(params=["superuser", "role maker"])
async def backend(request: pytest.FixtureRequest, address: PostgresAddress) -> AsyncIterator[PostgresBackend]:
    """Both kinds of administrator."""
    administrator = await role_maker(address) if request.param == "role maker" else address
    async with PostgresBackend(administrator) as opened:
        yield opened


@pytest.fixture
async def plain(address: PostgresAddress) -> AsyncIterator[PostgresBackend]:
    """The superuser."""
    async with PostgresBackend(address) as opened:
        yield opened


@pytest.fixture
async def log_in(address: PostgresAddress) -> AsyncIterator[Callable[..., Awaitable[Any]]]:
    """Sessions of the tenant, ended with the test."""
    opened: list[Any] = []

    async def open_session(tenant: DesiredTenant) -> Any:
        opened.append(await connect(address, tenant.active.role, tenant.active.password))
        return opened[-1]

    yield open_session
    for session in opened:
        session.terminate()


async def gone(address: PostgresAddress, tenant: DesiredTenant) -> bool:
    return not await schema_exists(address, tenant) and not await roles_of(address, tenant)


async def test_a_dropped_tenant_leaves_nothing_and_its_neighbour_everything(backend, address):
    tenant, neighbour = new_tenant(), new_tenant()
    await converge(backend, tenant)
    await converge(backend, neighbour)

    steps = await delete(backend, tenant)

    assert isinstance(steps, list)
    assert f"drop schema {tenant.schema} and all memories in it" in steps
    assert await gone(address, tenant)
    assert await converge(backend, neighbour) == []
    assert await delete(backend, tenant) == []


async def test_a_tenant_that_never_was_is_deleted_at_once(backend):
    assert await delete(backend, new_tenant()) == []


async def test_a_dropped_tenant_can_be_made_anew(backend, address):
    tenant = new_tenant()
    await converge(backend, tenant)
    await run_as_tenant(address, tenant, STORE)
    await delete(backend, tenant)

    await converge(backend, tenant)

    assert await run_as_tenant(address, tenant, "select * from metadata") == []


async def test_busy_sessions_do_not_hold_a_deletion_up(backend, address, log_in):
    tenant = new_tenant()
    await converge(backend, tenant)
    idle, busy = await log_in(tenant), await log_in(tenant)
    await idle.fetch("select * from metadata")
    await busy.execute(f"begin; {STORE}")

    assert isinstance(await delete(backend, tenant), list)

    assert await gone(address, tenant)


async def test_a_tenant_for_whom_connect_was_granted_is_dropped_too(plain, address):
    tenant = new_tenant()
    await run(address, f"revoke connect on database {address.database} from public")
    await converge(plain, tenant)

    await delete(plain, tenant)

    assert await gone(address, tenant)


async def test_a_fenced_tenant_can_be_dropped_later(backend, address):
    tenant = new_tenant()
    await converge(backend, tenant)
    await converge(backend, replace(tenant, access="none"))

    assert isinstance(await delete(backend, tenant), list)

    assert await gone(address, tenant)


async def test_retained_data_is_locked_and_kept(backend, address, log_in):
    tenant = new_tenant()
    await converge(backend, tenant)
    await run_as_tenant(address, tenant, STORE)
    session = await log_in(tenant)

    await delete(backend, tenant, drop=False)

    assert await delete(backend, tenant, drop=False) == []
    assert await run(address, f"select from {tenant.schema}.metadata")
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await session.fetch("select 1")
    with pytest.raises((asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError)):
        await log_in(tenant)


async def test_retained_data_comes_back_with_the_tenant(backend, address):
    tenant = new_tenant()
    await converge(backend, tenant)
    await run_as_tenant(address, tenant, STORE)
    await delete(backend, tenant, drop=False)

    await converge(backend, tenant)

    assert await run_as_tenant(address, tenant, "select from metadata")
    assert await converge(backend, tenant) == []


@pytest.mark.parametrize("comment", [None, "memory-operator: belongs to team-b/other", "memory-operator: of course"])
async def test_a_schema_without_our_mark_survives(plain, address, comment):
    tenant = new_tenant()
    await converge(plain, tenant)
    written = f"'{comment}'" if comment else "null"
    await run(address, f"comment on schema {tenant.schema} is {written}")

    blocked = await delete(plain, tenant)

    assert isinstance(blocked, Blocked)  # its owner is ours and cannot go before it
    assert tenant.schema in blocked.message
    assert await run(address, f"select * from {tenant.schema}.memories") == []


async def test_foreign_objects_of_our_names_survive(plain, address):
    tenant = new_tenant()
    await run(address, f"create schema {tenant.schema}", *(f"create role {role}" for role in tenant.roles))

    assert await delete(plain, tenant) == []

    assert await schema_exists(address, tenant)
    assert await roles_of(address, tenant) == set(tenant.roles)


async def test_a_table_that_somebody_put_there_is_not_dropped(plain, address):
    tenant = new_tenant()
    await converge(plain, tenant)
    await run(address, f"create table {tenant.schema}.precious (id int)")

    blocked = await delete(plain, tenant)

    assert isinstance(blocked, Blocked)
    assert blocked.reason is Reason.DELETION_BLOCKED
    assert "table precious" in blocked.message
    await run(address, f"alter table {tenant.schema}.precious set schema public")
    assert isinstance(await delete(plain, tenant), list)
    assert await run(address, "select * from public.precious") == []


async def test_what_the_roles_own_outside_the_schema_is_named_and_kept(plain, address):
    tenant = new_tenant()
    await converge(plain, tenant)
    await run(address, "create table public.lent (id int)", f"alter table public.lent owner to {tenant.owner_role}")

    blocked = await delete(plain, tenant)

    assert isinstance(blocked, Blocked)
    assert blocked.reason is Reason.DELETION_BLOCKED
    assert "table public.lent" in blocked.message
    await run(address, "alter table public.lent owner to postgres")
    await delete(plain, tenant)
    assert await gone(address, tenant)


async def test_what_the_roles_have_in_another_database_is_named(plain, address, postgres_server):
    tenant, elsewhere = new_tenant(), address_of(postgres_server.admin_url())
    await converge(plain, tenant)
    await run(elsewhere, f"create schema {tenant.schema} authorization {tenant.owner_role}")

    blocked = await delete(plain, tenant)

    assert isinstance(blocked, Blocked)
    assert f"objects in database {elsewhere.database}" in blocked.message
    await run(elsewhere, f"drop schema {tenant.schema}")
    await delete(plain, tenant)
    assert await gone(address, tenant)


async def test_a_lock_that_is_not_given_up_ends_as_a_conflict(plain, address, monkeypatch):
    tenant, other = new_tenant(), await connect(address, address.user, address.password)
    monkeypatch.setitem(pool_settings(), "lock_timeout", "200ms")
    await converge(plain, tenant)
    try:
        await other.execute(f"begin; lock table {tenant.schema}.memories in share mode")

        with pytest.raises(Conflict, match=f"drop schema {tenant.schema}"):
            await delete(plain, tenant)
    finally:
        await other.close()

    await delete(plain, tenant)
    assert await gone(address, tenant)


def pool_settings() -> dict[str, str]:
    from memory_operator.providers.postgres import pool

    return pool._SETTINGS


class PowerCut(Exception):
    pass


@pytest.mark.parametrize("life", ["create", "fence", "retain", "drop"])
async def test_a_crash_after_any_step_leaves_nothing_that_the_next_pass_does_not_mend(plain, address, life, log_in):
    tenant = new_tenant()

    async def act(limit: int | None) -> int:
        """One pass of this part of life, cut off after `limit` steps; returns how many there are."""
        wanted = replace(tenant, access="none") if life == "fence" else tenant
        async with plain.session(wanted) as session:
            observed = await session.observe(wanted, for_deletion=True)
            if life in ("create", "fence"):
                steps = plan(wanted, observed)
            else:
                steps = plan_deletion(wanted, observed, drop=life == "drop")
            assert isinstance(steps, list), steps
            await session.apply(wanted, steps[:limit])
            if limit is not None:
                raise PowerCut
            return len(steps)

    async def prepare() -> None:
        if life == "create":
            await delete(plain, tenant)
        else:
            await converge(plain, tenant)
            await log_in(tenant)

    await prepare()
    total = await act(None)
    assert total > 3
    for limit in range(total):
        await prepare()
        with pytest.raises(PowerCut):
            await act(limit)
        await act(None)
        assert await act(None) == 0 if life != "fence" else await settled(plain, replace(tenant, access="none"))


async def settled(backend: PostgresBackend, tenant: DesiredTenant) -> bool:
    return plan(tenant, await observe(backend, tenant)) == []
