"""Connections to one server: bounded, with a timeout at every edge, and back by themselves when the server is."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg

from memory_operator.providers.postgres.address import PostgresAddress
from memory_operator.providers.postgres.failures import DRIVER_ERRORS

CONNECT_SECONDS = 5.0
COMMAND_SECONDS = 10.0
# A migration may rewrite or index a large table, a drop waits for locks and deletes files (at the commit).
SLOW_SECONDS = 600.0
COMMIT_SECONDS = 60.0
# Passes wait this long for a free connection; behind a dead server they must not pile up for longer.
LEND_SECONDS = 30.0
IDLE_SECONDS = 30.0
LOGINS_AT_ONCE = 2

_SETTINGS = {
    # Nothing that a tenant could put into another schema is ever called by the administrator.
    "search_path": "pg_catalog",
    # For the large query of the observer planning takes three times as long as running, and compiling even longer.
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
    # Such a plan may be made while the catalogue is small, and used when it holds thousands of tenants.
    "enable_seqscan": "off",
    "lock_timeout": "8s",
    # Who is paused in the middle of a transaction loses it, and nobody has to wait for its locks.
    "idle_in_transaction_session_timeout": "10s",
}

if TYPE_CHECKING:
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
    # What the pool lends behaves as a connection.
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]


class PostgresPool:
    """At most `size` connections of the administrator; none while nobody asks.

    Sessions bear what `label` says when they begin, as their ``application_name``.
    """

    def __init__(self, address: PostgresAddress, size: int, label: Callable[[], str]) -> None:
        self.address = address
        self._size = size
        self._label = label
        self._pool: Pool | None = None
        self._opening = asyncio.Lock()
        self._logins = asyncio.Semaphore(LOGINS_AT_ONCE)
        self._encryption: ssl.SSLContext | str | None = None

    @contextlib.asynccontextmanager
    async def lend(self) -> AsyncIterator[Connection]:
        """Lend a connection; one whose answer did not come is thrown away, since a frozen server confirms nothing."""
        pool = self._pool or await self._open()
        connection: Any = await pool.acquire(timeout=LEND_SECONDS)
        try:
            yield connection
        except (TimeoutError, asyncio.CancelledError, asyncpg.InternalClientError):
            connection.terminate()
            raise
        finally:
            await pool.release(connection, timeout=CONNECT_SECONDS)

    async def may_log_in(self, role: str, password: str) -> bool:
        """Try it, with a connection of its own."""
        try:
            async with self._logins, asyncio.timeout(CONNECT_SECONDS):
                connection = await asyncpg.connect(**await self._arguments(role, password))
        except (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError):
            return False
        except (asyncpg.InsufficientPrivilegeError, asyncpg.TooManyConnectionsError):
            return True  # the password comes first; only then CONNECT, a step of its own, and the limit are looked at
        connection.terminate()
        return True

    async def close(self) -> None:
        """Close the connections; those in use get a moment."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            await asyncio.wait_for(pool.close(), CONNECT_SECONDS)
        except DRIVER_ERRORS:
            pool.terminate()

    async def _open(self) -> Pool:
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    connect=self._connect,
                    min_size=0,
                    max_size=self._size,
                    max_inactive_connection_lifetime=IDLE_SECONDS,
                    reset=_keep_session,
                    command_timeout=COMMAND_SECONDS,
                )
            return self._pool

    async def _connect(self, *_: object, **options: Any) -> Any:
        arguments = await self._arguments(self.address.user, self.address.password)
        return await asyncpg.connect(**{**options, **arguments})

    async def _arguments(self, user: str, password: str) -> dict[str, Any]:
        address = self.address
        if self._encryption is None:
            self._encryption = await asyncio.to_thread(address.encryption)  # it may read the system's authorities
        return {
            "host": address.host,
            "port": address.port,
            "database": address.database,
            "user": user,
            "password": password,
            "ssl": self._encryption,
            "timeout": CONNECT_SECONDS,
            "server_settings": {"application_name": self._label(), **_SETTINGS},
        }


@contextlib.asynccontextmanager
async def transaction(connection: Connection, opening: str) -> AsyncIterator[None]:
    """Run the block in the transaction that `opening` begins: one round trip, also when it takes locks."""
    try:
        await connection.execute(opening)
        yield
    except (TimeoutError, asyncio.CancelledError):
        raise  # the connection is thrown away, and the server rolls back
    except BaseException:
        with contextlib.suppress(*DRIVER_ERRORS):
            await connection.execute("rollback")
        raise
    await connection.execute("commit", timeout=COMMIT_SECONDS)


async def _keep_session(_connection: object) -> None:
    """Skip the driver's RESET ALL, a round trip each time: a pass leaves no session state behind."""
