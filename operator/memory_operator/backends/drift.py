"""What each tenant was last found to need, and who is not as it was left: what a sweep compares."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import TypeVar

from memory_contracts.errors import PlatformError
from memory_operator.backends.servers import Servers
from memory_operator.shares import KafkaShare, PostgresShare, QdrantShare, RedisShare
from memory_operator.specs.tenant import NO_CREDENTIALS, Tenant

S = TypeVar("S")
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Shares:
    """What each tenant was last found to need, by ``namespace/name``: what a sweep compares with."""

    postgres: dict[str, PostgresShare] = field(default_factory=dict)
    qdrant: dict[str, QdrantShare] = field(default_factory=dict)
    kafka: dict[str, KafkaShare] = field(default_factory=dict)
    redis: dict[str, RedisShare] = field(default_factory=dict)

    @property
    def tenants(self) -> set[str]:
        """All of whom something is remembered."""
        return {*self.postgres, *self.qdrant, *self.kafka, *self.redis}

    def forget(self, tenant: str) -> None:
        """Drop what is remembered of a tenant."""
        for shares in (self.postgres, self.qdrant, self.kafka, self.redis):
            shares.pop(tenant, None)


def keep(shares: dict[str, S], tenant: Tenant, share: S) -> S:
    """Remember the share for the sweeps; of a tenant that is on its way out nothing is to be found missing."""
    if tenant.credentials != NO_CREDENTIALS:
        shares[tenant.names.qualified] = share
    return share


async def drifted(servers: Servers, shares: Shares) -> set[str]:
    """Return the tenants that are not as they were left.

    Postgres and Redis are asked once for all of them, Kafka a few times, Qdrant once for each of its turn.

    A backend that does not answer says nothing about anybody; that it does not answer is its condition.
    """
    return set[str]().union(
        *await asyncio.gather(
            _found(servers.postgres.drifted([each.desired for each in shares.postgres.values()])),
            _found(_drifted_collections(servers, shares)),
            _found(_drifted_topics(servers, shares)),
            _found(_drifted_users(servers, shares)),
        )
    )


async def _drifted_collections(servers: Servers, shares: Shares) -> set[str]:
    if not servers.qdrant:
        return set()
    return await servers.qdrant.drifted([each.desired for each in shares.qdrant.values()])


async def _drifted_topics(servers: Servers, shares: Shares) -> set[str]:
    if not servers.kafka:
        return set()
    found = list(shares.kafka.values())
    claimed = {each.desired.tenant: each.claimed for each in found}
    told = {each.desired.tenant: each.told for each in found}
    return await servers.kafka.drifted([each.desired for each in found], claimed, told)


async def _drifted_users(servers: Servers, shares: Shares) -> set[str]:
    if not servers.redis:
        return set()
    found = list(shares.redis.values())
    claimed = {name for each in found for name in each.claimed}
    return await servers.redis.drifted([each.desired for each in found], claimed)


async def _found(question: Awaitable[set[str]]) -> set[str]:
    try:
        return await question
    except PlatformError as error:
        logger.warning(error.detail, extra={"event": "sweep.unanswered"})
        return set()
