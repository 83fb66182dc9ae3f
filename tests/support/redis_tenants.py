"""Tenants of a Redis server in tests: passes over them as the reconcile makes them, and looks at the world."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from uuid import uuid4

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis_server import RedisServer

from memory_contracts.errors import PlatformError
from memory_contracts.naming import TenantNames
from memory_operator.providers.redis.client import RedisBackend
from memory_operator.providers.redis.connection import RedisConnection
from memory_operator.providers.redis.plan import DesiredUser, plan, plan_deletion
from memory_operator.providers.shapes import Blocked

BACKEND = "redis/here"


class MemoryLedger:
    """The claims of one Kubernetes cluster, kept in memory; fills the port `Ledger` for all of its tenants."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    async def claimed(self, backend: str) -> frozenset[str]:
        return frozenset(self.names)

    async def claim(self, backend: str, objects: Collection[str]) -> None:
        assert backend == BACKEND
        self.names |= set(objects)

    async def release(self, backend: str, objects: Collection[str]) -> None:
        self.names -= set(objects)


class Operator:
    """One backend and one ledger, and passes over tenants as the reconcile makes them."""

    def __init__(self, connection: RedisConnection, ledger: MemoryLedger | None = None) -> None:
        self.backend = RedisBackend(connection)
        self.ledger = ledger or MemoryLedger()

    async def converge(self, desired: DesiredUser) -> list[str] | Blocked:
        steps = plan(desired, await self.backend.observe(desired, await self.ledger.claimed(BACKEND)))
        if isinstance(steps, Blocked):
            return steps
        await self.backend.apply(desired, steps, self.ledger, BACKEND)
        return [step.summary for step in steps]

    async def delete(self, desired: DesiredUser) -> list[str]:
        steps = plan_deletion(desired, await self.backend.observe(desired, await self.ledger.claimed(BACKEND)))
        await self.backend.apply(desired, steps, self.ledger, BACKEND)
        return [step.summary for step in steps]


def new_tenant(name: str = "research", **changes: object) -> DesiredUser:
    names = TenantNames("team-a", name)
    desired = DesiredUser(names.qualified, str(uuid4()), names.redis_user, names.redis_prefix, f"password-of-{name}")
    return replace(desired, **changes)  # type: ignore[arg-type]


@asynccontextmanager
async def logged_in(server: RedisServer, user: str, password: str) -> AsyncIterator[Redis]:
    retry = Retry(NoBackoff(), 0)
    async with Redis(port=server.port, username=user, password=password, retry=retry, decode_responses=True) as client:
        yield client


def as_admin(server: RedisServer) -> AbstractAsyncContextManager[Redis]:
    return logged_in(server, server.connection.username, server.connection.password)


def as_tenant(server: RedisServer, tenant: DesiredUser) -> AbstractAsyncContextManager[Redis]:
    return logged_in(server, tenant.user, tenant.password)


async def admin(server: RedisServer, *command: object) -> object:
    async with as_admin(server) as client:
        return await client.execute_command(*command)


async def users(server: RedisServer) -> set[str]:
    async with as_admin(server) as client:
        return set(await client.acl_users()) - {"admin", "default"}


async def keys(server: RedisServer) -> set[str]:
    async with as_admin(server) as client:
        return set(await client.keys())


async def calls(server: RedisServer, command: str) -> int:
    async with as_admin(server) as client:
        statistics = await client.info("commandstats")
        return int(statistics.get(f"cmdstat_{command}", {"calls": 0})["calls"])


async def refusal(connection: RedisConnection) -> PlatformError:
    """The error that a pass ends with."""
    operator = Operator(connection)
    try:
        with pytest.raises(PlatformError) as error:
            await operator.converge(new_tenant())
        with pytest.raises(PlatformError):
            await operator.backend.facts()
        assert connection.password not in repr(error.value)
        return error.value
    finally:
        await operator.backend.close()
