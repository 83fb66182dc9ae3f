"""Real API processes on a real Postgres, and clients that speak to them."""

import os
import random
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import httpx
import pytest
from polling import DEADLINE_SECONDS, until

from memory_operator.local.ports import any_free_port
from memory_operator.local.postgres_place import find_binaries
from memory_operator.local.postgres_server import PostgresServer

WRITE_TOKEN = "a-token-that-may-write"
READ_TOKEN = "a-token-that-may-only-read"
NAMESPACE = "team-a/research"
# Making the default context reads all authorities of the machine, for a client that never speaks TLS.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass
class Api:
    """One API process: `python -m memory_runtime` with an environment."""

    environment: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.environment['SOMA_API_PORT']}"

    @property
    def schema(self) -> str:
        return self.environment["POSTGRES_SCHEMA"]

    @property
    def postgres_url(self) -> str:
        return self.environment["POSTGRES_URL"]

    @property
    def logged(self) -> str:
        return self.log.read_text(errors="replace")

    def start(self) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SOMA_", "POSTGRES_"))}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "memory_runtime"],
                env=inherited | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def wait_until_ready(self, seconds: float = DEADLINE_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while True:
            assert self.process is not None
            assert self.process.poll() is None, f"it ended: {self.logged[-2000:]}"
            try:
                if httpx.get(f"{self.url}/readyz", verify=NO_TLS, timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            assert time.monotonic() < deadline, f"not ready: {self.logged[-2000:]}"
            time.sleep(0.03)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> int | None:
        if self.process is None:
            return None
        self.process.terminate()
        try:
            return self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def client(self, token: str | None = WRITE_TOKEN, **options: Any) -> httpx.AsyncClient:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return httpx.AsyncClient(
            base_url=self.url, headers=headers | options.pop("headers", {}), verify=NO_TLS, timeout=30, **options
        )

    def connect(self) -> AbstractAsyncContextManager[Any]:
        """Open the schema as an administrator, to see the state of the world."""
        return _Connected(self.postgres_url, self.schema)

    async def rows(self, query: str, *arguments: Any) -> list[Any]:
        async with self.connect() as connection:
            return await connection.fetch(query, *arguments)

    async def counts(self) -> tuple[int, ...]:
        """Rows of every table that a request could write to."""
        (row,) = await self.rows(
            "select (select count(*) from memories), (select coalesce(sum(version), 0) from memories)::bigint,"
            " (select count(*) from vectors), (select count(*) from outbox), (select count(*) from idempotency_keys)"
        )
        return tuple(row)


class _Connected:
    def __init__(self, url: str, schema: str) -> None:
        self._url, self._quoted = url, '"' + schema.replace('"', '""') + '"'

    async def __aenter__(self) -> Any:
        self._connection = await asyncpg.connect(self._url, server_settings={"search_path": f"{self._quoted}, public"})
        return self._connection

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()


def environment(postgres_url: str, schema: str | None = None, **more: str) -> dict[str, str]:
    return {
        "POSTGRES_URL": postgres_url,
        "POSTGRES_SCHEMA": schema or f"mem_{uuid4().hex[:12]}",
        "SOMA_API_TOKEN": WRITE_TOKEN,
        "SOMA_API_READ_TOKEN": READ_TOKEN,
        "SOMA_API_PORT": str(any_free_port()),
        "SOMA_MEMORY_NAMESPACE": NAMESPACE,
        **more,
    }


class Starter:
    """Makes API processes and ends those that are left."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: list[Api] = []

    def make(self, postgres_url: str, schema: str | None = None, **more: str) -> Api:
        api = Api(environment(postgres_url, schema, **more), self._folder / f"api-{len(self._made)}.log")
        self._made.append(api)
        return api

    def start(self, postgres_url: str, schema: str | None = None, **more: str) -> Api:
        """Make one and return without waiting for it."""
        api = self.make(postgres_url, schema, **more)
        api.start()
        return api

    def serve(self, postgres_url: str, schema: str | None = None, **more: str) -> Api:
        """Make one and return when it is ready."""
        api = self.start(postgres_url, schema, **more)
        api.wait_until_ready()
        return api

    def __enter__(self) -> "Starter":
        return self

    def __exit__(self, *_: object) -> None:
        with ExitStack() as stack:
            for api in self._made:
                stack.callback(api.stop)


@pytest.fixture(scope="session")
def eventually() -> Callable[..., Awaitable[Any]]:
    """Wait until a condition (plain or async) holds, and return its value; fails after a deadline."""
    return until


@pytest.fixture
def starter(tmp_path: Path) -> Iterator[Starter]:
    """API processes of one test."""
    with Starter(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def module_starter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starter]:
    """API processes that the tests of a module share."""
    with Starter(tmp_path_factory.mktemp("api")) as made:
        yield made


@pytest.fixture(scope="session")
def shared_url(postgres_server: PostgresServer) -> str:
    """The administrator's URL of a database in which each module has its own schemas."""
    return postgres_server.admin_url()


@pytest.fixture(scope="module")
def api(module_starter: Starter, shared_url: str) -> Api:
    """One process, shared by the module: tests use coordinates of their own."""
    return module_starter.serve(shared_url)


@pytest.fixture(scope="module")
def pair(module_starter: Starter, shared_url: str) -> tuple[Api, Api]:
    """Two processes on one namespace, shared by the module."""
    schema = f"mem_{uuid4().hex[:12]}"
    first, second = module_starter.start(shared_url, schema), module_starter.start(shared_url, schema)
    first.wait_until_ready()
    second.wait_until_ready()
    return first, second


@pytest.fixture
async def client(api: Api) -> AsyncIterator[httpx.AsyncClient]:
    """A caller of `api` that may write."""
    async with api.client() as opened:
        yield opened


@pytest.fixture
async def clients(pair: tuple[Api, Api]) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient]]:
    """A caller of each of the pair."""
    async with pair[0].client() as first, pair[1].client() as second:
        yield first, second


@pytest.fixture
def fresh() -> Callable[[], list[float]]:
    """Return coordinates that no other test uses."""
    return lambda: [float(random.getrandbits(52)) for _ in range(3)]


@pytest.fixture(scope="module")
def fragile_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A server of the module's own."""
    folder = tmp_path_factory.mktemp("fragile") / "postgres"
    server = PostgresServer(folder, 0, find_binaries(), settings={"shared_buffers": "16MB"})
    with server:
        yield server
    server.purge()


@pytest.fixture
def own_postgres(fragile_postgres: PostgresServer) -> PostgresServer:
    """A server that the test may stop and freeze; running at the start of each test, whatever the last one left."""
    fragile_postgres.start()
    return fragile_postgres


@pytest.fixture(scope="session")
def assert_problem() -> Callable[..., dict[str, Any]]:
    """Check that an answer is an RFC 9457 problem with a status and a field, and return it."""

    def check(answer: httpx.Response, status: int, field: str | None = None) -> dict[str, Any]:
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        body = answer.json()
        assert body["status"] == status
        assert body["title"]
        assert body["detail"]
        if field is not None:
            assert body.get("field") == field, body
        return body

    return check


@pytest.fixture(scope="session")
def host_of() -> Callable[[str], tuple[str, int]]:
    """Return host and port of a URL."""

    def split(url: str) -> tuple[str, int]:
        parts = urlsplit(url)
        return str(parts.hostname), int(parts.port or 80)

    return split
