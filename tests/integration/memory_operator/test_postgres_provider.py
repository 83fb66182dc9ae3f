"""The Postgres provider on a real server: what it makes, repairs, refuses, and keeps apart."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import uuid4

import asyncpg
import pytest
from postgres_tenants import (
    PASSWORD,
    address_of,
    converge,
    new_names,
    new_tenant,
    role_maker,
    run,
    run_as,
    run_as_tenant,
    schema_exists,
)

from memory_contracts.conditions import Reason
from memory_contracts.errors import Rejected, Unavailable
from memory_operator.providers.postgres.address import PostgresAddress
from memory_operator.providers.postgres.client import PostgresBackend
from memory_operator.providers.postgres.plan import plan
from memory_operator.providers.postgres.sql import Literal, quote_identifier, quote_literal
from memory_operator.providers.postgres.tenant import DesiredTenant, ObservedTenant, desired_tenant
from memory_operator.providers.shapes import Blocked


@pytest.fixture
async def limited(address: PostgresAddress) -> AsyncIterator[PostgresBackend]:
    """The administrator is no superuser."""
    async with PostgresBackend(await role_maker(address)) as opened:
        yield opened


async def test_a_converged_tenant_needs_no_step(backend, address):
    tenant = new_tenant()

    assert await converge(backend, tenant)
    assert await converge(backend, tenant) == []


async def test_of_a_tenant_that_is_new_as_much_is_seen_as_of_any_other(backend, address):
    tenant = new_tenant()

    async def seen(**options: bool) -> ObservedTenant:
        async with backend.session(tenant, read_only=True) as session:
            return await session.observe(tenant, **options)

    async def changed(*statements: str) -> None:
        await run(address, *statements)
        assert await seen(is_new=True) == await seen()

    before = await seen(is_new=True)
    assert (before.roles, before.schema) == ({}, None)
    await changed("select 1")
    await changed(f"revoke connect on database {address.database} from public")
    for role in tenant.roles:
        await changed(f'create role "{role}"')
        assert set((await seen(is_new=True)).roles) == {role}
        await changed(f'drop role "{role}"')
    await changed(f'create schema "{tenant.schema}"')
    assert (await seen(is_new=True)).schema


async def test_the_tenant_stores_and_reads_rows_without_naming_its_schema(backend, address):
    tenant = new_tenant()
    await converge(backend, tenant)

    await run_as_tenant(address, tenant, "insert into metadata (name, value) values ('embedder', 'x')")
    await run_as_tenant(
        address,
        tenant,
        "insert into memories (id, coord, type, payload, content, importance)"
        " values (gen_random_uuid(), '{1}', 'episodic', '{}', 'hello world', 1)",
    )

    assert await run_as_tenant(address, tenant, "select 1 from memories where word_similarity('hello', content) > .5")
    assert [
        row["setting"]
        for row in await run_as_tenant(
            address, tenant, "select setting from pg_settings where name = 'statement_timeout'"
        )
    ] == ["60000"]


@pytest.mark.parametrize(
    "statement",
    [
        "create table mine (id int)",
        "drop table memories",
        "alter table memories add column mine int",
        "create role friend",
        "set role postgres",
    ],
)
async def test_the_tenant_changes_rows_but_no_structure(backend, address, statement):
    tenant = new_tenant()
    await converge(backend, tenant)

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await run_as_tenant(address, tenant, statement)


async def test_one_tenant_cannot_read_another(backend, address):
    mine, theirs = new_tenant("mine"), new_tenant("theirs")
    await converge(backend, mine)
    await converge(backend, theirs)

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await run_as_tenant(address, mine, f"select * from {theirs.schema}.memories")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await run_as_tenant(address, mine, f"set role {theirs.owner_role}")


@pytest.mark.parametrize("comment", [None, "memory-operator: belongs to team-b/other", "ours"])
async def test_a_foreign_schema_is_refused_and_survives(backend, address, comment):
    tenant = new_tenant()
    await run(address, f"create schema {tenant.schema}")
    await run(address, f"create table {tenant.schema}.precious (id int)")
    if comment:
        await run(address, f"comment on schema {tenant.schema} is {quote_literal(comment)}")

    blocked = await converge(backend, tenant)

    assert isinstance(blocked, Blocked)
    assert blocked.reason is Reason.FOREIGN_OBJECT
    assert tenant.schema in blocked.message
    assert await run(address, f"select * from {tenant.schema}.precious") == []
    assert await run(address, f"select from pg_roles where rolname = '{tenant.active.role}'") == []


async def test_a_foreign_role_is_refused_and_keeps_its_password(backend, address):
    tenant = new_tenant()
    await run(address, f"create role {tenant.active.role} login password 'theirs'")

    blocked = await converge(backend, tenant)

    assert isinstance(blocked, Blocked)
    assert tenant.active.role in blocked.message
    assert await run_as(address, tenant.active.role, "theirs", "select 1")


async def test_a_role_of_the_same_tenant_in_another_database_is_refused(backend, address, postgres_server):
    tenant = new_tenant()
    await converge(backend, tenant)

    async with PostgresBackend(address_of(postgres_server.admin_url())) as other:
        elsewhere = await converge(other, tenant)

    assert isinstance(elsewhere, Blocked)
    assert address.database in elsewhere.message


DRIFTS = {
    "another password": ("alter role {login} password 'changed'", "set password of role"),
    "no password": ("alter role {login} password null", "set password of role"),
    "a password that ends": ("alter role {login} valid until '2001-01-01'", "hold for ever"),
    "no login": ("alter role {login} nologin", "to log in"),
    "another search_path": ("alter role {login} set search_path to public", "pin search_path"),
    "no search_path": ("alter role {login} reset search_path", "pin search_path"),
    "a search_path for one database": (
        "alter role {login} in database {database} set search_path to public",
        "drop the settings",
    ),
    "no statement_timeout": ("alter role {login} reset all", "set statement_timeout"),
    "no connection limit": ("alter role {login} connection limit -1", "connections"),
    "attributes of an administrator": ("alter role {login} createrole bypassrls", "attributes of an administrator"),
    "membership in the owner": ("grant {owner} to {login}", "end the membership"),
    "an owner that logs in": ("alter role {owner} login", "forbid role"),
    "a role without mark": ("comment on role {login} is null", "BLOCKED"),
    "a schema without mark": ("comment on schema {schema} is null", "BLOCKED"),
    "a closed slot that is open": ("alter role {other} login password 'mine'", "close role"),
    "no usage": ("revoke usage on schema {schema} from {login}", "use schema"),
    "create on the schema": ("grant create on schema {schema} to {login}", "take CREATE on schema"),
    "an open schema": ("grant usage on schema {schema} to public", "from public"),
    "an open table": ("grant select on {schema}.memories to public", "take SELECT on 1 tables"),
    "a table it cannot write": ("revoke insert on {schema}.outbox from {login}", "read and write 1 tables"),
    "a table it may empty": ("grant truncate on {schema}.memories to {login}", "take TRUNCATE on 1 tables"),
    "a table it may pass on": (
        "grant select on {schema}.memories to {login} with grant option",
        "take SELECT WITH GRANT OPTION",
    ),
    "a table its owner cannot read": ("revoke all on {schema}.metadata from {owner}", "back its tables"),
    "a sequence it cannot use": ("revoke usage on sequence {schema}.outbox_position_seq from {other}", "1 sequences"),
    "a function it cannot call": ("revoke execute on function {schema}.settle from public", "execute the functions"),
    "no default privileges": (
        "alter default privileges for role {owner} in schema {schema} revoke all on tables from {login}",
        "future tables",
    ),
    "default privileges for everybody": (
        "alter default privileges for role {owner} in schema {schema} grant select on tables to public",
        "take future tables",
    ),
    "no extension": ("drop extension pg_trgm cascade", "create extension"),
    "no migration record": ("truncate {schema}.schema_migrations", "BLOCKED"),
    "another migration record": ("update {schema}.schema_migrations set checksum = 'x'", "BLOCKED"),
    "no table": ("drop table {schema}.idempotency_keys", "BLOCKED"),
    "no index": ("drop index {schema}.memories_words", "make index memories_words of schema"),
    "another index of that name": (
        "do 'begin drop index {schema}.memories_payload; "
        "create index memories_payload on {schema}.memories (updated_at); end'",
        "make index memories_payload of schema",
    ),
    "no function": ("drop function {schema}.settle", "make function settle(boolean) of schema"),
    "a function that does nothing": (
        "create or replace function {schema}.settle(with_statistics boolean) returns void language sql as ''",
        "make function settle(boolean) of schema",
    ),
    "no column": ("alter table {schema}.memories drop column words", "BLOCKED"),
    "a column of another type": ("alter table {schema}.vectors alter embedder_id type varchar(9)", "BLOCKED"),
    "a column that may be empty": ("alter table {schema}.memories alter content drop not null", "BLOCKED"),
    "no constraint": ("alter table {schema}.outbox drop constraint outbox_kind_check", "BLOCKED"),
    "no primary key": ("alter table {schema}.idempotency_keys drop constraint idempotency_keys_pkey", "BLOCKED"),
}


def blow(damage: str, tenant: DesiredTenant, database: str) -> str:
    login, other = tenant.login_roles
    return damage.format(
        login=login, other=other, owner=tenant.owner_role, schema=tenant.schema, database=f'"{database}"'
    )


@pytest.mark.parametrize(("damage", "step"), DRIFTS.values(), ids=DRIFTS.keys())
async def test_drift_is_found_by_the_sweep_and_repaired_by_the_pass(backend, address, damage, step):
    tenant, neighbour = new_tenant(), new_tenant()
    await converge(backend, tenant)
    await converge(backend, neighbour)
    assert await backend.drifted([tenant, neighbour]) == set()
    await run(address, blow(damage, tenant, address.database))

    drifted = await backend.drifted([tenant, neighbour])
    outcome = await converge(backend, tenant)

    # An extension is everybody's.
    assert drifted == ({tenant.tenant, neighbour.tenant} if "extension" in damage else {tenant.tenant})
    if isinstance(outcome, Blocked):
        assert step == "BLOCKED", outcome
        return
    await converge(backend, neighbour)
    assert any(step in summary for summary in outcome), outcome
    assert await converge(backend, tenant) == []
    assert await backend.drifted([tenant, neighbour]) == set()
    assert await run_as_tenant(address, tenant, "select settle(true)")


async def test_a_new_password_takes_effect(backend, address):
    names = new_names()
    tenant, rotated = (desired_tenant(names, {"a": password}, 1) for password in (PASSWORD, "battery-staple"))
    await converge(backend, tenant)

    assert await converge(backend, rotated) == [f"set password of role {tenant.active.role}"]
    assert await run_as_tenant(address, rotated, "select 1")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await run_as_tenant(address, tenant, "select 1")


async def test_concurrent_passes_over_one_tenant_do_the_work_once(backend, address):
    tenant = new_tenant()

    passes = await asyncio.gather(*(converge(backend, tenant) for _ in range(4)))

    assert sorted(bool(steps) for steps in passes) == [False, False, False, True]


async def test_an_error_leaves_nothing_half_made(backend, address):
    tenant = new_tenant()

    with pytest.raises(RuntimeError):
        async with backend.session(tenant) as session:
            steps = plan(tenant, await session.observe(tenant))
            assert isinstance(steps, list)
            await session.apply(tenant, steps)
            raise RuntimeError("the power went out")

    assert not await schema_exists(address, tenant)
    assert await run(address, f"select from pg_roles where rolname = '{tenant.active.role}'") == []


async def test_an_administrator_without_superuser_rights_is_enough(limited, address):
    tenant = new_tenant()

    assert await converge(limited, tenant)
    assert await converge(limited, tenant) == []
    assert await run_as_tenant(address, tenant, "select 1 from memories union select 1")

    await run(address, f"alter role {tenant.active.role} password 'changed'")
    assert await converge(limited, tenant) == []  # what is remembered heals soon
    async with PostgresBackend(limited.address) as forgetful:
        assert await converge(forgetful, tenant) == [f"set password of role {tenant.active.role}"]


async def test_an_administrator_without_rights_is_told_which_step_failed(address):
    nobody = f"nobody_{uuid4().hex[:8]}"
    await run(address, f"create role {nobody} login password '{PASSWORD}'")

    async with PostgresBackend(replace(address, user=nobody, password=PASSWORD)) as backend:
        with pytest.raises(Rejected, match=r"create extension pg_trgm.*permission denied"):
            await converge(backend, new_tenant())


async def test_an_extension_in_a_schema_of_its_own_is_found(backend, address):
    tenant = new_tenant()
    await run(address, 'create schema "Ext, ensions"')
    await run(address, 'create extension pg_trgm schema "Ext, ensions"')

    await converge(backend, tenant)

    assert await converge(backend, tenant) == []
    assert await run_as_tenant(address, tenant, "select word_similarity('a', 'a b')")


async def test_a_changed_migration_is_refused(backend, address):
    tenant = new_tenant()
    await converge(backend, tenant)
    await run(address, f"update {tenant.schema}.schema_migrations set checksum = 'other'")

    blocked = await converge(backend, tenant)

    assert isinstance(blocked, Blocked)
    assert "changed after it ran" in blocked.message


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ({"port": 1}, Unavailable, "cannot be reached"),
        ({"password": "wrong"}, Rejected, "password authentication failed"),
        ({"database": "nowhere"}, Rejected, '"nowhere" does not exist'),
    ],
    ids=["no server", "wrong password", "no database"],
)
async def test_errors_of_the_driver_are_translated(address, change, error, sentence):
    with pytest.raises(error, match=sentence):
        async with PostgresBackend(replace(address, **change)) as backend:
            await converge(backend, new_tenant())


@pytest.mark.parametrize("text", ["plain", 'quo"ted', "it's", "back\\slash'", "Ünïcode; drop table x --", "a b"])
async def test_quoted_names_and_texts_come_back_unchanged(address, text):
    assert (await run(address, f"select {quote_literal(text)} as {quote_identifier(text)}"))[0][text] == text
    assert Literal(text).text == text
