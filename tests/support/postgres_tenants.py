"""Tenants on a real Postgres: passes over them, and what an administrator or the tenant itself sees."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg

from memory_contracts.naming import TenantNames
from memory_operator.providers.postgres.address import PostgresAddress
from memory_operator.providers.postgres.client import PostgresBackend
from memory_operator.providers.postgres.deletion import plan_deletion
from memory_operator.providers.postgres.plan import damage, plan
from memory_operator.providers.postgres.tenant import DesiredTenant, ObservedTenant, desired_tenant
from memory_operator.providers.shapes import Blocked

PASSWORD = "correct-horse"


def address_of(url: str) -> PostgresAddress:
    parts = urlsplit(url)
    assert parts.hostname and parts.port and parts.username and parts.password
    return PostgresAddress(
        parts.hostname, parts.port, parts.path.lstrip("/"), "disable", parts.username, parts.password
    )


def new_names(name: str = "research") -> TenantNames:
    """Roles belong to the whole server, so each test takes a namespace of its own."""
    return TenantNames(f"team-{uuid4().hex[:8]}", name)


def new_tenant(name: str = "research", **more: Any) -> DesiredTenant:
    return desired_tenant(new_names(name), {"a": PASSWORD}, 1, **more)


async def converge(backend: PostgresBackend, desired: DesiredTenant, *, is_new: bool = False) -> list[str] | Blocked:
    """One pass, as the reconcile makes it; returns the summaries of the steps."""
    async with backend.session(desired) as session:
        observed = await session.observe(desired, is_new=is_new)
        steps = plan(desired, observed)
        if isinstance(steps, Blocked):
            return steps
        await session.apply(desired, steps)
        return damage(desired, observed) or [step.summary for step in steps]


async def delete(backend: PostgresBackend, desired: DesiredTenant, *, drop: bool = True) -> list[str] | Blocked:
    """One pass of a deletion."""
    async with backend.session(desired) as session:
        steps = plan_deletion(desired, await session.observe(desired, for_deletion=True), drop=drop)
        if isinstance(steps, Blocked):
            return steps
        await session.apply(desired, steps)
        return [step.summary for step in steps]


async def observe(backend: PostgresBackend, desired: DesiredTenant) -> ObservedTenant:
    async with backend.session(desired, read_only=True) as session:
        return await session.observe(desired)


async def connect(address: PostgresAddress, user: str, password: str | None) -> Any:
    return await asyncpg.connect(
        host=address.host, port=address.port, database=address.database, user=user, password=password
    )


async def run_as(address: PostgresAddress, user: str, password: str | None, *statements: str) -> list[Any]:
    """Run statements one by one and return the rows of the last."""
    connection = await connect(address, user, password)
    try:
        rows: list[Any] = []
        for statement in statements:
            rows = await connection.fetch(statement)
        return rows
    finally:
        await connection.close()


async def run(address: PostgresAddress, *statements: str) -> list[Any]:
    return await run_as(address, address.user, address.password, *statements)


async def run_as_tenant(address: PostgresAddress, tenant: DesiredTenant, *statements: str) -> list[Any]:
    return await run_as(address, tenant.active.role, tenant.active.password, *statements)


async def role_maker(address: PostgresAddress) -> PostgresAddress:
    """Make an administrator who is no superuser: it may create roles, and schemas in this database."""
    admin = f"admin_{uuid4().hex[:8]}"
    await run(address, f"create role {admin} login createrole password '{PASSWORD}'")
    await run(address, f"grant create on database {address.database} to {admin}")
    return replace(address, user=admin, password=PASSWORD)


async def roles_of(address: PostgresAddress, tenant: DesiredTenant) -> set[str]:
    found = await run(address, f"select rolname from pg_roles where rolname in ({_listed(tenant.roles)})")
    return {row["rolname"] for row in found}


async def schema_exists(address: PostgresAddress, tenant: DesiredTenant) -> bool:
    return bool(await run(address, f"select from pg_namespace where nspname = '{tenant.schema}'"))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
