"""How to reach the backends of a MemoryCluster, by its specification and the Secrets that it names."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar

from memory_contracts.api.backends import CaReference, KafkaBackend, PostgresBackend, QdrantBackend, RedisBackend, Tls
from memory_contracts.conditions import Reason
from memory_contracts.errors import PlatformError, Rejected
from memory_contracts.v1alpha1 import MemoryCluster
from memory_operator.providers.kafka.connection import KafkaConnection, Sasl
from memory_operator.providers.postgres.address import PostgresAddress
from memory_operator.providers.qdrant.connection import QdrantConnection
from memory_operator.providers.redis.connection import RedisConnection
from memory_operator.world import SecretStore

ANY_USER = "default"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Connections:
    """How to reach the backends; equal as long as nothing about it has changed."""

    postgres: PostgresAddress
    qdrant: QdrantConnection | None
    kafka: KafkaConnection | None
    redis: RedisConnection | None


async def read_connections(cluster: MemoryCluster, secrets: SecretStore) -> Connections:
    """Return how to reach the backends.

    Raises `Rejected` naming the Secret and key that is missing; its field begins with the name of the backend.
    """
    reader = _Reader(cluster.metadata.namespace, secrets)
    spec = cluster.spec
    return Connections(
        postgres=await about("postgres", _postgres(spec.postgres, reader)),
        qdrant=await about("qdrant", _qdrant(spec.qdrant, reader)) if spec.qdrant else None,
        kafka=await about("kafka", _kafka(spec.kafka, reader)) if spec.kafka else None,
        redis=await about("redis", _redis(spec.redis, reader)) if spec.redis else None,
    )


async def about(backend: str, reading: Awaitable[T]) -> T:
    """Let an error name the backend that it is about."""
    try:
        return await reading
    except PlatformError as error:
        error.field = error.field or backend
        raise


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads keys of Secrets in the namespace of the MemoryCluster, the only one it may refer to."""

    namespace: str
    secrets: SecretStore

    async def value(self, name: str, key: str) -> str:
        values = await self.secrets.read(self.namespace, name)
        if not values.get(key):
            raise Rejected(
                f"Secret {name} in namespace {self.namespace} has no key {key}, or it is empty; add it",
                reason=Reason.SECRET_NOT_FOUND,
            )
        return values[key]

    async def login(self, name: str) -> tuple[str, str]:
        return (await self.value(name, "username")).strip(), (await self.value(name, "password")).strip()

    async def authorities(self, reference: CaReference | None) -> str | None:
        return await self.value(reference.name, reference.key) if reference else None

    async def tls(self, tls: Tls | None) -> str | None:
        return await self.authorities(tls.ca_secret_ref) if tls else None


async def _postgres(backend: PostgresBackend, reader: _Reader) -> PostgresAddress:
    server = backend.external
    user, password = await reader.login(server.admin_secret_ref.name)
    authorities = await reader.authorities(server.tls.ca_secret_ref)
    return PostgresAddress(server.host, server.port, server.database, server.tls.mode, user, password, authorities)


async def _qdrant(backend: QdrantBackend, reader: _Reader) -> QdrantConnection:
    server, reference = backend.external, backend.external.api_key_secret_ref
    api_key = (await reader.value(reference.name, reference.key)).strip() if reference else None
    return QdrantConnection(server.url, api_key, await reader.tls(server.tls))


async def _kafka(backend: KafkaBackend, reader: _Reader) -> KafkaConnection:
    server, login = backend.external, backend.external.sasl
    sasl = Sasl(login.mechanism, *await reader.login(login.secret_ref.name)) if login else None
    return KafkaConnection(server.bootstrap_servers, sasl, server.tls is not None, await reader.tls(server.tls))


async def _redis(backend: RedisBackend, reader: _Reader) -> RedisConnection:
    server, reference = backend.external, backend.external.admin_secret_ref
    user, password = await reader.login(reference.name) if reference else (ANY_USER, "")
    return RedisConnection(
        server.host, server.port, user, password, server.tls is not None, await reader.tls(server.tls)
    )
