"""The database of local mode: a server of one's own, or one that the user names; both look the same from above."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from pydantic import ValidationError

from memory_contracts.api.backends import ExternalPostgres, PostgresBackend, PostgresTls
from memory_contracts.api.base import ObjectMeta, SecretReference
from memory_contracts.errors import Rejected
from memory_contracts.v1alpha1 import MemoryCluster, MemoryClusterSpec, MemoryNamespace
from memory_operator.local.ports import LOOPBACK
from memory_operator.local.postgres_place import find_binaries
from memory_operator.local.postgres_server import ADMIN, DATABASE, PostgresServer
from memory_operator.local.processes import ProcessRecord
from memory_operator.local.secrets import ADMIN_SECRET, Administrator
from memory_operator.local.state import StateDirectory

DEFAULT_PORT = 5432
DEFAULT_TLS_MODE = "prefer"  # libpq's
EXAMPLE = "write it like postgresql://admin:secret@host:5432/database"


@dataclass(frozen=True, slots=True)
class Database:
    """A database and who may administer it."""

    server: ExternalPostgres
    administrator: Administrator

    def cluster_for(self, namespace: MemoryNamespace) -> MemoryCluster:
        """Return the MemoryCluster that the namespace refers to, with this database as its Postgres."""
        reference = namespace.spec.cluster_ref
        return MemoryCluster(
            metadata=ObjectMeta(name=reference.name, namespace=reference.namespace or namespace.metadata.namespace),
            spec=MemoryClusterSpec(postgres=PostgresBackend(external=self.server)),
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
        return Database(_server(LOOPBACK, server.port, DATABASE, "disable"), Administrator(ADMIN, server.password))

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

    Raises `Rejected` with what is missing, or what would not be honoured.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or DEFAULT_PORT
    except ValueError as error:
        raise _refused(f"{error}; {EXAMPLE}") from None
    if parts.scheme not in ("postgresql", "postgres") or not parts.hostname:
        raise _refused(f"is no address of a Postgres; {EXAMPLE}")
    if not parts.username or not parts.password or not parts.path.strip("/"):
        raise _refused(f"needs a user, a password and a database; {EXAMPLE}")
    administrator = Administrator(unquote(parts.username), unquote(parts.password))
    database = unquote(parts.path.strip("/"))
    return Database(_server(parts.hostname, port, database, _tls_mode(parts)), administrator)


def _tls_mode(parts: SplitResult) -> str:
    parameters = dict(parse_qsl(parts.query, keep_blank_values=True))
    mode = parameters.pop("sslmode", DEFAULT_TLS_MODE)
    for name in parameters:
        hint = "; SSL_CERT_FILE names further authorities to trust" if name == "sslrootcert" else ""
        raise _refused(f"parameter {name} is not read, only sslmode is; remove it{hint}")
    return mode


def _server(host: str, port: int, database: str, tls_mode: Any) -> ExternalPostgres:
    try:
        return ExternalPostgres(
            host=host,
            port=port,
            database=database,
            tls=PostgresTls(mode=tls_mode),
            admin_secret_ref=SecretReference(name=ADMIN_SECRET),
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = "sslmode" if first["loc"] == ("mode",) else first["loc"][-1]
        raise _refused(f"{field}: {first['msg'].replace('Input should', 'must')}, not {first['input']!r}") from None


def _refused(why: str) -> Rejected:
    return Rejected(f"--postgres-url: {why}")
