"""The backends of one MemoryCluster, connected: claims of tenants, their shares, and what the backends say."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Set
from contextlib import AsyncExitStack

from memory_contracts.conditions import ConditionType
from memory_contracts.errors import PlatformError
from memory_contracts.naming import TenantNames
from memory_operator.backends.connections import Connections
from memory_operator.backends.drift import Shares, drifted, keep
from memory_operator.backends.servers import new_servers
from memory_operator.providers.postgres.claimant import Claimant
from memory_operator.providers.postgres.ledger import PostgresLedger
from memory_operator.providers.shapes import BackendFacts, Blocked, Term
from memory_operator.shares import KafkaShare, PostgresShare, QdrantShare, RedisShare
from memory_operator.specs.tenant import Tenant
from memory_operator.world import Share


class ConnectedBackends:
    """The backends of one MemoryCluster, for all its tenants. Nothing is connected before it is needed."""

    def __init__(self, connections: Connections, claimant: Claimant, term: Term | None = None) -> None:
        self.connections = connections
        self._servers = new_servers(connections, claimant, term)
        self._ledger = PostgresLedger(self._servers.postgres)
        self._kafka_identity = ""
        self._predecessors: dict[str, frozenset[str]] = {}
        self._shares = Shares()
        self._stack = AsyncExitStack()

    @property
    def postgres_ca(self) -> str | None:
        """Authorities that the API has to trust, in PEM."""
        return self.connections.postgres.ca_certificates

    @property
    def tenants(self) -> Set[str]:
        """Those that were served, and are not forgotten."""
        return self._predecessors.keys() | self._shares.tenants

    async def open(self) -> None:
        """Start what has to run beside the requests."""
        await self._servers.open(self._stack)

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
        shares, servers = self._shares, self._servers
        match stage:
            case ConditionType.SCHEMA_READY:
                return keep(shares.postgres, tenant, PostgresShare(servers.postgres, tenant, predecessors))
            case ConditionType.COLLECTION_READY if servers.qdrant:
                return keep(shares.qdrant, tenant, QdrantShare(servers.qdrant, tenant, predecessors))
            case ConditionType.TOPIC_READY if servers.kafka:
                return keep(shares.kafka, tenant, KafkaShare(servers.kafka, tenant, ledger, self._identify_kafka))
            case ConditionType.CACHE_READY if servers.redis and self.connections.redis:
                backend = f"redis/{self.connections.redis.address}"
                return keep(shares.redis, tenant, RedisShare(servers.redis, tenant, ledger, backend, predecessors))
        return None

    def forget(self, tenant: str) -> None:
        """Drop what is remembered of a tenant that is gone."""
        self._shares.forget(tenant)
        self._predecessors.pop(tenant, None)

    async def facts(self) -> Mapping[str, BackendFacts | PlatformError]:
        """Ask every backend who it is: name of the backend → its answer, or why there is none."""
        servers = self._servers
        asked = {"postgres": servers.postgres, "qdrant": servers.qdrant, "kafka": servers.kafka, "redis": servers.redis}
        named = {name: backend for name, backend in asked.items() if backend}
        answers = await asyncio.gather(*[_asked(backend.facts()) for backend in named.values()])
        return dict(zip(named, answers, strict=True))

    async def drifted(self) -> set[str]:
        """Return the tenants that are not as they were left."""
        return await drifted(self._servers, self._shares)

    async def _identify_kafka(self) -> str:
        assert self._servers.kafka
        if not self._kafka_identity:
            self._kafka_identity = f"kafka/{(await self._servers.kafka.facts()).identity}"
        return self._kafka_identity


async def _asked(question: Awaitable[BackendFacts]) -> BackendFacts | PlatformError:
    try:
        return await question
    except PlatformError as error:
        return error
