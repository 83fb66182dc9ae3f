"""The pool of connections to the namespace's schema: bounded, with a timeout at every edge, and back by itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg

from memory_contracts.database.migrations import all_migrations, applied_migrations, code_label, due, migrate
from memory_contracts.errors import PlatformError, ReadOnly, Unavailable
from memory_contracts.settings import RuntimeSettings
from memory_runtime.adapters.postgres.failures import translate
from memory_runtime.adapters.postgres.tls import Encryption

if TYPE_CHECKING:
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]

_TRIGRAM_SCHEMA = (
    "select n.nspname from pg_extension e join pg_namespace n on n.oid = e.extnamespace where e.extname = 'pg_trgm'"
)
# What the role of a namespace in state ReadOnly is left with. A standby or a database under maintenance refuses writes
# otherwise (25006), and takes them again by itself.
_MAY_ONLY_READ = "select has_table_privilege('memories', 'SELECT') and not has_table_privilege('memories', 'INSERT')"
# Errors of the driver and of the socket beneath it; anything else is a defect of ours and must stay visible.
_DRIVER_ERRORS = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    # "another operation is in progress": the server said goodbye on an idle connection, and the pool lent it out before
    # the driver saw it close. Nothing was sent.
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
    EOFError,
    UnicodeError,
)


class Database:
    """Owns the pool. `open` and every use raise `Unavailable` while the server is away; nothing needs a restart."""

    def __init__(self, settings: RuntimeSettings) -> None:
        self._settings = settings
        self._pool: Pool | None = None
        self._search_pool: Pool | None = None
        self._trigram_schema = "public"
        self._encryption = Encryption(settings)

    @property
    def schema(self) -> str:
        """The schema that holds the namespace's tables."""
        return self._settings.postgres_schema

    async def open(self) -> None:
        """Connect, bring the schema up to date (or check that it is), fill the pools."""
        await self.close()  # pools of an earlier attempt that went no further
        searching = max(1, self._settings.postgres_pool_size // 3)
        with translated():
            async with asyncio.timeout(self._settings.postgres_timeout * 4):
                await self._prepare()
                self._pool = await self._fill(self._settings.postgres_pool_size - searching)
                # Keyword search has connections of its own, so that it can never hold up a write; and a planner that
                # takes the text indexes even while the statistics of a young table are missing.
                self._search_pool = await self._fill(searching, enable_indexscan="off")

    async def close(self) -> None:
        """Close the connections; waits at most the database timeout for those in use."""
        pools = [pool for pool in (self._pool, self._search_pool) if pool is not None]
        self._pool = self._search_pool = None
        for pool in pools:
            try:
                await asyncio.wait_for(pool.close(), self._settings.postgres_timeout)
            except _DRIVER_ERRORS:
                pool.terminate()

    def connection(self) -> AbstractAsyncContextManager[Connection]:
        """Lend a connection; all that happens inside must be done within the database timeout."""
        return self._lend(self._pool)

    def search_connection(self) -> AbstractAsyncContextManager[Connection]:
        """Lend a connection for text search."""
        return self._lend(self._search_pool)

    @contextlib.asynccontextmanager
    async def _lend(self, pool: Pool | None) -> AsyncIterator[Connection]:
        """Lend a connection of `pool`.

        One whose answer did not come is thrown away: waiting for a frozen server to confirm a cancellation would block
        the pool.
        """
        if pool is None:
            raise Unavailable("the database is not connected yet")
        with translated():
            async with asyncio.timeout(self._settings.postgres_timeout):
                connection: Any = await pool.acquire()
                try:
                    async with _read_only_told(connection):
                        yield connection
                except (TimeoutError, asyncio.CancelledError, asyncpg.InternalClientError):
                    connection.terminate()
                    raise
                finally:
                    await pool.release(connection)

    async def _fill(self, size: int, **server_settings: str) -> Pool:
        arguments = await self._arguments()
        arguments["server_settings"] |= server_settings
        return await asyncpg.create_pool(**arguments, min_size=0, max_size=size, reset=_keep_session)

    async def ping(self) -> None:
        """Return if the database answers a query."""
        async with self.connection() as connection:
            await connection.fetchval("select 1")

    async def listen(self) -> Connection:
        """Return a connection of its own, outside the pool, for notifications; the caller closes it."""
        with translated():
            return await asyncpg.connect(**await self._arguments())

    async def _prepare(self) -> None:
        connection = await asyncpg.connect(**await self._arguments())
        try:
            if self._settings.migrate_on_start and not self._settings.read_only:
                await self._migrate(connection)
            else:
                await self._check(connection)
            self._trigram_schema = await connection.fetchval(_TRIGRAM_SCHEMA) or "public"
        finally:
            connection.terminate()

    async def _migrate(self, connection: Connection) -> None:
        async with connection.transaction():
            # Concurrent "create … if not exists" can still collide on the catalogue; the lock keeps starters apart.
            await connection.execute("select pg_advisory_xact_lock(hashtextextended('memory bootstrap', 0))")
            await connection.execute(f"create schema if not exists {_quoted(self.schema)}")
            await connection.execute("create extension if not exists pg_trgm with schema public")
        await migrate(connection)

    async def _check(self, connection: Connection) -> None:
        missing = due(await applied_migrations(connection), all_migrations(), old_code_gone=False)
        if missing:
            raise Unavailable(f"the schema lacks {missing[0]}; the operator applies it", retry_after=2.0)

    async def _arguments(self) -> dict[str, Any]:
        settings = self._settings
        seconds = settings.postgres_timeout
        return await self._encryption.arguments() | {
            "timeout": seconds,
            "command_timeout": seconds,
            "server_settings": {
                "application_name": f"{code_label()} {settings.namespace}"[:63],
                "search_path": f"{_quoted(self.schema)}, {_quoted(self._trigram_schema)}",
                "statement_timeout": str(int(seconds * 1000)),
                "idle_in_transaction_session_timeout": str(int(seconds * 2000)),
                # The planner meets each query with new parameters; JIT costs more than these queries take.
                "jit": "off",
                # Every query has its index; the planner thinks text comparisons cheap and would read whole tables.
                "enable_seqscan": "off",
            },
        }


@contextlib.asynccontextmanager
async def committed(connection: Connection) -> AsyncIterator[None]:
    """Commit what the block did, or roll it back.

    After a timeout nothing is rolled back, for a frozen server would not confirm it: `_lend` drops the connection.
    """
    begun = connection.transaction()
    await begun.start()
    try:
        yield
    except (TimeoutError, asyncio.CancelledError):
        raise
    except BaseException:
        await begun.rollback()
        raise
    await begun.commit()


@contextlib.asynccontextmanager
async def _read_only_told(connection: Connection) -> AsyncIterator[None]:
    """Raise `ReadOnly` for what a role that may only read is refused.

    The state of the namespace reaches the role seconds before it reaches the settings of this process.
    """
    try:
        yield
    except asyncpg.InsufficientPrivilegeError as error:
        if await connection.fetchval(_MAY_ONLY_READ):
            raise ReadOnly from error
        raise


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn driver errors of the block into platform errors."""
    try:
        yield
    except PlatformError:
        raise
    except _DRIVER_ERRORS as error:
        raise translate(error) from error


def _quoted(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


async def _keep_session(_connection: object) -> None:
    """Skip the driver's RESET ALL, a round trip for each request: our queries leave no session state behind."""
