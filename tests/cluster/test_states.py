"""What `spec.state` lets a tenant do with the logins of its own Secret, and what the processes are told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import redis
from faults import DELETE
from holdings import ROW
from kube import eventually

from memory_contracts.naming import TenantNames
from memory_operator.specs.pod import CONFIG_HASH
from memory_operator.specs.secret import REDIS_PASSWORD


class Logins:
    """The tenant's two logins, with the passwords that its Secret has now."""

    def __init__(self, tenant: Any, backends: Any) -> None:
        self._tenant, self._address = tenant, backends.redis.connection
        self.names = TenantNames(tenant.namespace, tenant.name)
        self._runner = asyncio.Runner()
        self.open = self._runner.run(asyncpg.connect(self._secret["POSTGRES_URL"], timeout=10))

    @property
    def _secret(self) -> dict[str, str]:
        return self._tenant.kube.secret(self._tenant.namespace, f"{self._tenant.name}-credentials")

    def may(self) -> dict[str, set[str]]:
        """Return what each login may do, on a connection made for that."""
        return {"postgres": self._runner.run(self._in_postgres()), "redis": self._in_redis()}

    def may_on_open_session(self) -> set[str]:
        """Return what may be done on the session that has been there from the beginning; fails if it was ended."""
        return self._runner.run(self._on(self.open))

    def close(self) -> None:
        self._runner.run(self.open.close())
        self._runner.close()

    async def _in_postgres(self) -> set[str]:
        try:
            connection = await asyncpg.connect(self._secret["POSTGRES_URL"], timeout=10)
        except asyncpg.InvalidAuthorizationSpecificationError:
            return set()
        try:
            return {"log in"} | await self._on(connection)
        finally:
            await connection.close()

    async def _on(self, connection: Any) -> set[str]:
        memories, found = f"{self.names.schema}.memories", set()
        changes = {
            "read": f"select count(*) from {memories}",
            "insert": ROW.format(schema=self.names.schema, id=uuid4()),
            "update": f"update {memories} set importance = 2",
            "delete": f"delete from {memories}",
        }
        for name, statement in changes.items():
            transaction = connection.transaction()
            await transaction.start()
            try:
                await connection.execute(statement)
                found.add(name)
            except asyncpg.InsufficientPrivilegeError:
                pass
            finally:
                await transaction.rollback()
        return found

    def _in_redis(self) -> set[str]:
        user, key, found = self.names.redis_user, f"{self.names.redis_prefix}key", set()
        login = {"username": user, "password": self._secret[REDIS_PASSWORD]}
        with redis.Redis(self._address.host, self._address.port, protocol=2, **login) as client:
            for name, work in {"read": lambda: client.get(key), "write": lambda: client.set(key, "value")}.items():
                try:
                    work()
                    found |= {"log in", name}
                except redis.exceptions.NoPermissionError:
                    found.add("log in")
                except redis.exceptions.AuthenticationError:
                    return set()
        return found


ALL = {"postgres": {"log in", "read", "insert", "update", "delete"}, "redis": {"log in", "read", "write"}}
NOTHING: dict[str, set[str]] = {"postgres": set(), "redis": set()}


@pytest.fixture
def own(tenant) -> Any:
    """A tenant that leaves nothing behind, Ready."""
    tenant = replace(tenant, spec={"deletion": DELETE})
    tenant.apply()
    tenant.wait()
    tenant.wait("Synced")
    yield tenant
    tenant.delete()
    tenant.wait_gone()


@pytest.fixture
def logins(own, backends) -> Iterator[Logins]:
    found = Logins(own, backends)
    yield found
    found.close()


def go(tenant: Any, state: str) -> None:
    """Set the state, and wait until everything is as it says."""
    tenant.edit(state=state).raise_for_status()
    tenant.wait("Synced")


def told(tenant: Any) -> str | None:
    """What the processes are told: that they are to refuse what would be stored."""
    found: str | None = tenant.child("ConfigMap")["data"].get("SOMA_READ_ONLY")
    return found


def config_hash(tenant: Any) -> str:
    return str(tenant.child("Deployment")["spec"]["template"]["metadata"]["annotations"][CONFIG_HASH])


def test_a_read_only_tenant_recalls_and_stores_nothing_until_it_is_active_again(own, logins):
    before = config_hash(own)
    assert logins.may() == ALL
    assert told(own) is None

    go(own, "ReadOnly")

    assert logins.may() == {"postgres": {"log in", "read"}, "redis": {"log in", "read"}}
    assert logins.may_on_open_session() == {"read"}
    assert told(own) == "true"
    assert config_hash(own) != before
    assert own.wait("APIAvailable")["reason"] == "ReadOnly"
    assert "nothing is stored" in own.wait("Ready")["message"]
    assert own.child("Deployment")["spec"]["replicas"] == 1

    go(own, "Active")

    assert logins.may() == ALL
    assert logins.may_on_open_session() == ALL["postgres"] - {"log in"}
    assert told(own) is None
    assert config_hash(own) == before
    assert own.wait("APIAvailable")["reason"] == "Available"


def test_nobody_logs_in_to_a_fenced_tenant_and_its_sessions_are_ended(own, logins):
    go(own, "Fenced")

    assert own.wait("Ready", "False")["reason"] == "Fenced"
    assert logins.may() == NOTHING
    eventually(logins.open.is_closed, 10, lambda: "the session goes on")

    go(own, "Active")

    assert logins.may() == ALL


def test_a_hibernated_tenant_may_do_what_an_active_one_may(own, logins):
    go(own, "Hibernated")

    assert own.wait("Ready", "False")["reason"] == "Hibernated"
    assert own.child("Deployment")["spec"]["replicas"] == 0
    assert logins.may() == ALL
