"""Fixtures with a test double of the Qdrant server: Qdrant's engine behind an imitation of its REST interface."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from qdrant.certificates import self_signed
from qdrant.process import QdrantDouble
from qdrant_client import AsyncQdrantClient
from qdrant_tenants import connection_to

from memory_operator.providers.qdrant.client import QdrantBackend
from memory_operator.providers.qdrant.connection import QdrantConnection


@pytest.fixture(scope="session")
def qdrant_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QdrantDouble]:
    """A double that the tests of a session share; use names of your own, and leave it running."""
    with QdrantDouble(tmp_path_factory.mktemp("qdrant")) as double:
        yield double


@pytest.fixture
def start_qdrant(tmp_path: Path) -> Iterator[Callable[..., QdrantDouble]]:
    """Start doubles of this test's own, to stop, kill or fill; takes the keywords of `QdrantDouble`."""
    started: list[QdrantDouble] = []

    def start(**options: Any) -> QdrantDouble:
        double = QdrantDouble(tmp_path / f"qdrant-{len(started)}", **options)
        started.append(double)
        double.start()
        return double

    yield start
    for double in started:
        double.stop()


@pytest.fixture
def own_qdrant(start_qdrant: Callable[..., QdrantDouble]) -> QdrantDouble:
    """A double of this test's own."""
    return start_qdrant()


@pytest.fixture
async def qdrant_client(qdrant_server: QdrantDouble) -> AsyncIterator[AsyncQdrantClient]:
    """The stock client of the shared double, with the administrator's key."""
    client = AsyncQdrantClient(**qdrant_server.client_arguments())
    yield client
    await client.close()


@pytest.fixture(scope="session")
def qdrant_certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that is its own authority, with the key beside it."""
    if not shutil.which("openssl"):
        pytest.skip("needs openssl: apt install openssl")
    return self_signed(tmp_path_factory.mktemp("qdrant-tls"))


@pytest.fixture
async def connect_qdrant() -> AsyncIterator[Callable[[QdrantConnection], QdrantBackend]]:
    """Make provider objects, which are closed afterwards."""
    opened: list[QdrantBackend] = []

    def make(connection: QdrantConnection) -> QdrantBackend:
        opened.append(QdrantBackend(connection))
        return opened[-1]

    yield make
    for server in opened:
        await server.close()


@pytest.fixture
def qdrant_provider(
    connect_qdrant: Callable[[QdrantConnection], QdrantBackend], qdrant_server: QdrantDouble
) -> QdrantBackend:
    """The provider, connected to the shared double."""
    return connect_qdrant(connection_to(qdrant_server))
