"""The backends of a MemoryCluster: how to reach them, one connection pool each, and each tenant's share of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, TypeVar

from memory_contracts.api.backends import CaReference, Tls
from memory_contracts.api.backends import KafkaBackend as KafkaSpec
from memory_contracts.api.backends import PostgresBackend as PostgresSpec
from memory_contracts.api.backends import QdrantBackend as QdrantSpec
from memory_contracts.api.backends import RedisBackend as RedisSpec
from memory_contracts.conditions import ConditionType, Reason
from memory_contracts.errors import PlatformError, Rejected
from memory_contracts.naming import TenantNames
from memory_contracts.v1alpha1 import MemoryCluster
from memory_operator.keys import Key, key_of
from memory_operator.providers.kafka.connection import KafkaConnection, Sasl
from memory_operator.providers.postgres.address import PostgresAddress
from memory_operator.providers.postgres.claimant import Claimant
from memory_operator.providers.postgres.client import PostgresBackend
from memory_operator.providers.postgres.ledger import PostgresLedger
from memory_operator.providers.qdrant.connection import QdrantConnection
from memory_operator.providers.redis.connection import RedisConnection
from memory_operator.providers.shapes import BackendFacts, Blocked, Permit, Term, permit_of
from memory_operator.shares import KafkaShare, PostgresShare, QdrantShare, RedisShare
from memory_operator.specs.tenant import NO_CREDENTIALS, Tenant
from memory_operator.world import SecretStore, Share

if TYPE_CHECKING:
    from memory_operator.providers.kafka.client import KafkaClient
    from memory_operator.providers.qdrant.client import QdrantBackend
    from memory_operator.providers.redis.client import RedisBackend

ANY_USER = "default"
# Longer than any pass.
CLOSE_SECONDS = 60.0
S = TypeVar("S")
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Connections:
    """How to reach the backends; equal as long as nothing about it has changed."""

    postgres: PostgresAddress
    qdrant: QdrantConnection | None
    kafka: KafkaConnection | None
    redis: RedisConnection | None


@dataclass(frozen=True, slots=True)
class Shares:
    """What each tenant was last found to need, by ``namespace/name``: what a sweep compares with."""

    postgres: dict[str, PostgresShare] = field(default_factory=dict)
    qdrant: dict[str, QdrantShare] = field(default_factory=dict)
    kafka: dict[str, KafkaShare] = field(default_factory=dict)
    redis: dict[str, RedisShare] = field(default_factory=dict)

    def forget(self, tenant: str) -> None:
        """Drop what is remembered of a tenant."""
        for shares in (self.postgres, self.qdrant, self.kafka, self.redis):
            shares.pop(tenant, None)


class ConnectedBackends:
    """The backends of one MemoryCluster, for all its tenants. Nothing is connected before it is needed."""

    def __init__(self, connections: Connections, claimant: Claimant, term: Term | None = None) -> None:
        permit = permit_of(term)
        self.connections = connections
        self.postgres = PostgresBackend(connections.postgres, claimant, term=term)
        self.qdrant = _new_qdrant(connections.qdrant, permit) if connections.qdrant else None
        self.kafka = _new_kafka(connections.kafka, permit) if connections.kafka else None
        self.redis = _new_redis(connections.redis, permit) if connections.redis else None
        self._ledger = PostgresLedger(self.postgres)
        self._kafka_identity = ""
        self._predecessors: dict[str, frozenset[str]] = {}
        self._shares = Shares()
        self._stack = AsyncExitStack()

    @property
    def postgres_ca(self) -> str | None:
        """Authorities that the API has to trust, in PEM."""
        return self.connections.postgres.ca_certificates

    async def open(self) -> None:
        """Start what has to run beside the requests."""
        for backend in (self.postgres, self.qdrant, self.redis):
            if backend:
                self._stack.push_async_callback(backend.close)
        if self.kafka:
            await _about("kafka", self._stack.enter_async_context(self.kafka))

    async def close(self) -> None:
        """Close all connections."""
        await self._stack.aclose()

    async def claim(self, names: TenantNames, uid: str, *, dry: bool = False) -> Blocked | None:
        """Make the tenant this object's, or say who has it; `dry` only asks."""
        claim = await (self._ledger.peek_tenant if dry else self._ledger.claim_tenant)(names.qualified, uid)
        if isinstance(claim, Blocked):
            return claim
        self._predecessors[names.qualified] = claim.predecessors if claim else frozenset()
        return None

    async def disclaim(self, names: TenantNames, uid: str, *, drop: bool) -> None:
        """Give the tenant up; without `drop` a successor of the same name may have it."""
        await (self._ledger.forget_tenant if drop else self._ledger.release_tenant)(names.qualified, uid)

    def share(self, stage: ConditionType, tenant: Tenant) -> Share | None:
        """Return the tenant's part of the backend of that stage; None when there is no such backend."""
        name, uid = tenant.names.qualified, tenant.namespace.metadata.uid
        predecessors, ledger = self._predecessors.get(name, frozenset()), self._ledger.of(name, uid)
        shares = self._shares
        match stage:
            case ConditionType.SCHEMA_READY:
                return _keep(shares.postgres, tenant, PostgresShare(self.postgres, tenant, predecessors))
            case ConditionType.COLLECTION_READY if self.qdrant:
                return _keep(shares.qdrant, tenant, QdrantShare(self.qdrant, tenant, predecessors))
            case ConditionType.TOPIC_READY if self.kafka:
                return _keep(shares.kafka, tenant, KafkaShare(self.kafka, tenant, ledger, self._identify_kafka))
            case ConditionType.CACHE_READY if self.redis and self.connections.redis:
                backend = f"redis/{self.connections.redis.address}"
                return _keep(shares.redis, tenant, RedisShare(self.redis, tenant, ledger, backend, predecessors))
        return None

    def forget(self, tenant: str) -> None:
        """Drop what is remembered of a tenant that is gone."""
        self._shares.forget(tenant)
        self._predecessors.pop(tenant, None)

    async def facts(self) -> Mapping[str, BackendFacts | PlatformError]:
        """Ask every backend who it is: name of the backend → its answer, or why there is none."""
        asked = {"postgres": self.postgres, "qdrant": self.qdrant, "kafka": self.kafka, "redis": self.redis}
        named = {name: backend for name, backend in asked.items() if backend}
        answers = await asyncio.gather(*[_asked(backend.facts()) for backend in named.values()])
        return dict(zip(named, answers, strict=True))

    async def drifted(self) -> set[str]:
        """Return the tenants that are not as they were left: a constant number of questions for all of them.

        A backend that does not answer says nothing about anybody; that it does not answer is its condition.
        """
        return set[str]().union(
            *await asyncio.gather(
                _found(self.postgres.drifted([each.desired for each in self._shares.postgres.values()])),
                _found(self._drifted_collections()),
                _found(self._drifted_topics()),
                _found(self._drifted_users()),
            )
        )

    async def _drifted_collections(self) -> set[str]:
        shares = self._shares.qdrant.values()
        return await self.qdrant.drifted([each.desired for each in shares]) if self.qdrant else set()

    async def _drifted_topics(self) -> set[str]:
        shares = list(self._shares.kafka.values())
        claimed = {each.desired.tenant: each.claimed for each in shares}
        told = {each.desired.tenant: each.told for each in shares}
        return await self.kafka.drifted([each.desired for each in shares], claimed, told) if self.kafka else set()

    async def _drifted_users(self) -> set[str]:
        shares = list(self._shares.redis.values())
        claimed = {name for each in shares for name in each.claimed}
        return await self.redis.drifted([each.desired for each in shares], claimed) if self.redis else set()

    async def _identify_kafka(self) -> str:
        assert self.kafka
        if not self._kafka_identity:
            self._kafka_identity = f"kafka/{(await self.kafka.facts()).identity}"
        return self._kafka_identity


class BackendRegistry:
    """Opens the backends of each MemoryCluster once, and anew when the way to them has changed."""

    def __init__(self, secrets: SecretStore, claimant: Claimant, term: Term | None = None) -> None:
        self._secrets = secrets
        self._claimant = claimant
        self._term = term
        self._open: dict[Key, ConnectedBackends] = {}
        self._opening = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()

    async def open(self, cluster: MemoryCluster) -> ConnectedBackends:
        """Return the backends; nothing is asked of them yet. Raises `Rejected` when a Secret is missing or unusable."""
        key = key_of(cluster)
        connections = await read_connections(cluster, self._secrets)
        await asyncio.to_thread(_load_drivers, connections)
        async with self._opening:
            before = self._open.get(key)
            if before and before.connections == connections:
                return before
            opened = ConnectedBackends(connections, self._claimant, self._term)
            await opened.open()
            self._open[key] = opened
        if before:
            self._close_later(before)
        return opened

    def last(self, cluster: Key) -> ConnectedBackends | None:
        """Return the backends as they were last opened, even when the MemoryCluster is gone."""
        return self._open.get(cluster)

    def forget(self, cluster: Key, tenant: str) -> None:
        """Drop what is remembered of a tenant that is gone."""
        if opened := self._open.get(cluster):
            opened.forget(tenant)

    async def drifted(self, cluster: Key) -> set[str]:
        """Return the tenants of the cluster that need a pass."""
        opened = self._open.get(cluster)
        return await opened.drifted() if opened else set()

    async def close(self) -> None:
        """Close everything."""
        for opened in self._open.values():
            await opened.close()
        for task in self._closing:
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _close_later(self, old: ConnectedBackends) -> None:
        """Let passes that still use the old connections end first."""

        async def close() -> None:
            try:
                await asyncio.sleep(CLOSE_SECONDS)
            finally:
                await old.close()

        task = asyncio.create_task(close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


async def read_connections(cluster: MemoryCluster, secrets: SecretStore) -> Connections:
    """Return how to reach the backends.

    Raises `Rejected` naming the Secret and key that is missing; its field begins with the name of the backend.
    """
    reader = _Reader(cluster.metadata.namespace, secrets)
    spec = cluster.spec
    return Connections(
        postgres=await _about("postgres", _postgres(spec.postgres, reader)),
        qdrant=await _about("qdrant", _qdrant(spec.qdrant, reader)) if spec.qdrant else None,
        kafka=await _about("kafka", _kafka(spec.kafka, reader)) if spec.kafka else None,
        redis=await _about("redis", _redis(spec.redis, reader)) if spec.redis else None,
    )


async def _about(backend: str, reading: Awaitable[S]) -> S:
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


async def _postgres(backend: PostgresSpec, reader: _Reader) -> PostgresAddress:
    server = backend.external
    user, password = await reader.login(server.admin_secret_ref.name)
    authorities = await reader.authorities(server.tls.ca_secret_ref)
    return PostgresAddress(server.host, server.port, server.database, server.tls.mode, user, password, authorities)


async def _qdrant(backend: QdrantSpec, reader: _Reader) -> QdrantConnection:
    server, reference = backend.external, backend.external.api_key_secret_ref
    api_key = (await reader.value(reference.name, reference.key)).strip() if reference else None
    return QdrantConnection(server.url, api_key, await reader.tls(server.tls))


async def _kafka(backend: KafkaSpec, reader: _Reader) -> KafkaConnection:
    server, login = backend.external, backend.external.sasl
    sasl = Sasl(login.mechanism, *await reader.login(login.secret_ref.name)) if login else None
    return KafkaConnection(server.bootstrap_servers, sasl, server.tls is not None, await reader.tls(server.tls))


async def _redis(backend: RedisSpec, reader: _Reader) -> RedisConnection:
    server, reference = backend.external, backend.external.admin_secret_ref
    user, password = await reader.login(reference.name) if reference else (ANY_USER, "")
    return RedisConnection(
        server.host, server.port, user, password, server.tls is not None, await reader.tls(server.tls)
    )


# The drivers are big (that of Qdrant takes 60 MB); only those that a MemoryCluster names are loaded.


def _load_drivers(connections: Connections) -> None:
    """Load them, in a thread: it takes seconds on a busy machine, in which no lease would be renewed."""
    named = {"qdrant": connections.qdrant, "kafka": connections.kafka, "redis": connections.redis}
    for backend, connection in named.items():
        if connection:
            import_module(f"memory_operator.providers.{backend}.client")


def _new_qdrant(connection: QdrantConnection, permit: Permit) -> QdrantBackend:
    from memory_operator.providers.qdrant.client import QdrantBackend  # noqa: PLC0415

    return QdrantBackend(connection, permit)


def _new_kafka(connection: KafkaConnection, permit: Permit) -> KafkaClient:
    from memory_operator.providers.kafka.client import KafkaClient  # noqa: PLC0415

    return KafkaClient(connection, permit)


def _new_redis(connection: RedisConnection, permit: Permit) -> RedisBackend:
    from memory_operator.providers.redis.client import RedisBackend  # noqa: PLC0415

    return RedisBackend(connection, permit)


def _keep(shares: dict[str, S], tenant: Tenant, share: S) -> S:
    """Remember the share for the sweeps; of a tenant that is on its way out nothing is to be found missing."""
    if tenant.credentials != NO_CREDENTIALS:
        shares[tenant.names.qualified] = share
    return share


async def _asked(question: Awaitable[BackendFacts]) -> BackendFacts | PlatformError:
    try:
        return await question
    except PlatformError as error:
        return error


async def _found(question: Awaitable[set[str]]) -> set[str]:
    try:
        return await question
    except PlatformError as error:
        logger.warning(error.detail, extra={"event": "sweep.unanswered"})
        return set()
