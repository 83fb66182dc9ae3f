"""A real Postgres on this machine that pods of the node can reach."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
from controlplane.layout import LOOPBACK, NODE_ADDRESS
from controlplane.network import PODS
from postgres_data import data_of

from memory_operator.local.postgres_place import find_binaries
from memory_operator.local.postgres_server import PostgresServer

SETTINGS = {"listen_addresses": f"{LOOPBACK},{NODE_ADDRESS}", "fsync": "off"}


@contextmanager
def postgres_for_pods(directory: Path) -> Iterator[PostgresServer]:
    """Run a server on the bridge of the node, which must be up; pods log in with passwords."""
    server = PostgresServer(directory, 0, find_binaries(), settings=SETTINGS)
    try:
        with server:
            with (data_of(directory) / "pg_hba.conf").open("a", encoding="utf-8") as access:
                access.write(f"host all all {PODS} scram-sha-256\n")
            query(server, "select pg_reload_conf()")
            yield server
    finally:
        server.purge()


def query(server: PostgresServer, statement: str) -> list[Any]:
    """Return the first column of what the administrator is answered."""

    async def ask() -> list[Any]:
        connection = await asyncpg.connect(server.admin_url())
        try:
            return [row[0] for row in await connection.fetch(statement)]
        finally:
            await connection.close()

    return asyncio.run(ask())
