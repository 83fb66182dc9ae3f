"""One tenant's part of each backend: brings together what the specification asks for and the provider that does it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from memory_contracts.api.base import parse_duration
from memory_contracts.naming import TopicKind
from memory_contracts.v1alpha1 import MemoryNamespace
from memory_operator.providers.kafka import plan as kafka_plan
from memory_operator.providers.kafka.topics import desired_topics
from memory_operator.providers.postgres.deletion import plan_deletion as plan_postgres_deletion
from memory_operator.providers.postgres.plan import damage
from memory_operator.providers.postgres.plan import plan as plan_postgres
from memory_operator.providers.postgres.tenant import Access, desired_tenant
from memory_operator.providers.qdrant import plan as qdrant_plan
from memory_operator.providers.qdrant.plan import DesiredCollection
from memory_operator.providers.redis import plan as redis_plan
from memory_operator.providers.redis.plan import DesiredUser
from memory_operator.providers.shapes import Blocked, Ledger, Step
from memory_operator.specs.deployment import most_replicas
from memory_operator.specs.tenant import Tenant

if TYPE_CHECKING:  # the drivers are big; only those that a MemoryCluster names are loaded
    from memory_operator.providers.kafka.client import KafkaClient
    from memory_operator.providers.postgres.client import PostgresBackend
    from memory_operator.providers.qdrant.client import QdrantBackend
    from memory_operator.providers.redis.client import RedisBackend

# What recall filters by, and what makes an upsert conditional.
PAYLOAD_INDEXES = (("type", "keyword"), ("version", "integer"))


def access_of(namespace: MemoryNamespace) -> Access:
    """Return what the tenant's logins may do in its state."""
    match namespace.spec.state:
        case "Fenced":
            return "none"
        case "ReadOnly":
            return "read"
        case _:
            return "full"


class PostgresShare:
    """Schema and roles."""

    def __init__(self, backend: PostgresBackend, tenant: Tenant, predecessors: frozenset[str]) -> None:
        self._backend = backend
        self._is_new = tenant.namespace.status is None
        self.desired = desired_tenant(
            tenant.names,
            tenant.credentials.postgres_passwords,
            most_replicas(tenant.namespace),
            active=tenant.credentials.slot,
            uid=tenant.namespace.metadata.uid,
            access=access_of(tenant.namespace),
            predecessors=predecessors,
            old_code_gone=tenant.old_code_gone,
        )

    @property
    def provisioned(self) -> str:
        """The sentence for a share that is as it should be."""
        return f"schema {self.desired.schema} is up to date"

    async def converge(self, *, correct: bool) -> list[Step] | Blocked:
        """Compare, carry out the steps if `correct`, and return them; all in one transaction."""
        async with self._backend.session(self.desired, read_only=not correct) as session:
            observed = await session.observe(self.desired, is_new=self._is_new)
            steps = plan_postgres(self.desired, observed)
            if isinstance(steps, Blocked):
                return steps
            if correct and steps:
                await session.apply(self.desired, steps)
            return damage(self.desired, observed) or list(steps)

    async def remove(self, *, drop: bool) -> list[Step] | Blocked:
        """End all sessions and logins; with `drop` the schema and the roles go too."""
        async with self._backend.session(self.desired) as session:
            observed = await session.observe(self.desired, for_deletion=True)
            steps = plan_postgres_deletion(self.desired, observed, drop=drop)
            if isinstance(steps, Blocked):
                return steps
            await session.apply(self.desired, steps)
            return list(steps)


class QdrantShare:
    """The collection and its alias."""

    def __init__(self, server: QdrantBackend, tenant: Tenant, predecessors: frozenset[str]) -> None:
        names, spec = tenant.names, tenant.namespace.spec
        self._server = server
        self.desired = DesiredCollection(
            tenant=names.qualified,
            uid=tenant.namespace.metadata.uid,
            collection=names.collection,
            alias=names.alias,
            dimensions=spec.embedding.length,
            distance=spec.vectors.distance,
            payload_indexes=PAYLOAD_INDEXES,
            adopts=predecessors,
        )

    @property
    def provisioned(self) -> str:
        """The sentence for a share that is as it should be."""
        return f"collection {self.desired.collection} holds vectors of {self.desired.dimensions} dimensions"

    async def converge(self, *, correct: bool) -> list[Step] | Blocked:
        """Compare, carry out the steps if `correct`, and return them."""
        steps = qdrant_plan.plan(self.desired, await self._server.observe(self.desired))
        if isinstance(steps, Blocked):
            return steps
        if correct and steps:
            await self._server.apply(self.desired, steps)
        return list(steps)

    async def remove(self, *, drop: bool) -> list[Step] | Blocked:
        """Drop collection and alias; what is retained needs no change."""
        if not drop:
            return []
        steps = qdrant_plan.plan_deletion(self.desired, await self._server.observe(self.desired))
        await self._server.apply(self.desired, steps)
        return list(steps)


class KafkaShare:
    """The topics."""

    def __init__(
        self, client: KafkaClient, tenant: Tenant, ledger: Ledger, identify: Callable[[], Awaitable[str]]
    ) -> None:
        names, events, kafka = tenant.names, tenant.namespace.spec.events, tenant.cluster.spec.kafka
        self._client = client
        self._ledger = ledger
        self._identify = identify
        self.claimed: frozenset[str] = frozenset()
        self.told = ""
        self.desired = desired_topics(
            names.qualified,
            tenant.namespace.metadata.uid,
            {kind: names.topic(kind) for kind in TopicKind},
            partitions=events.partitions,
            retention=parse_duration(events.retention),
            replication_factor=kafka.defaults.replication_factor if kafka else 1,
        )

    @property
    def provisioned(self) -> str:
        """The sentence for a share that is as it should be."""
        return "topics " + ", ".join(topic.name for topic in self.desired.topics)

    async def converge(self, *, correct: bool) -> list[Step] | Blocked:
        """Compare, carry out the steps if `correct`, and return them."""
        backend = await self._identify()
        self.claimed = await self._ledger.claimed(backend)
        observed = await self._client.observe(self.desired, self.claimed)
        steps = kafka_plan.plan(self.desired, observed)
        if isinstance(steps, Blocked):
            return steps
        if correct and steps:
            await self._client.apply(self.desired, steps, self._ledger, backend)
            self.claimed |= _claims(steps)
        surplus = None if steps else kafka_plan.shrink_refused(self.desired, observed)
        self.told = surplus.message if surplus else ""
        return surplus or list(steps)

    async def remove(self, *, drop: bool) -> list[Step] | Blocked:
        """Delete the topics; what is retained needs no change."""
        if not drop:
            return []
        backend = await self._identify()
        observed = await self._client.observe(self.desired, await self._ledger.claimed(backend))
        steps = kafka_plan.plan_deletion(self.desired, observed)
        await self._client.apply(self.desired, steps, self._ledger, backend)
        return list(steps)


class RedisShare:
    """The ACL user, and the keys under its prefix: a cache, so they go whatever the deletion policy is."""

    def __init__(
        self, server: RedisBackend, tenant: Tenant, ledger: Ledger, backend: str, predecessors: frozenset[str]
    ) -> None:
        names, password, access = tenant.names, tenant.credentials.redis_password, access_of(tenant.namespace)
        self._server = server
        self._ledger = ledger
        self._backend = backend
        self.claimed: frozenset[str] = frozenset()
        self.desired = DesiredUser(
            tenant=names.qualified,
            uid=tenant.namespace.metadata.uid,
            user=names.redis_user,
            prefix=names.redis_prefix,
            password=password or "",
            enabled=password is not None and access != "none",
            read_only=access == "read",
            predecessors=predecessors,
        )

    @property
    def provisioned(self) -> str:
        """The sentence for a share that is as it should be."""
        if not self.desired.enabled:
            return f"user {self.desired.user} may do nothing"
        verb = "read" if self.desired.read_only else "use"
        return f"user {self.desired.user} may {verb} keys that begin with {self.desired.prefix}"

    async def converge(self, *, correct: bool) -> list[Step] | Blocked:
        """Compare, carry out the steps if `correct`, and return them."""
        self.claimed = await self._ledger.claimed(self._backend)
        steps = redis_plan.plan(self.desired, await self._server.observe(self.desired, self.claimed))
        if isinstance(steps, Blocked):
            return steps
        if correct and steps:
            await self._server.apply(self.desired, steps, self._ledger, self._backend)
            self.claimed |= _claims(steps)
        return list(steps)

    async def remove(self, *, drop: bool) -> list[Step] | Blocked:
        """Delete user and keys."""
        claimed = await self._ledger.claimed(self._backend)
        steps = redis_plan.plan_deletion(self.desired, await self._server.observe(self.desired, claimed))
        await self._server.apply(self.desired, steps, self._ledger, self._backend)
        return list(steps)


def _claims(steps: Sequence[Step]) -> frozenset[str]:
    return frozenset(name for step in steps for name in getattr(step, "objects", ()))
