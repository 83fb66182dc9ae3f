"""The reconcile on a real database and real processes: what the conditions say in each situation."""

import os
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest

from memory_contracts.conditions import Condition, ConditionStatus, ConditionType, Reason
from memory_contracts.naming import TenantNames
from memory_contracts.v1alpha1 import MemoryNamespace
from memory_operator.local.database import Database, parse_admin_url
from memory_operator.local.ports import any_free_port
from memory_operator.local.process_target import ProcessTarget
from memory_operator.local.secrets import LocalSecretStore
from memory_operator.local.state import StateDirectory
from memory_operator.providers.postgres.client import PostgresClient
from memory_operator.reconcile import reconcile
from memory_operator.specs.environment import Listen
from memory_operator.specs.workload import Workload
from memory_operator.status import is_ready
from memory_operator.world import Availability, World

FAKE_API = Path(__file__).with_name("fake_api.py")
EVERY_STAGE = ["ClusterAccepted", "CredentialsReady", "SchemaReady", "APIAvailable", "Ready"]


class FakeApiTarget:
    """The process target, with the fake in place of the API's command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes = ProcessTarget(folder, folder, any_free_port(), changed=lambda: None)

    def listen(self, names: TenantNames) -> Listen:
        return self.processes.listen(names)

    async def apply(self, workload: Workload) -> None:
        await self.processes.apply(self._faked(workload))

    async def availability(self, workload: Workload) -> Availability:
        return await self.processes.availability(self._faked(workload))

    def _faked(self, workload: Workload) -> Workload:
        container = workload.deployment["spec"]["template"]["spec"]["containers"][0]
        container["command"] = ["python", str(FAKE_API), str(self.folder)]
        return workload


@dataclass
class Cluster:
    """One namespace, its world, and the memory of its last status, as the supervisor keeps it."""

    namespace: MemoryNamespace
    database: Database
    state: StateDirectory
    target: FakeApiTarget

    async def reconcile(self) -> list[Condition]:
        world = World(
            LocalSecretStore(self.state, self.database.administrator),
            PostgresClient(),
            self.target,
            lambda: datetime.now(UTC),
        )
        status = await reconcile(self.namespace, self.database.cluster_for(self.namespace), world)
        self.namespace = self.namespace.model_copy(update={"status": status})
        return status.conditions

    async def ready(self) -> list[Condition] | None:
        conditions = await self.reconcile()
        return conditions if is_ready(conditions) else None

    async def until(self, wanted: Callable[[dict[ConditionType, Condition]], bool]) -> bool:
        return wanted({each.type: each for each in await self.reconcile()})


@pytest.fixture
async def cluster(database: str, tmp_path: Path) -> AsyncIterator[Cluster]:
    state = StateDirectory(tmp_path / "state")
    state.prepare()
    name = f"research-{uuid4().hex[:8]}"
    namespace = MemoryNamespace.model_validate({"metadata": {"name": name, "namespace": "team-a", "generation": 4}})
    parts = urlsplit(database)
    target = FakeApiTarget(tmp_path)
    yield Cluster(namespace, parse_admin_url(f"{parts.geturl()}?sslmode=disable"), state, target)
    await target.processes.close()


def find(conditions: list[Condition], kind: ConditionType) -> Condition:
    return next(each for each in conditions if each.type is kind)


async def test_an_empty_world_becomes_ready(cluster, eventually):
    conditions = await eventually(cluster.ready)

    assert [str(each.type) for each in conditions] == EVERY_STAGE
    assert {each.status for each in conditions} == {ConditionStatus.TRUE}
    status = cluster.namespace.status
    assert status.observed_generation == 4
    assert status.endpoint.startswith("http://127.0.0.1:")
    assert status.external.postgres_schema.startswith("mem_team_a_research")


async def test_a_converged_world_gives_the_very_same_status(cluster, eventually):
    await eventually(cluster.ready)
    before = cluster.namespace.status

    await cluster.reconcile()

    assert cluster.namespace.status == before
    assert len((cluster.target.folder / "starts").read_text().splitlines()) == 1


async def test_the_first_pass_reports_progress(cluster):
    api = find(await cluster.reconcile(), ConditionType.API_AVAILABLE)

    assert (api.status, api.reason) == (ConditionStatus.FALSE, Reason.PROGRESSING)


async def test_a_dead_process_is_seen_and_replaced(cluster, eventually):
    await eventually(cluster.ready)
    (replica,) = cluster.target.processes.replicas

    os.kill(replica.record.pid, signal.SIGKILL)

    await eventually(lambda: cluster.until(lambda found: found[ConditionType.READY].status is ConditionStatus.FALSE))
    assert await eventually(cluster.ready)


async def test_drift_in_the_database_is_repaired_by_the_next_pass(cluster, eventually):
    await eventually(cluster.ready)
    role = cluster.namespace.status.external.postgres_role
    connection = await asyncpg.connect(
        user=cluster.database.administrator.user,
        password=cluster.database.administrator.password,
        host=cluster.database.host,
        port=cluster.database.port,
        database=cluster.database.name,
    )
    await connection.execute(f"alter role {role} password 'changed' connection limit 1")

    assert await cluster.ready()

    assert await connection.fetchval("select rolconnlimit from pg_roles where rolname = $1", role) > 1
    await connection.close()


async def test_a_lost_password_file_is_replaced_everywhere(cluster, eventually):
    await eventually(cluster.ready)
    (file,) = cluster.state.secrets.rglob("postgres-password")
    file.unlink()

    await eventually(lambda: cluster.until(lambda found: not is_ready(list(found.values()))))
    assert await eventually(cluster.ready)

    starts = (cluster.target.folder / "starts").read_text().splitlines()
    assert len(starts) == 2
    assert file.read_text().strip() in starts[1]


async def test_a_foreign_schema_blocks_and_nothing_is_started(cluster):
    names = TenantNames(cluster.namespace.metadata.namespace, cluster.namespace.metadata.name)
    connection = await asyncpg.connect(
        user=cluster.database.administrator.user,
        password=cluster.database.administrator.password,
        host=cluster.database.host,
        port=cluster.database.port,
        database=cluster.database.name,
    )
    await connection.execute(f"create schema {names.schema}")
    await connection.close()

    conditions = await cluster.reconcile()

    schema, ready = find(conditions, ConditionType.SCHEMA_READY), find(conditions, ConditionType.READY)
    assert (schema.status, schema.reason) == (ConditionStatus.FALSE, Reason.BLOCKED)
    assert names.schema in ready.message
    assert find(conditions, ConditionType.API_AVAILABLE).reason is Reason.WAITING_FOR_EARLIER_STAGE
    assert cluster.target.processes.replicas == []


async def test_a_database_that_does_not_answer_makes_it_unknown_and_leaves_the_api_alone(cluster, eventually):
    await eventually(cluster.ready)
    (replica,) = cluster.target.processes.replicas
    cluster.database = replace(cluster.database, port=1)

    conditions = await cluster.reconcile()

    schema = find(conditions, ConditionType.SCHEMA_READY)
    assert (schema.status, schema.reason) == (ConditionStatus.UNKNOWN, Reason.BACKEND_UNAVAILABLE)
    assert "127.0.0.1:1 cannot be reached" in schema.message
    assert replica.record.alive


async def test_a_reference_to_another_cluster_is_rejected(cluster):
    found = cluster.database.cluster_for(cluster.namespace)
    elsewhere = found.model_copy(update={"metadata": found.metadata.model_copy(update={"name": "other"})})
    world = World(
        LocalSecretStore(cluster.state, cluster.database.administrator),
        PostgresClient(),
        cluster.target,
        lambda: datetime.now(UTC),
    )

    status = await reconcile(cluster.namespace, elsewhere, world)

    assert find(status.conditions, ConditionType.CLUSTER_ACCEPTED).reason is Reason.REJECTED


async def test_an_api_that_keeps_ending_blocks_with_its_last_words(cluster, eventually):
    (cluster.target.folder / "broken").touch()

    await eventually(lambda: cluster.until(lambda found: found[ConditionType.API_AVAILABLE].reason is Reason.BLOCKED))

    assert "the fake is broken" in cluster.namespace.status.conditions[-1].message
