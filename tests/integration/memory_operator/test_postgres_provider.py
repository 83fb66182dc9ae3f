"""The Postgres provider on a real server: what it makes, repairs, refuses, and keeps apart."""

import asyncio
from dataclasses import replace
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest

from memory_contracts.conditions import Reason
from memory_contracts.errors import Rejected, Unavailable
from memory_contracts.naming import TenantNames
from memory_operator.providers.postgres.address import PostgresAddress
from memory_operator.providers.postgres.client import PostgresClient
from memory_operator.providers.postgres.plan import Blocked, DesiredTenant, desired_tenant, plan
from memory_operator.providers.postgres.sql import Literal, quote_identifier, quote_literal

PASSWORD = "correct-horse"


def address_of(url: str) -> PostgresAddress:
    parts = urlsplit(url)
    assert parts.hostname and parts.port and parts.username and parts.password
    return PostgresAddress(
        parts.hostname, parts.port, parts.path.lstrip("/"), "disable", parts.username, parts.password
    )


def new_tenant(name: str = "research") -> DesiredTenant:
    """Roles belong to the whole server, so each test takes a namespace of its own."""
    return desired_tenant(TenantNames(f"team-{uuid4().hex[:8]}", name), PASSWORD, replicas=1)


async def converge(address: PostgresAddress, desired: DesiredTenant) -> list[str] | Blocked:
    """One pass, as the reconcile makes it; returns the summaries of the steps."""
    async with PostgresClient().session(address, desired) as session:
        steps = plan(desired, await session.observe(desired))
        if isinstance(steps, Blocked):
            return steps
        await session.apply(desired, steps)
        return [step.summary for step in steps]


async def run_as(address: PostgresAddress, user: str, password: str, statement: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(
        host=address.host, port=address.port, database=address.database, user=user, password=password
    )
    try:
        return await connection.fetch(statement)
    finally:
        await connection.close()


async def run(address: PostgresAddress, statement: str) -> list[asyncpg.Record]:
    return await run_as(address, address.user, address.password, statement)


async def run_as_tenant(address: PostgresAddress, tenant: DesiredTenant, statement: str) -> list[asyncpg.Record]:
    return await run_as(address, tenant.login_role, tenant.password, statement)


@pytest.fixture
def address(database: str) -> PostgresAddress:
    return address_of(database)


async def test_a_converged_tenant_needs_no_step(address):
    tenant = new_tenant()

    assert await converge(address, tenant)
    assert await converge(address, tenant) == []


async def test_the_tenant_stores_and_reads_rows_without_naming_its_schema(address):
    tenant = new_tenant()
    await converge(address, tenant)

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
async def test_the_tenant_changes_rows_but_no_structure(address, statement):
    tenant = new_tenant()
    await converge(address, tenant)

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await run_as_tenant(address, tenant, statement)


async def test_one_tenant_cannot_read_another(address):
    mine, theirs = new_tenant("mine"), new_tenant("theirs")
    await converge(address, mine)
    await converge(address, theirs)

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await run_as_tenant(address, mine, f"select * from {theirs.schema}.memories")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await run_as_tenant(address, mine, f"set role {theirs.owner_role}")


@pytest.mark.parametrize("comment", [None, "memory-operator: belongs to team-b/other", "ours"])
async def test_a_foreign_schema_is_refused_and_survives(address, comment):
    tenant = new_tenant()
    await run(address, f"create schema {tenant.schema}")
    await run(address, f"create table {tenant.schema}.precious (id int)")
    if comment:
        await run(address, f"comment on schema {tenant.schema} is {quote_literal(comment)}")

    blocked = await converge(address, tenant)

    assert isinstance(blocked, Blocked)
    assert blocked.reason is Reason.BLOCKED
    assert tenant.schema in blocked.message
    assert await run(address, f"select * from {tenant.schema}.precious") == []
    assert await run(address, f"select from pg_roles where rolname = '{tenant.login_role}'") == []


async def test_a_foreign_role_is_refused_and_keeps_its_password(address):
    tenant = new_tenant()
    await run(address, f"create role {tenant.login_role} login password 'theirs'")

    blocked = await converge(address, tenant)

    assert isinstance(blocked, Blocked)
    assert tenant.login_role in blocked.message
    assert await run_as(address, tenant.login_role, "theirs", "select 1")


async def test_a_role_of_the_same_tenant_in_another_database_is_refused(address, postgres_server):
    tenant = new_tenant()
    await converge(address, tenant)

    elsewhere = await converge(address_of(postgres_server.admin_url()), tenant)

    assert isinstance(elsewhere, Blocked)
    assert address.database in elsewhere.message


DRIFTS = {
    "another password": ("alter role {login} password 'changed'", "set password of role"),
    "no login": ("alter role {login} nologin", "to log in"),
    "another search_path": ("alter role {login} set search_path to public", "pin search_path"),
    "no search_path": ("alter role {login} reset search_path", "pin search_path"),
    "no statement_timeout": ("alter role {login} reset all", "set statement_timeout"),
    "no connection limit": ("alter role {login} connection limit -1", "connections"),
    "attributes of an administrator": ("alter role {login} createrole bypassrls", "attributes of an administrator"),
    "membership in the owner": ("grant {owner} to {login}", "end the membership"),
    "an owner that logs in": ("alter role {owner} login", "forbid role"),
    "no usage": ("revoke usage on schema {schema} from {login}", "use schema"),
    "create on the schema": ("grant create on schema {schema} to {login}", "forbid role"),
    "an open schema": ("grant usage on schema {schema} to public", "to PUBLIC"),
    "an open table": ("grant select on {schema}.memories to public", "to PUBLIC"),
    "a table it cannot write": ("revoke insert on {schema}.outbox from {login}", "read and write 1 tables"),
    "no default privileges": (
        "alter default privileges for role {owner} in schema {schema} revoke all on tables from {login}",
        "future tables",
    ),
    "no extension": ("drop extension pg_trgm cascade", "create extension"),
}


@pytest.mark.parametrize(("damage", "step"), DRIFTS.values(), ids=DRIFTS.keys())
async def test_drift_is_repaired(address, damage, step):
    tenant = new_tenant()
    await converge(address, tenant)
    await run(address, damage.format(login=tenant.login_role, owner=tenant.owner_role, schema=tenant.schema))

    summaries = await converge(address, tenant)

    assert isinstance(summaries, list)
    assert any(step in summary for summary in summaries), summaries
    assert await converge(address, tenant) == []
    assert await run_as_tenant(address, tenant, "select 1 from memories union select 1")


async def test_a_new_password_takes_effect(address):
    tenant = new_tenant()
    await converge(address, tenant)
    rotated = replace(tenant, password="battery-staple")

    assert await converge(address, rotated) == [f"set password of role {tenant.login_role}"]
    assert await run_as_tenant(address, rotated, "select 1")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await run_as_tenant(address, tenant, "select 1")


async def test_concurrent_passes_over_one_tenant_do_the_work_once(address):
    tenant = new_tenant()

    passes = await asyncio.gather(*(converge(address, tenant) for _ in range(4)))

    assert sorted(bool(steps) for steps in passes) == [False, False, False, True]


async def test_an_error_leaves_nothing_half_made(address):
    tenant = new_tenant()

    with pytest.raises(RuntimeError):
        async with PostgresClient().session(address, tenant) as session:
            steps = plan(tenant, await session.observe(tenant))
            assert isinstance(steps, list)
            await session.apply(tenant, steps)
            raise RuntimeError("the power went out")

    assert await run(address, f"select from pg_namespace where nspname = '{tenant.schema}'") == []
    assert await run(address, f"select from pg_roles where rolname = '{tenant.login_role}'") == []


async def test_an_administrator_without_superuser_rights_is_enough(address):
    admin, tenant = f"admin_{uuid4().hex[:8]}", new_tenant()
    await run(address, f"create role {admin} login createrole password '{PASSWORD}'")
    await run(address, f"grant create on database {address.database} to {admin}")
    limited = replace(address, user=admin, password=PASSWORD)

    assert await converge(limited, tenant)
    assert await converge(limited, tenant) == []
    assert await run_as_tenant(address, tenant, "select 1 from memories union select 1")

    await run(address, f"alter role {tenant.login_role} password 'changed'")
    assert await converge(limited, tenant) == [f"set password of role {tenant.login_role}"]


async def test_an_administrator_without_rights_is_told_which_step_failed(address):
    nobody = f"nobody_{uuid4().hex[:8]}"
    await run(address, f"create role {nobody} login password '{PASSWORD}'")

    with pytest.raises(Rejected, match=r"create extension pg_trgm.*permission denied"):
        await converge(replace(address, user=nobody, password=PASSWORD), new_tenant())


async def test_an_extension_in_a_schema_of_its_own_is_found(address):
    tenant = new_tenant()
    await run(address, 'create schema "Ext, ensions"')
    await run(address, 'create extension pg_trgm schema "Ext, ensions"')

    await converge(address, tenant)

    assert await converge(address, tenant) == []
    assert await run_as_tenant(address, tenant, "select word_similarity('a', 'a b')")


async def test_a_changed_migration_is_refused(address):
    tenant = new_tenant()
    await converge(address, tenant)
    await run(address, f"update {tenant.schema}.schema_migrations set checksum = 'other'")

    blocked = await converge(address, tenant)

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
        await converge(replace(address, **change), new_tenant())


@pytest.mark.parametrize("text", ["plain", 'quo"ted', "it's", "back\\slash'", "Ünïcode; drop table x --", "a b"])
async def test_quoted_names_and_texts_come_back_unchanged(address, text):
    assert (await run(address, f"select {quote_literal(text)} as {quote_identifier(text)}"))[0][text] == text
    assert Literal(text).text == text
