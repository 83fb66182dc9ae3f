"""The clients of the backends; those of backends that a MemoryCluster does not name are not even loaded."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from memory_operator.backends.connections import Connections, about
from memory_operator.providers.kafka.connection import KafkaConnection
from memory_operator.providers.postgres.claimant import Claimant
from memory_operator.providers.postgres.client import PostgresBackend
from memory_operator.providers.qdrant.connection import QdrantConnection
from memory_operator.providers.redis.connection import RedisConnection
from memory_operator.providers.shapes import Permit, Term, permit_of

if TYPE_CHECKING:
    from memory_operator.providers.kafka.client import KafkaClient
    from memory_operator.providers.qdrant.client import QdrantBackend
    from memory_operator.providers.redis.client import RedisBackend


@dataclass(frozen=True, slots=True)
class Servers:
    """One client for each backend of a MemoryCluster; None for those that it does not name."""

    postgres: PostgresBackend
    qdrant: QdrantBackend | None
    kafka: KafkaClient | None
    redis: RedisBackend | None

    async def open(self, stack: AsyncExitStack) -> None:
        """Start what has to run beside the requests; `stack` closes all of it."""
        for backend in (self.postgres, self.qdrant, self.redis):
            if backend:
                stack.push_async_callback(backend.close)
        if self.kafka:
            await about("kafka", stack.enter_async_context(self.kafka))


def new_servers(connections: Connections, claimant: Claimant, term: Term | None = None) -> Servers:
    """Return the clients; nothing is connected before it is needed."""
    permit = permit_of(term)
    return Servers(
        postgres=PostgresBackend(connections.postgres, claimant, term=term),
        qdrant=_new_qdrant(connections.qdrant, permit) if connections.qdrant else None,
        kafka=_new_kafka(connections.kafka, permit) if connections.kafka else None,
        redis=_new_redis(connections.redis, permit) if connections.redis else None,
    )


# The drivers are big (that of Qdrant takes 60 MB); only those that a MemoryCluster names are loaded.


def load_drivers(connections: Connections) -> None:
    """Load them, in a thread: it takes seconds on a busy machine, in which no lease would be renewed."""
    named = {"qdrant": connections.qdrant, "kafka": connections.kafka, "redis": connections.redis}
    for backend, connection in named.items():
        if connection:
            import_module(f"memory_operator.providers.{backend}.client")


def _new_qdrant(connection: QdrantConnection, permit: Permit) -> QdrantBackend:
    from memory_operator.providers.qdrant.client import QdrantBackend  # noqa: PLC0415 - see above

    return QdrantBackend(connection, permit)


def _new_kafka(connection: KafkaConnection, permit: Permit) -> KafkaClient:
    from memory_operator.providers.kafka.client import KafkaClient  # noqa: PLC0415 - see above

    return KafkaClient(connection, permit)


def _new_redis(connection: RedisConnection, permit: Permit) -> RedisBackend:
    from memory_operator.providers.redis.client import RedisBackend  # noqa: PLC0415 - see above

    return RedisBackend(connection, permit)
