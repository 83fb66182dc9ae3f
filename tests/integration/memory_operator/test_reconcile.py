"""The reconcile on a real database and real processes: what the conditions say in each situation."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

import memory_operator.reconcile as reconciling
from memory_contracts.conditions import Condition
from memory_contracts.database.migrations import Migration, all_migrations
from memory_contracts.errors import Rejected
from memory_contracts.naming import TenantNames
from memory_contracts.reasons import ConditionStatus, ConditionType, Reason
from memory_contracts.v1alpha1 import MemoryCluster, MemoryNamespace
from memory_operator.local.database import Database, parse_admin_url
from memory_operator.local.ports import any_free_port
from memory_operator.local.process_target import ProcessTarget
from memory_operator.local.secrets import LocalSecretStore
from memory_operator.local.state import StateDirectory
from memory_operator.local.world import open_world
from memory_operator.providers.postgres import tenant as postgres_tenant
from memory_operator.providers.shapes import Blocked, Step
from memory_operator.reconcile import reconcile
from memory_operator.specs.tenant import Listen
from memory_operator.specs.workload import Workload
from memory_operator.status import is_ready
from memory_operator.world import Availability, World

FAKE_API = Path(__file__).with_name("fake_api.py")
OPTIONAL = {"CollectionReady", "TopicReady", "CacheReady"}


class FakeApiTarget:
    """The process target, with the fake in place of the API's command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes = ProcessTarget(folder, folder, any_free_port(), changed=lambda: None)

    def listen(self, names: TenantNames) -> Listen:
        return self.processes.listen(names)

    async def plan(self, namespace: MemoryNamespace, workload: Workload) -> list[Step] | Blocked:
        return await self.processes.plan(namespace, self._faked(workload))

    async def apply(self, namespace: MemoryNamespace, steps: Sequence[Step]) -> None:
        await self.processes.apply(namespace, steps)

    async def availability(self, namespace: MemoryNamespace, workload: Workload) -> Availability:
        return await self.processes.availability(namespace, self._faked(workload))

    async def stop(self, namespace: MemoryNamespace) -> None:
        await self.processes.stop(namespace)

    def _faked(self, workload: Workload) -> Workload:
        container = workload.deployment["spec"]["template"]["spec"]["containers"][0]
        container["command"] = ["python", str(FAKE_API), str(self.folder)]
        return workload


@dataclass
class Machine:
    """One namespace, its world, and the memory of its last status, as the supervisor keeps it."""

    namespace: MemoryNamespace
    database: Database
    state: StateDirectory
    target: FakeApiTarget
    secrets: LocalSecretStore
    world: World
    conditions: list[Condition] = field(default_factory=list)

    @property
    def names(self) -> TenantNames:
        return TenantNames(self.namespace.metadata.namespace, self.namespace.metadata.name)

    async def reconcile(self) -> dict[str, Condition]:
        self.secrets.administrator = self.database.administrator
        status = await reconcile(self.namespace, self.database.cluster_for(self.namespace), self.world)
        self.namespace = self.namespace.model_copy(update={"status": status})
        self.conditions = status.conditions
        return {each.type: each for each in status.conditions}

    async def ready(self) -> bool:
        await self.reconcile()
        return is_ready(self.conditions)

    async def synced(self) -> bool:
        found = await self.reconcile()
        return is_ready(self.conditions) and found["Synced"].status is ConditionStatus.TRUE

    async def until(self, wanted: Callable[[dict[str, Condition]], bool]) -> bool:
        return wanted(await self.reconcile())

    def edit(self, **spec: object) -> None:
        """Give it another specification, as `soma apply` does."""
        body = {"metadata": {"name": "x"}, "spec": spec}
        generation = self.namespace.metadata.generation + 1
        self.namespace = self.namespace.model_copy(
            update={
                "spec": MemoryNamespace.model_validate(body).spec,
                "metadata": self.namespace.metadata.model_copy(update={"generation": generation}),
            }
        )

    def starts(self) -> list[str]:
        file = self.target.folder / "starts"
        return file.read_text().splitlines() if file.exists() else []

    async def sql(self, statement: str, *arguments: object) -> list[Any]:
        server, admin = self.database.server, self.database.administrator
        connection = await asyncpg.connect(
            host=server.host, port=server.port, database=server.database, user=admin.user, password=admin.password
        )
        try:
            return await connection.fetch(statement, *arguments)
        finally:
            await connection.close()


@pytest.fixture
async def new_machine(database: str, tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Make a machine; all of a test serve the same tenant from the same database, each from a folder of its own."""
    name = f"research-{uuid4().hex[:8]}"
    async with AsyncExitStack() as stack:

        async def make(place: str = "first") -> Machine:
            folder = tmp_path / place
            folder.mkdir()
            state = StateDirectory(folder / "state")
            state.prepare()
            metadata = {"name": name, "namespace": "team-a", "generation": 4, "uid": state.uid()}
            target, secrets = FakeApiTarget(folder), LocalSecretStore(state)
            stack.push_async_callback(target.processes.close)
            world = await stack.enter_async_context(open_world(secrets, target))
            return Machine(
                MemoryNamespace.model_validate({"metadata": metadata}),
                parse_admin_url(f"{database}?sslmode=disable"),
                state,
                target,
                secrets,
                world,
            )

        yield make


@pytest.fixture
async def machine(new_machine: Callable[..., Any]) -> Machine:
    made: Machine = await new_machine()
    return made


async def test_an_empty_world_becomes_ready(machine, eventually):
    await eventually(machine.ready)

    assert [each.type for each in machine.conditions] == list(ConditionType)
    off = {each.type for each in machine.conditions if each.reason is Reason.NOT_CONFIGURED}
    assert off == OPTIONAL
    assert {each.status for each in machine.conditions if each.type not in OPTIONAL} == {ConditionStatus.TRUE}
    status = machine.namespace.status
    assert status.observed_generation == 4
    assert status.endpoint.startswith("http://127.0.0.1:")
    assert status.external.postgres.schema_ == machine.names.schema
    assert (status.api.replicas, status.api.ready) == (1, 1)


async def test_a_converged_world_gives_the_very_same_status(machine, eventually):
    await eventually(machine.ready)
    before = machine.namespace.status

    await machine.reconcile()

    assert machine.namespace.status == before
    assert len(machine.starts()) == 1


async def test_passes_share_their_connection(machine, eventually):
    await eventually(machine.ready)
    sessions = (
        "select pid from pg_stat_activity where application_name = 'memory-operator' and datname = current_database()"
    )
    before = await machine.sql(sessions)

    for _ in range(3):
        await machine.reconcile()

    assert len(before) == 1
    assert await machine.sql(sessions) == before


async def test_the_first_pass_reports_progress(machine):
    api = (await machine.reconcile())["APIAvailable"]

    assert (api.status, api.reason) == (ConditionStatus.FALSE, Reason.PROGRESSING)


async def test_a_dead_process_is_seen_and_replaced_and_is_no_drift(machine, eventually):
    await eventually(machine.ready)
    (replica,) = machine.target.processes.replicas

    os.kill(replica.record.pid, signal.SIGKILL)

    await eventually(lambda: machine.until(lambda found: found["Ready"].status is ConditionStatus.FALSE))
    await eventually(machine.ready)
    assert machine.namespace.status.drift is None


@pytest.mark.parametrize("policy", ["Correct", "Report"])
async def test_an_edit_reaches_every_process_and_is_no_drift(machine, eventually, policy):
    machine.edit(api={"replicas": 2}, driftPolicy=policy)
    await eventually(machine.synced)

    machine.edit(api={"replicas": 2, "logLevel": "debug"}, driftPolicy=policy)
    await eventually(machine.synced)

    assert ["SOMA_LOG_LEVEL" in start for start in machine.starts()] == [False, False, True, True]
    assert machine.namespace.status.drift is None


PREPARING = Migration(len(all_migrations()) + 1, "pre", "prepare", "create table prepared (id int)")
CLEARING = Migration(len(all_migrations()) + 2, "post", "clear up", "create table cleared (id int)")


async def made(machine: Machine) -> list[str]:
    """Which of the tables of the two migrations there are."""
    query = (
        "select tablename from pg_tables where schemaname = $1 and tablename = any ('{prepared,cleared}') order by 1"
    )
    return [row["tablename"] for row in await machine.sql(query, machine.names.schema)]


async def test_what_clears_up_after_an_upgrade_waits_until_the_last_old_process_is_gone(
    machine, eventually, monkeypatch
):
    machine.edit(api={"replicas": 2})
    await eventually(machine.synced)
    for module in (reconciling, postgres_tenant):
        monkeypatch.setattr(module, "all_migrations", lambda: (*all_migrations(), PREPARING, CLEARING))
    (machine.target.folder / "unready").touch()
    machine.edit(api={"replicas": 2, "logLevel": "debug"})

    await machine.reconcile()
    for _ in range(5):  # one process of two is replaced, and does not answer
        await asyncio.sleep(0.1)
        assert (await machine.reconcile())["Synced"].status is not ConditionStatus.TRUE
        assert await made(machine) == ["prepared"]
    (machine.target.folder / "unready").unlink()
    await eventually(machine.synced)
    await machine.reconcile()

    assert await made(machine) == ["cleared", "prepared"]


async def test_in_an_empty_schema_and_where_nothing_runs_there_is_nothing_to_wait_for(
    machine, new_machine, eventually, monkeypatch
):
    await eventually(machine.ready)
    machine.edit(state="Hibernated")
    await eventually(lambda: machine.until(lambda found: found["Synced"].status is ConditionStatus.TRUE))
    for module in (reconciling, postgres_tenant):
        monkeypatch.setattr(module, "all_migrations", lambda: (*all_migrations(), PREPARING, CLEARING))

    await machine.reconcile()

    assert await made(machine) == ["cleared", "prepared"]


async def test_drift_in_the_database_is_repaired_by_the_next_pass_and_counted(machine, eventually):
    await eventually(machine.ready)
    role = machine.namespace.status.external.postgres.role
    await machine.sql(f"alter role {role} password 'changed' connection limit 1")

    assert await machine.ready()

    (limit,) = await machine.sql("select rolconnlimit from pg_roles where rolname = $1", role)
    assert limit[0] > 1
    drift = machine.namespace.status.drift
    assert drift.corrected == 1
    assert role in drift.detail


async def test_drift_is_only_reported_when_that_is_the_policy(machine, eventually):
    machine.edit(driftPolicy="Report")
    await eventually(machine.ready)
    role = machine.namespace.status.external.postgres.role
    await machine.sql(f"alter role {role} connection limit 1")

    found = await machine.reconcile()

    assert (found["Synced"].status, found["Synced"].reason) == (ConditionStatus.FALSE, Reason.DRIFT_DETECTED)
    assert role in found["Synced"].message
    assert found["SchemaReady"].message.startswith("drift that was not corrected: ")
    assert role in found["SchemaReady"].message
    (limit,) = await machine.sql("select rolconnlimit from pg_roles where rolname = $1", role)
    assert limit[0] == 1


async def test_a_lost_password_file_is_replaced_everywhere(machine, eventually):
    await eventually(machine.ready)
    (file,) = machine.state.secrets.rglob("postgres-password-a")
    file.unlink()

    await machine.reconcile()
    await eventually(machine.synced)

    assert len(machine.starts()) == 2
    assert file.read_text().strip() in machine.starts()[1]


async def test_a_foreign_schema_blocks_and_nothing_is_started(machine):
    await machine.sql(f"create schema {machine.names.schema}")

    found = await machine.reconcile()

    schema = found["SchemaReady"]
    assert (schema.status, schema.reason) == (ConditionStatus.FALSE, Reason.FOREIGN_OBJECT)
    assert machine.names.schema in found["Ready"].message
    assert found["APIAvailable"].reason is Reason.WAITING_FOR_EARLIER_STAGE
    assert machine.target.processes.replicas == []


async def test_two_machines_on_one_database_do_not_take_each_others_tenant(machine, new_machine, eventually):
    """Regression: they changed the password of each other's role for ever."""
    await eventually(machine.ready)
    second = await new_machine("second")

    found = await second.reconcile()

    claimed = found["Claimed"]
    assert (claimed.status, claimed.reason) == (ConditionStatus.FALSE, Reason.CLAIMED_BY_ANOTHER)
    assert machine.state.uid() in claimed.message
    assert second.target.processes.replicas == []
    before = machine.namespace.status
    await machine.reconcile()
    assert machine.namespace.status == before


async def test_a_database_that_does_not_answer_makes_it_unknown_and_leaves_the_api_alone(machine, eventually):
    await eventually(machine.ready)
    (replica,) = machine.target.processes.replicas
    machine.database = replace(machine.database, server=machine.database.server.model_copy(update={"port": 1}))

    found = await machine.reconcile()

    for stage in ("Claimed", "SchemaReady"):
        assert (found[stage].status, found[stage].reason) == (ConditionStatus.UNKNOWN, Reason.BACKEND_UNAVAILABLE)
        assert "127.0.0.1:1 cannot be reached" in found[stage].message
    assert replica.record.alive


async def test_a_wrong_password_of_the_administrator_is_named(machine):
    machine.database = replace(machine.database, administrator=replace(machine.database.administrator, password="x"))

    claimed = (await machine.reconcile())["Claimed"]

    assert (claimed.status, claimed.reason) == (ConditionStatus.FALSE, Reason.AUTHENTICATION_FAILED)


async def test_without_a_cluster_it_says_which_one_is_missing(machine):
    status = await reconcile(machine.namespace, None, machine.world)

    accepted = status.conditions[0]
    assert (accepted.type, accepted.reason) == (ConditionType.CLUSTER_ACCEPTED, Reason.CLUSTER_NOT_FOUND)
    assert "team-a/default" in accepted.message


async def test_who_does_not_agree_is_asked_first(machine):
    class Refusing:
        async def check(self, namespace: MemoryNamespace, cluster: MemoryCluster) -> None:
            raise Rejected("not here", reason=Reason.NAMESPACE_NOT_ALLOWED)

    world = replace(machine.world, consent=Refusing())

    status = await reconcile(machine.namespace, machine.database.cluster_for(machine.namespace), world)

    assert status.conditions[0].reason is Reason.NAMESPACE_NOT_ALLOWED
    assert await machine.sql("select from pg_namespace where nspname = $1", machine.names.schema) == []


async def test_an_api_that_keeps_ending_blocks_with_its_last_words(machine, eventually):
    (machine.target.folder / "broken").touch()

    await eventually(lambda: machine.until(lambda found: found["APIAvailable"].reason is Reason.BLOCKED))

    assert "the fake is broken" in machine.conditions[-1].message


@pytest.mark.parametrize(
    ("state", "reason", "sessions"), [("Fenced", Reason.FENCED, False), ("Hibernated", Reason.HIBERNATED, True)]
)
async def test_a_namespace_that_rests_runs_nothing_and_wakes_up_again(machine, eventually, state, reason, sessions):
    await eventually(machine.ready)
    role = machine.namespace.status.external.postgres.role

    machine.edit(state=state)
    found = await machine.reconcile()

    assert (found["APIAvailable"].reason, found["Ready"].reason) == (reason, reason)
    assert found["Synced"].status is ConditionStatus.TRUE
    assert machine.target.processes.replicas == []
    (may_log_in,) = await machine.sql("select rolcanlogin from pg_roles where rolname = $1", role)
    assert may_log_in[0] is sessions
    machine.edit(state="Active")
    assert await eventually(machine.synced)


async def test_a_read_only_namespace_is_served_by_a_role_that_only_reads(machine, eventually):
    await eventually(machine.ready)

    machine.edit(state="ReadOnly")
    await eventually(machine.synced)

    assert "SOMA_READ_ONLY" in machine.starts()[-1]
    assert next(each for each in machine.conditions if each.type == "APIAvailable").reason is Reason.READ_ONLY
    role, table = machine.namespace.status.external.postgres.role, f"{machine.names.schema}.memories"
    (may,) = await machine.sql(
        "select has_table_privilege($1, $2, 'select'), has_table_privilege($1, $2, 'insert')", role, table
    )
    assert tuple(may) == (True, False)
