"""Fixtures of all suites: one Postgres server a session, one database a test; the other servers as plugins."""

import asyncio
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import asyncpg
import pytest
from hypothesis import settings

from memory_operator.local.postgres_place import find_binaries
from memory_operator.local.postgres_server import PostgresServer

# A busy machine is no reason to fail; a test that hangs is ended by other means.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

pytest_plugins = ["kubernetes_fixtures", "kafka_fixtures", "qdrant_fixtures", "redis_fixtures"]

# A test's data need not survive the machine.
FORGETFUL = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A real server, shared by the session; `database` gives each test a place of its own on it."""
    server = PostgresServer(tmp_path_factory.mktemp("postgres"), 0, find_binaries(), settings=FORGETFUL)
    with server:
        yield server
    server.purge()


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[str]:
    """The administrator's URL of a new, empty database, dropped afterwards."""
    name = f"test_{uuid4().hex[:12]}"
    admin_url = postgres_server.admin_url("postgres")
    run_apart(execute(admin_url, f'create database "{name}"'))
    yield postgres_server.admin_url(name)
    run_apart(execute(admin_url, f'drop database "{name}" with (force)'))


async def execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def run_apart(coroutine: Coroutine[object, object, None]) -> None:
    """Run in a thread with a loop of its own, so that plain and async tests can use the fixture alike."""
    with ThreadPoolExecutor(1) as executor:
        executor.submit(asyncio.run, coroutine).result()
