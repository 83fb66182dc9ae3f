"""Two roles to log in with, and how far a tenant's access goes, on a real server."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from postgres_tenants import (
    PASSWORD,
    connect,
    converge,
    new_names,
    new_tenant,
    observe,
    role_maker,
    run,
    run_as,
    run_as_tenant,
)

from memory_operator.providers.postgres.address import PostgresAddress
from memory_operator.providers.postgres.client import PostgresBackend
from memory_operator.providers.postgres.tenant import desired_tenant

STORE = "insert into metadata (name, value) values ('embedder', 'x')"


@pytest.fixture(params=["superuser", "role maker"])
async def backend(request: pytest.FixtureRequest, address: PostgresAddress) -> AsyncIterator[PostgresBackend]:
    """Both kinds of administrator: the second may neither read stored passwords nor end anybody's session."""
    administrator = await role_maker(address) if request.param == "role maker" else address
    async with PostgresBackend(administrator) as opened:
        yield opened


@pytest.fixture
async def log_in(address: PostgresAddress) -> AsyncIterator[Callable[..., Awaitable[Any]]]:
    """Sessions of the tenant, ended with the test."""
    opened: list[Any] = []

    async def open_session(role: str, password: str | None) -> Any:
        opened.append(await connect(address, role, password))
        return opened[-1]

    yield open_session
    for session in opened:
        session.terminate()


async def test_the_closed_slot_is_ready_but_lets_nobody_in(backend, address, log_in):
    tenant = new_tenant()

    await converge(backend, tenant)

    state = (await observe(backend, tenant)).roles[tenant.login_roles[1]]
    assert (state.can_login, state.connection_limit) == (False, tenant.connection_limit)
    for password in (None, "", PASSWORD):
        with pytest.raises((asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError)):
            await log_in(tenant.login_roles[1], password)


async def test_a_password_is_rotated_without_a_moment_in_which_none_works(backend, address, log_in):
    names = new_names()
    first, both, second = (
        desired_tenant(names, {"a": "old-one"}, 1, active="a"),
        desired_tenant(names, {"a": "old-one", "b": "new-one"}, 1, active="b"),
        desired_tenant(names, {"b": "new-one"}, 1, active="b"),
    )
    await converge(backend, first)
    worker = await log_in(names.login_role("a"), "old-one")
    await worker.execute(STORE)

    opened = await converge(backend, both)
    await worker.execute("update metadata set value = 'y'")
    assert await run_as_tenant(address, both, "select from metadata where value = 'y'")
    await worker.close()
    closed = await converge(backend, second)

    assert opened == [f"set password of role {names.login_role('b')}", f"allow role {names.login_role('b')} to log in"]
    assert closed == [f"close role {names.login_role('a')}: no login, no password"]
    assert await run_as_tenant(address, second, "select from metadata where value = 'y'")
    with pytest.raises((asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError)):
        await log_in(names.login_role("a"), "old-one")


async def test_closing_a_slot_ends_the_sessions_that_still_use_it(backend, address, log_in):
    names = new_names()
    await converge(backend, desired_tenant(names, {"a": "old-one", "b": "new-one"}, 1, active="b"))
    straggler = await log_in(names.login_role("a"), "old-one")

    await converge(backend, desired_tenant(names, {"b": "new-one"}, 1, active="b"))

    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await straggler.fetch("select 1")


async def test_a_closed_slot_that_gets_a_password_by_hand_loses_it(address):
    tenant = new_tenant()
    async with PostgresBackend(address) as backend:
        await converge(backend, tenant)
        await run(address, f"alter role {tenant.login_roles[1]} password 'by-hand'")

        assert await converge(backend, tenant) == [f"close role {tenant.login_roles[1]}: no login, no password"]


async def test_read_access_leaves_every_row_readable_and_none_writable(backend, address, log_in):
    tenant = new_tenant()
    await converge(backend, tenant)
    await run_as_tenant(address, tenant, STORE)
    session = await log_in(tenant.active.role, PASSWORD)
    reader = replace(tenant, access="read")

    await converge(backend, reader)

    assert await converge(backend, reader) == []
    assert await session.fetch("select from metadata")
    assert await session.fetchval("select settle(false)") is None
    for statement in (STORE, "delete from metadata", "update metadata set value = 'z'", "truncate metadata"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await session.execute(statement)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await session.fetchval("select nextval('outbox_position_seq')")


async def test_write_access_comes_back(backend, address):
    tenant = new_tenant()
    await converge(backend, replace(tenant, access="read"))

    await converge(backend, tenant)

    assert await converge(backend, tenant) == []
    await run_as_tenant(address, tenant, STORE)


async def test_no_access_ends_the_sessions_and_lets_nobody_in(backend, address, log_in):
    tenant = new_tenant()
    await converge(backend, tenant)
    session = await log_in(tenant.active.role, PASSWORD)
    fenced = replace(tenant, access="none")

    steps = await converge(backend, fenced)

    assert steps[-1] == f"end the sessions of {tenant.active.role}"
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await session.fetch("select 1")
    with pytest.raises((asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError)):
        await log_in(tenant.active.role, PASSWORD)
    assert await converge(backend, fenced) == []


async def test_a_session_that_cannot_be_ended_can_do_nothing_any_more(backend, address, log_in):
    """Between the commit and the end of a session, and where ending it is not allowed."""
    tenant = new_tenant()
    await converge(backend, tenant)
    session = await log_in(tenant.active.role, PASSWORD)
    prepared = await session.prepare("select * from metadata")
    role, schema = tenant.active.role, tenant.schema

    await run(
        address,
        f"revoke all on all tables in schema {schema} from {role}",
        f"revoke all on schema {schema} from {role}",
    )

    for attempt in (prepared.fetch(), session.fetch("select settle(false)")):
        with pytest.raises(asyncpg.PostgresError):
            await attempt


async def test_access_comes_back_with_the_same_password_and_all_rows(backend, address):
    tenant = new_tenant()
    await converge(backend, tenant)
    await run_as_tenant(address, tenant, STORE)
    await converge(backend, replace(tenant, access="none"))

    await converge(backend, tenant)

    assert await converge(backend, tenant) == []
    assert await run_as_tenant(address, tenant, "select from metadata")


async def test_a_password_that_only_a_login_can_tell_is_found_wrong_within_a_minute(address):
    admin, tenant, now = f"admin_{uuid4().hex[:8]}", new_tenant(), 0.0
    await run(address, f"create role {admin} login createrole password '{PASSWORD}'")
    await run(address, f"grant create on database {address.database} to {admin}")
    async with PostgresBackend(replace(address, user=admin, password=PASSWORD), clock=lambda: now) as backend:
        await converge(backend, tenant)
        assert await converge(backend, tenant) == []
        await run(address, f"alter role {tenant.active.role} password 'changed'")

        assert await backend.drifted([tenant]) == set()
        now += 59.0
        assert await backend.drifted([tenant]) == {tenant.tenant}
        await converge(backend, tenant)

    assert await run_as(address, tenant.active.role, PASSWORD, "select 1")
