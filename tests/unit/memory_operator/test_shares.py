"""What a tenant's specification and state ask of each backend, as its shares hand it to the providers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest
from tenants import CREDENTIALS, LISTEN, cluster, namespace

from memory_operator.providers.redis.plan import DesiredUser
from memory_operator.shares import KafkaShare, PostgresShare, QdrantShare, RedisShare
from memory_operator.specs.tenant import Tenant

NOWHERE = cast(Any, None)  # nothing is asked of the server here
NOBODY: frozenset[str] = frozenset()
DAY_MS = 24 * 3600 * 1000


def tenant(**spec: Any) -> Tenant:
    kafka = {"external": {"bootstrapServers": "kafka:9092"}, "defaults": {"replicationFactor": 3}}
    credentials = replace(CREDENTIALS, slot="b", redis_password="of the cache")
    return Tenant(namespace(**spec), cluster(kafka=kafka), LISTEN, credentials)


def user(**spec: Any) -> DesiredUser:
    return RedisShare(NOWHERE, tenant(**spec), NOWHERE, "redis", NOBODY).desired


def test_partitions_retention_and_replication_reach_the_topics():
    desired = KafkaShare(NOWHERE, tenant(events={"partitions": 7, "retention": "48h"}), NOWHERE, NOWHERE).desired

    events, ingest, dead_letter = desired.topics
    assert [each.partitions for each in desired.topics] == [7, 7, 1]
    assert {each.replication_factor for each in desired.topics} == {3}
    assert events.config["retention.ms"] == ingest.config["retention.ms"] == str(2 * DAY_MS)
    assert int(dead_letter.config["retention.ms"]) > 2 * DAY_MS


def test_the_vectors_and_what_is_filtered_by_reach_the_collection():
    spec = {"embedding": {"provider": "hash", "dimensions": 96}}

    desired = QdrantShare(NOWHERE, tenant(**spec), frozenset({"earlier"})).desired

    assert (desired.dimensions, desired.distance) == (96, "Cosine")
    assert set(desired.payload_indexes) == {("type", "keyword"), ("version", "integer")}
    assert desired.adopts == {"earlier"}


@pytest.mark.parametrize(
    ("state", "access", "logs_in"),
    [("Active", "full", True), ("ReadOnly", "read", True), ("Hibernated", "full", True), ("Fenced", "none", False)],
)
def test_the_state_decides_what_the_roles_in_postgres_may(state, access, logs_in):
    desired = PostgresShare(NOWHERE, tenant(state=state), frozenset({"earlier"})).desired

    assert desired.access == access
    assert desired.active.role == desired.login_roles[1]
    assert desired.may_log_in(desired.active) is logs_in
    assert desired.predecessors == {"earlier"}


@pytest.mark.parametrize(
    ("state", "enabled", "read_only"),
    [("Active", True, False), ("ReadOnly", True, True), ("Hibernated", True, False), ("Fenced", False, False)],
)
def test_the_state_decides_what_the_user_in_redis_may(state, enabled, read_only):
    assert (user(state=state).enabled, user(state=state).read_only) == (enabled, read_only)
    assert user(state=state).password == "of the cache"
