"""One Postgres server as the reconcile sees it: passes over tenants, the sweep over all of them, facts.

One pass over a tenant is one transaction under a lock of the tenant's: concurrent passes wait for one another, and a
crash leaves either everything or nothing. It takes three round trips when nothing has to change. Only where sessions
have to end is there a commit in between: a role that may still log in would simply come back.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import asyncpg

from memory_contracts.errors import PlatformError
from memory_operator.providers.postgres.address import PostgresAddress
from memory_operator.providers.postgres.claimant import PROGRAM, Claimant
from memory_operator.providers.postgres.failures import ledger_is_missing, remembered_epoch, translated
from memory_operator.providers.postgres.ledger_schema import ensure_ledger
from memory_operator.providers.postgres.observer import Observer
from memory_operator.providers.postgres.passwords import PasswordMemory
from memory_operator.providers.postgres.plan import damage, plan
from memory_operator.providers.postgres.pool import PostgresPool, transaction
from memory_operator.providers.postgres.session import PostgresSession
from memory_operator.providers.postgres.sql import Literal, query, statement
from memory_operator.providers.postgres.tenant import DesiredTenant
from memory_operator.providers.shapes import BackendFacts, Term

if TYPE_CHECKING:
    from memory_operator.providers.postgres.pool import Connection

MAX_CONNECTIONS = 8
END_MILLISECONDS = 2000
# So many tenants are compared before other tasks get their turn.
TENANTS_AT_A_STRETCH = 25
NO_GUARD = "select"


class PostgresBackend:
    """A server and its pool, shared by all passes. Without a claimant nothing is claimed or fenced."""

    def __init__(
        self,
        address: PostgresAddress,
        claimant: Claimant | None = None,
        *,
        term: Term | None = None,
        max_connections: int = MAX_CONNECTIONS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.address = address
        self._claimant = claimant
        self._term = term
        self._pool = PostgresPool(address, max_connections, self._label)
        self._passwords = PasswordMemory(self._pool.may_log_in, clock)
        self._observer = Observer(self._passwords)
        self._announced: Claimant | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def claimant(self) -> Claimant | None:
        """In whose name it writes, in the present term."""
        if self._claimant is None or self._term is None:
            return self._claimant
        return replace(self._claimant, epoch=self._term.epoch)

    @property
    def knows_ledger(self) -> bool:
        """Whether the ledger was there when it was last used; False before that."""
        return self._announced is not None

    @asynccontextmanager
    async def session(self, desired: DesiredTenant, *, read_only: bool = False) -> AsyncIterator[PostgresSession]:
        """Open the one transaction in which the tenant is observed and changed; commits unless an error leaves it.

        Read-only, the server itself refuses every change: for a dry run.
        """
        claimant = self.claimant
        guarded = claimant is not None and not read_only
        opening = statement("begin_read_only" if read_only else "begin", **({} if read_only else _lock(desired.schema)))
        guard = claimant.guard(desired.tenant, desired.uid) if claimant else NO_GUARD
        async with self.connection(with_ledger=guarded) as connection, transaction(connection, opening):
            yield PostgresSession(connection, self._observer, self._passwords, opening, guard)

    async def drifted(self, tenants: Sequence[DesiredTenant]) -> set[str]:
        """Return which of `tenants` are not as they should be, by one query for all; changes nothing."""
        async with self.connection() as connection:
            rows = await self._observer.rows(connection, tenants, with_structure=True)
        found: set[str] = set()
        for number, (desired, row) in enumerate(zip(tenants, rows, strict=True)):
            if number % TENANTS_AT_A_STRETCH == 0:
                await asyncio.sleep(0)
            with translated(self.address):
                observed = await self._observer.tenant(desired, row)
                if plan(desired, observed) or damage(desired, observed):
                    found.add(desired.tenant)
        return found

    async def facts(self) -> BackendFacts:
        """Return what the server says about itself; raises as every first contact does."""
        async with self.connection() as connection:
            row = await connection.fetchrow(query("facts"))
            assert row is not None
            number = await connection.fetchval(query("identity")) if row["identified"] else None
        server = number or f"{self.address.host}:{self.address.port}"
        return BackendFacts(row["version"], f"{server}/{row['database']}", _features(row))

    @asynccontextmanager
    async def connection(self, *, with_ledger: bool = False) -> AsyncIterator[Connection]:
        """Lend a connection of the pool; driver errors of the block become platform errors."""
        with translated(self.address):
            async with self._pool.lend() as connection:
                try:
                    if with_ledger and self.claimant != self._announced:
                        await self._announce(connection)
                    yield connection
                except asyncpg.PostgresError as error:
                    self._look_again(error)
                    raise

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.close()

    async def _announce(self, connection: Connection) -> None:
        """On first contact; apart from any pass, so that nobody has to wait for the rest of it."""
        await ensure_ledger(connection)
        try:
            await self._fence(connection)
        except asyncpg.PostgresError as error:
            if not await self._outgrew(error):
                raise
            await self._fence(connection)

    async def _fence(self, connection: Connection) -> None:
        if claimant := self.claimant:
            if claimant.epoch:
                await connection.fetch(query("end_former_leaders"), claimant.identity, claimant.epoch, END_MILLISECONDS)
            await connection.execute(claimant.fence())
        self._announced = claimant

    def _label(self) -> str:
        claimant = self.claimant
        return claimant.label if claimant else PROGRAM

    async def _outgrew(self, error: asyncpg.PostgresError) -> bool:
        """Return whether this process leads all the same, now with an epoch that the ledger takes.

        So it is when somebody has deleted the Lease, whose epoch began anew while the ledger remembers a greater one.
        """
        if self._term is None or not (found := remembered_epoch(error)):
            return False
        with contextlib.suppress(PlatformError):
            return await self._term.raise_epoch(found) > found
        return False

    def _look_again(self, error: asyncpg.PostgresError) -> None:
        """What was found out about the server may have changed under us."""
        if ledger_is_missing(error):
            self._announced = None
        if isinstance(error, asyncpg.InsufficientPrivilegeError):
            self._observer.look_again()


def _lock(schema: str) -> dict[str, Literal]:
    return {"lock": Literal(f"memory operator {schema}")}


def _features(row: Any) -> tuple[str, ...]:
    possible = {
        "superuser": row["superuser"],
        "readable-verifiers": row["verifiers"],
        "pg_trgm": row["trigrams"],
        "read-only": row["read_only"],
    }
    return tuple(name for name, present in possible.items() if present)
