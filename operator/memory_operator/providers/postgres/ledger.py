"""Who holds which tenant, and which objects that can carry no mark: kept in schema ``memory_operator`` of the database.

Every change is fenced: a process that is not the leader any more gets `Conflict`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from memory_contracts.errors import Conflict
from memory_operator.providers.postgres.claimant import Claimant
from memory_operator.providers.postgres.claims import TenantClaim, outcome
from memory_operator.providers.postgres.client import PostgresBackend
from memory_operator.providers.postgres.ledger_schema import ledger_exists
from memory_operator.providers.postgres.pool import transaction
from memory_operator.providers.postgres.sql import query
from memory_operator.providers.shapes import Blocked

if TYPE_CHECKING:
    from memory_operator.providers.postgres.pool import Connection

FILE = "ledger.sql"


class PostgresLedger:
    """The claims of one Kubernetes cluster, among those of all that use the database."""

    def __init__(self, backend: PostgresBackend) -> None:
        self._backend = backend

    async def peek_tenant(self, tenant: str, uid: str) -> TenantClaim | Blocked | None:
        """Return what `claim_tenant` would, without changing anything; None when the tenant would be new."""
        async with self.reading() as connection:
            found = await _holder(connection, tenant) if connection else None
        if found is None:
            return None
        claimant = self._claimant
        return found.taken_over_by(uid) if found.open_to(uid, claimant) else outcome(found, uid, claimant.identity)

    async def claim_tenant(self, tenant: str, uid: str) -> TenantClaim | Blocked:
        """Claim the tenant for an object, or return who has it. One round trip when it is ours already."""
        claimant, identity = self._claimant, self._claimant.identity
        async with self._backend.connection(with_ledger=True) as connection:
            found = await _holder(connection, tenant)
            if found is None or found.open_to(uid, claimant):
                async with transaction(connection, self._opening()):
                    asked = tenant, uid, identity, claimant.unique_names
                    row = await connection.fetchrow(query("claim", FILE), *asked)
                    found = _claim(row) if row else await _holder(connection, tenant)
        if found is None:
            raise Conflict(f"the claim of tenant {tenant} was given up while it was taken")
        return outcome(found, uid, identity)

    async def release_tenant(self, tenant: str, uid: str) -> None:
        """Give the tenant up and leave its data to a successor; nothing happens when this object does not hold it."""
        await self._change("release_tenant", tenant, uid)

    async def forget_tenant(self, tenant: str, uid: str) -> None:
        """Drop the claim, those of its objects too: the last act of a deletion, when nothing is left anywhere."""
        await self._change("forget_tenant", tenant, uid)

    async def tenants(self) -> list[TenantClaim]:
        """Return all claims, of every Kubernetes cluster, the oldest first."""
        async with self.reading() as connection:
            rows = await connection.fetch(query("tenants", FILE)) if connection else []
        return [_claim(row) for row in rows]

    def of(self, tenant: str, uid: str) -> ObjectLedger:
        """Return the part of one tenant, for backends whose objects carry no mark."""
        return ObjectLedger(self, tenant, uid)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Connection | None]:
        """Lend a connection; None where there is no ledger, so that who only looks leaves nothing behind."""
        async with self._backend.connection() as connection:
            there = self._backend.knows_ledger or await ledger_exists(connection)
            yield connection if there else None

    @asynccontextmanager
    async def changing(self, holder: tuple[str, str] | None = None) -> AsyncIterator[Connection]:
        """Open a transaction of this leader; `holder` is the tenant and the uid that has to hold it."""
        opening = self._opening(holder)
        async with self._backend.connection(with_ledger=True) as connection, transaction(connection, opening):
            yield connection

    async def _change(self, name: str, tenant: str, uid: str) -> None:
        async with self.changing() as connection:
            await connection.execute(query(name, FILE), tenant, uid, self._claimant.identity)

    def _opening(self, holder: tuple[str, str] | None = None) -> str:
        guard = self._claimant.guard(*holder) if holder else self._claimant.fence()
        return f"begin;\n{guard}"

    @property
    def _claimant(self) -> Claimant:
        assert self._backend.claimant, "a ledger is kept in somebody's name: give the backend a claimant"
        return self._backend.claimant


class ObjectLedger:
    """What one tenant has claimed; fills the port `Ledger` of the providers."""

    def __init__(self, ledger: PostgresLedger, tenant: str, uid: str) -> None:
        self._ledger = ledger
        self._holder = (tenant, uid)

    async def claimed(self, backend: str) -> frozenset[str]:
        """Return the names that this tenant has claimed in `backend`; none when another object holds it."""
        async with self._ledger.reading() as connection:
            rows = await connection.fetch(query("claimed_objects", FILE), *self._holder, backend) if connection else []
        return frozenset(row["object"] for row in rows)

    async def claim(self, backend: str, objects: Collection[str]) -> None:
        """Claim the names; raises `Conflict` when another tenant has one of them, or this one is not ours any more."""
        tenant, names = self._holder[0], sorted(objects)
        async with self._ledger.changing(self._holder) as connection:
            await connection.execute(query("claim_objects", FILE), tenant, backend, names)
            if taken := await connection.fetchrow(query("foreign_objects", FILE), tenant, backend, names):
                raise Conflict(f"{taken['object']} in {backend} is claimed by tenant {taken['tenant']}")

    async def release(self, backend: str, objects: Collection[str]) -> None:
        """Give the names up, after the objects are gone."""
        async with self._ledger.changing(self._holder) as connection:
            await connection.execute(query("release_objects", FILE), self._holder[0], backend, sorted(objects))


async def _holder(connection: Connection, tenant: str) -> TenantClaim | None:
    row = await connection.fetchrow(query("holder", FILE), tenant)
    return _claim(row) if row else None


def _claim(row: Any) -> TenantClaim:
    return TenantClaim(**dict(row) | {"predecessors": frozenset(row["predecessors"])})
