"""A converged system of a hundred namespaces writes nothing: not to Kubernetes, and not to any backend."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator

import asyncpg
import pytest
import redis
from controlplane import audit
from kube import eventually

HUNDRED = 100
WINDOW_SECONDS = float(os.environ.get("QUIET_SECONDS", "20"))  # four sweeps, unless a longer look is wanted
ACCOUNT = "system:serviceaccount:memory-system:memory-operator"


@pytest.fixture
def hundred(tenant, kube) -> Iterator[list[str]]:
    names = [f"n{number}" for number in range(HUNDRED)]
    deletion = {"policy": "Delete", "acknowledgeDataLoss": True}
    for name in names:
        manifest = tenant.manifest
        manifest["metadata"]["name"] = name
        manifest["spec"] |= {"deletion": deletion, "events": {"partitions": 1}}
        kube.apply(manifest)
    yield names
    for name in names:
        kube.delete("MemoryNamespace", tenant.namespace, name)
    eventually(lambda: kube.list("MemoryNamespace", tenant.namespace) == [], 240)


def test_a_converged_system_writes_nothing(control_plane, kube, backends, tenant, hundred, operator):
    eventually(
        lambda: ready(kube, tenant.namespace) == HUNDRED, 300, lambda: f"{ready(kube, tenant.namespace)} are ready"
    )
    eventually(lambda: others_gone(kube, tenant.namespace), 120, lambda: "earlier tests are still being cleaned up")
    eventually(lambda: writes_within(control_plane, 4) == [], 120, lambda: "it does not come to rest")
    position, before, steps = control_plane.audit_position(), backend_writes(backends), steps_taken(operator)

    time.sleep(WINDOW_SECONDS)

    assert kubernetes_writes(control_plane, position) == []
    assert backend_writes(backends) == before
    assert steps_taken(operator) == steps


def ready(kube, namespace: str) -> int:
    found = kube.list("MemoryNamespace", namespace)
    conditions = [each.get("status", {}).get("conditions", ()) for each in found]
    return sum(any(one["type"] == "Ready" and one["status"] == "True" for one in each) for each in conditions)


def others_gone(kube, namespace: str) -> bool:
    names = [each["metadata"]["name"] for each in kube.list("Namespace", "")]
    return not [name for name in names if name.startswith("test-") and name != namespace]


def writes_within(plane, seconds: float) -> list[str]:
    position = plane.audit_position()
    time.sleep(seconds)
    return kubernetes_writes(plane, position)


def kubernetes_writes(plane, since: int) -> list[str]:
    """What the operator wrote, but for the Lease, which is renewed for ever."""
    found = plane.audit_events(user=ACCOUNT, verbs=audit.WRITES, since=since)
    return [f"{each.verb} {each.resource}/{each.subresource} {each.namespace}/{each.name}" for each in found
            if each.resource != "leases"]  # fmt: skip


def steps_taken(operator) -> int:
    """What it says it has done; Kafka does not count the requests of its administrators."""
    return sum(str(each.get("event", "")).endswith(".step") for each in operator.events())


def backend_writes(backends) -> dict[str, object]:
    """What each backend has counted so far."""
    return {
        "postgres": asyncio.run(rows_written(backends)),
        "qdrant": len(backends.qdrant.writes()),
        "redis": users_set(backends.redis.connection),
    }


async def rows_written(backends) -> int:
    """Rows of all tables, the system's included, that were inserted, updated or deleted."""
    connection = await asyncpg.connect(backends.postgres.admin_url(backends.database))
    try:
        await connection.execute("select pg_stat_force_next_flush()")
        return int(
            await connection.fetchval(
                "select sum(n_tup_ins + n_tup_upd + n_tup_del) from pg_stat_all_tables where schemaname <> 'pg_toast'"
                " and relname not in ('pg_statistic', 'pg_class')"  # those of autovacuum
            )
        )
    finally:
        await connection.close()


def users_set(connection) -> object:
    with redis.Redis(
        connection.host, connection.port, username=connection.username, password=connection.password
    ) as own:
        statistics = own.info("commandstats")
        return {name: each["calls"] for name, each in statistics.items() if name.startswith("cmdstat_acl|") and
                name.rpartition("|")[2] in ("setuser", "deluser", "save")}  # fmt: skip
