"""Tenants for tests of the Kafka provider, and what their passes need."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import timedelta
from uuid import uuid4

from kafka.broker import KafkaBroker

from memory_contracts.errors import Conflict
from memory_contracts.naming import TopicKind
from memory_operator.providers.kafka.connection import KafkaConnection, Sasl
from memory_operator.providers.kafka.topics import DesiredTopics, desired_topics

BACKEND = "kafka/a-cluster"


def connection_to(broker: KafkaBroker, request_seconds: float = 8.0) -> KafkaConnection:
    """The administrator's way to a broker of either kind."""
    if not (broker.username and broker.password and broker.ca_file):
        return KafkaConnection(broker.bootstrap_servers, request_seconds=request_seconds)
    return KafkaConnection(
        broker.bootstrap_servers,
        Sasl("SCRAM-SHA-512", broker.username, broker.password),
        tls=True,
        ca_certificates=broker.ca_file.read_text(encoding="ascii"),
        request_seconds=request_seconds,
    )


def new_tenant(partitions: int = 2, replication_factor: int = 1) -> DesiredTopics:
    """A tenant with names of its own, for the brokers are shared."""
    stem = f"mem-{uuid4().hex[:12]}"
    return desired_topics(
        f"team-a/{stem}",
        str(uuid4()),
        {kind: f"{stem}.{kind}" for kind in TopicKind},
        partitions=partitions,
        retention=timedelta(days=7),
        replication_factor=replication_factor,
    )


def resized(tenant: DesiredTopics, partitions: int) -> DesiredTopics:
    """The tenant with another number of partitions for its events."""
    events, *others = tenant.topics
    return replace(tenant, topics=(replace(events, partitions=partitions), *others))


def stem(tenant: DesiredTopics) -> str:
    """What the names of all its topics begin with."""
    return tenant.tenant.removeprefix("team-a/")


def events(tenant: DesiredTopics) -> str:
    """The name of its topic of events."""
    return f"{stem(tenant)}.events"


@dataclass
class DictLedger:
    """A ledger in a dict that several tenants may share: (backend, object) → tenant."""

    tenant: str
    claims: dict[tuple[str, str], str] = field(default_factory=dict)

    async def claimed(self, backend: str) -> frozenset[str]:
        return frozenset(
            name for (where, name), tenant in self.claims.items() if (where, tenant) == (backend, self.tenant)
        )

    async def claim(self, backend: str, objects: Collection[str]) -> None:
        for name in objects:
            if self.claims.setdefault((backend, name), self.tenant) != self.tenant:
                raise Conflict(f"{name} is claimed by {self.claims[backend, name]}")

    async def release(self, backend: str, objects: Collection[str]) -> None:
        for name in objects:
            if self.claims.get((backend, name)) == self.tenant:
                del self.claims[backend, name]
