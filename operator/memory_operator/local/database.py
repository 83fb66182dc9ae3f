"""The database of local mode: a server of one's own, or one that the user names; both look the same from above."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, cast, get_args
from urllib.parse import parse_qs, unquote, urlsplit

from memory_contracts.errors import Rejected
from memory_contracts.v1alpha1 import (
    ExternalPostgres,
    MemoryCluster,
    MemoryClusterSpec,
    MemoryNamespace,
    ObjectMeta,
    PostgresBackend,
    SecretReference,
)
from memory_operator.local.ports import LOOPBACK
from memory_operator.local.postgres_place import find_binaries
from memory_operator.local.postgres_server import ADMIN, DATABASE, PostgresServer
from memory_operator.local.processes import ProcessRecord
from memory_operator.local.state import StateDirectory
from memory_operator.providers.postgres.address import SslMode
from memory_operator.world import Administrator

ADMIN_SECRET = "postgres-admin"  # noqa: S105 - the name of a secret
DEFAULT_PORT = 5432


@dataclass(frozen=True, slots=True)
class Database:
    """A database that answers, as the reconcile wants to know it."""

    host: str
    port: int
    name: str
    ssl_mode: SslMode
    administrator: Administrator

    def cluster_for(self, namespace: MemoryNamespace) -> MemoryCluster:
        """Return the MemoryCluster that the namespace refers to, with this database as its Postgres."""
        reference = namespace.spec.cluster_ref
        external = ExternalPostgres(
            host=self.host,
            port=self.port,
            database=self.name,
            ssl_mode=self.ssl_mode,
            admin_secret_ref=SecretReference(name=ADMIN_SECRET),
        )
        return MemoryCluster(
            metadata=ObjectMeta(name=reference.name, namespace=reference.namespace or namespace.metadata.namespace),
            spec=MemoryClusterSpec(postgres=PostgresBackend(external=external)),
        )


class DatabaseHost(Protocol):
    """Keeps a database running."""

    async def ensure(self) -> Database:
        """Return the database, started if need be; raises `Unavailable` or `Rejected`."""
        ...

    @property
    def process(self) -> ProcessRecord | None:
        """The server process, when it is one's own and runs."""
        ...

    @property
    def died(self) -> bool:
        """Whether a server of one's own ran before and does not now."""
        ...

    async def close(self) -> None:
        """Stop what was started."""
        ...


class GivenDatabase:
    """A server that somebody else runs."""

    process = None
    died = False

    def __init__(self, url: str) -> None:
        self._database = parse_admin_url(url)

    async def ensure(self) -> Database:
        """Return what the address says; whether it answers is found out by the reconcile."""
        return self._database

    async def close(self) -> None:
        """Leave it alone."""


class OwnDatabase:
    """The embedded server; started again whenever it has died."""

    def __init__(self, state: StateDirectory) -> None:
        self._state = state
        self._server: PostgresServer | None = None
        # One thread for all its life: the kernel stops the server when the thread that started it ends.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="postgres")

    @property
    def process(self) -> ProcessRecord | None:
        """The postmaster while it runs."""
        return self._server.record if self._server else None

    @property
    def died(self) -> bool:
        """Whether it was started and does not run now."""
        return self._server is not None and self._server.pid is None

    async def ensure(self) -> Database:
        """Start the server unless it runs."""
        server = self._server or PostgresServer(
            self._state.postgres, 0, find_binaries(), log=self._state.log("postgres")
        )
        self._server = server
        await self._in_thread(server.start)
        return Database(LOOPBACK, server.port, DATABASE, "disable", Administrator(ADMIN, server.password))

    async def close(self) -> None:
        """Stop the server in order."""
        if self._server:
            await self._in_thread(self._server.stop)
        self._thread.shutdown()

    async def _in_thread(self, work: object) -> None:
        assert callable(work)
        await asyncio.get_running_loop().run_in_executor(self._thread, work)


def parse_admin_url(url: str) -> Database:
    """Return the database that an address like ``postgresql://admin:secret@host:5432/soma?sslmode=require`` names.

    Raises `Rejected` with what is missing.
    """
    example = "write it like postgresql://admin:secret@host:5432/database"
    try:
        parts = urlsplit(url)
        port = parts.port or DEFAULT_PORT
    except ValueError as error:
        raise Rejected(f"--postgres-url: {error}; {example}") from None
    if parts.scheme not in ("postgresql", "postgres") or not parts.hostname:
        raise Rejected(f"--postgres-url: is no address of a Postgres; {example}")
    if not parts.username or not parts.path.strip("/"):
        raise Rejected(f"--postgres-url: needs a user and a database; {example}")
    ssl_mode = parse_qs(parts.query).get("sslmode", ["prefer"])[-1]
    if ssl_mode not in get_args(SslMode):
        raise Rejected(f"--postgres-url: sslmode={ssl_mode} is unknown; one of {', '.join(get_args(SslMode))}")
    administrator = Administrator(unquote(parts.username), unquote(parts.password or ""))
    return Database(parts.hostname, port, unquote(parts.path.strip("/")), cast("SslMode", ssl_mode), administrator)
