"""What somebody changes in the backends behind the operator's back: put back, or only told, as `driftPolicy` says.

Each row of the table is damage to a tenant of its own, once for each policy. All of it is done at once, so that the
waiting is done once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from faults import DELETE, HEAL_SECONDS, Case, kubernetes_namespace, new_case, remove_clusters, twin
from holdings import Holdings
from kube import Kube, eventually

from memory_contracts.naming import TenantNames

Act = Callable[[Holdings, TenantNames], Any]
# The drift sweep runs every five seconds here.
TWO_SWEEPS_SECONDS = 11.0


@dataclass(frozen=True)
class Row:
    """Somebody's change, what is to be seen of it, and words of the step that would undo it."""

    name: str
    damage: Act
    look: Act
    says: str


@dataclass
class Damaged:
    """A tenant of a row, with what was to be seen of it before and after the change."""

    case: Case
    before: Any
    after: Any
    corrected: int

    @property
    def drift(self) -> dict[str, Any]:
        return dict(self.case.get()["status"].get("drift", {}))


def collection(world: Holdings, names: TenantNames) -> Any:
    """The collection with its mark, its indexes, and the aliases that lead to it."""
    if names.collection not in {each["name"] for each in world.qdrant("GET", "/collections")["collections"]}:
        return None
    found = world.qdrant("GET", f"/collections/{names.collection}")
    aliases = world.qdrant("GET", f"/collections/{names.collection}/aliases")["aliases"]
    return found["config"], found["payload_schema"], aliases


def drop_alias(world: Holdings, names: TenantNames) -> None:
    actions = [{"delete_alias": {"alias_name": names.alias}}]
    world.qdrant("POST", "/collections/aliases", {"actions": actions})


def user(world: Holdings, names: TenantNames) -> set[str]:
    """The words of the user's line, the hash of its password among them."""
    with world.redis() as client:
        lines = [line.split() for line in client.execute_command("ACL", "LIST")]
    return {word for line in lines if line[1] == names.redis_user for word in line}


def redis(*command: str) -> Act:
    """Return an administrator's command in which USER stands for the tenant's user."""

    def run(world: Holdings, names: TenantNames) -> None:
        with world.redis() as client:
            client.execute_command(*(names.redis_user if each == "USER" else each for each in command))

    return run


def topics(world: Holdings, names: TenantNames) -> Any:
    """The topics with their partitions, and what is set on each."""
    partitions = world.kafka.partitions(names.stem)
    return partitions, {name: world.kafka.config(name) for name in partitions}


def configure(**values: str) -> Act:
    return lambda world, names: world.kafka.configure(names.topic("events"), **values)


def grants(world: Holdings, names: TenantNames) -> set[str]:
    """Who may do what with the schema and the memories."""
    rows = world.sql(
        f"select 'schema ' || unnest(nspacl) as may from pg_namespace where nspname = '{names.schema}' union all "
        f"select 'table ' || unnest(relacl) from pg_class where oid = '{names.schema}.memories'::regclass"
    )
    return {row["may"] for row in rows}


def sql(statement: str) -> Act:
    """Return an administrator's statement in which SCHEMA and ROLE stand for the tenant's names."""
    return lambda world, names: world.sql(
        statement.replace("SCHEMA", names.schema).replace("ROLE", names.login_role("a"))
    )


ROWS = [
    Row(
        "collection-dropped",
        lambda world, names: world.qdrant("DELETE", f"/collections/{names.collection}"),
        collection,
        "create collection",
    ),
    Row("alias-dropped", drop_alias, collection, "point alias"),
    Row(
        "index-dropped",
        lambda world, names: world.qdrant("DELETE", f"/collections/{names.collection}/index/version?wait=true"),
        collection,
        "index payload field version",
    ),
    Row("user-widened", redis("ACL", "SETUSER", "USER", "~*", "+flushall"), user, "to take +flushall"),
    Row("user-narrowed", redis("ACL", "SETUSER", "USER", "-get"), user, "to give +get"),
    Row("user-with-another-password", redis("ACL", "SETUSER", "USER", "resetpass", ">x"), user, "to give a password"),
    Row("user-deleted", redis("ACL", "DELUSER", "USER"), user, "set user"),
    Row("retention-changed", configure(retention_ms="1000"), topics, "set retention.ms="),
    Row("cleanup-policy-changed", configure(cleanup_policy="compact"), topics, "set cleanup.policy=delete"),
    Row("topic-deleted", lambda world, names: world.kafka.delete(names.topic("ingest")), topics, "create topic"),
    Row("grant-revoked", sql("revoke insert on SCHEMA.memories from ROLE"), grants, "read and write 1 tables"),
    Row("grant-to-everybody", sql("grant select on SCHEMA.memories to public"), grants, "take SELECT on 1 tables"),
    Row("schema-closed", sql("revoke usage on schema SCHEMA from ROLE"), grants, "use schema"),
]
each_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


@pytest.fixture(scope="module")
def world(backends) -> Holdings:
    return Holdings(backends)


@pytest.fixture(scope="module")
def tenants(kube: Kube, backends, operator) -> Iterator[dict[tuple[str, str], Case]]:
    """For each policy and row a tenant that has come to rest."""
    with kubernetes_namespace(kube, "drift") as place:
        home = new_case(kube, place, "drift", backends, "qdrant", "kafka", "redis")
        home.provide(*home.secrets)
        home.apply_cluster()
        found = {(policy, row.name): twin(home, f"{row.name}-{policy.lower()}") for policy in ("Correct", "Report")
                 for row in ROWS}  # fmt: skip
        for (policy, _), case in found.items():
            case.apply_tenant(driftPolicy=policy, events={"partitions": 1}, deletion=DELETE)
        for case in found.values():
            case.wait("Ready")
            case.wait("Synced")
        yield found
        for case in found.values():
            case.delete()
        for case in found.values():
            case.wait_gone()
        remove_clusters(kube, [home])


@pytest.fixture(scope="module")
def damaged(tenants, world) -> dict[tuple[str, str], Damaged]:
    """The same after the changes."""
    found = {}
    for row in ROWS:
        for policy in ("Report", "Correct"):
            case = tenants[policy, row.name]
            before = row.look(world, case.names)
            found[policy, row.name] = one = Damaged(case, before, None, 0)
            one.corrected = one.drift.get("corrected", 0)
            row.damage(world, case.names)
            if policy == "Report":
                one.after = row.look(world, case.names)
                assert one.after != before
    return found


@each_row
def test_what_was_changed_in_a_backend_is_put_back_and_told(damaged, world, row):
    one = damaged["Correct", row.name]

    eventually(lambda: row.look(world, one.case.names) == one.before, HEAL_SECONDS, lambda: "it stays as it is")

    drift = eventually(lambda: one.drift if one.drift.get("corrected", 0) > one.corrected else None, HEAL_SECONDS)
    assert row.says in drift["detail"]
    one.case.wait("Synced")
    one.case.wait("Ready")


@pytest.fixture(scope="module")
def told(damaged) -> dict[str, Damaged]:
    """Those whose policy is Report, after there was time enough to put something back."""
    found = {row.name: damaged["Report", row.name] for row in ROWS}
    for one in found.values():
        one.case.wait("Synced", "False", reason="DriftDetected", seconds=HEAL_SECONDS)
    time.sleep(TWO_SWEEPS_SECONDS)
    return found


@each_row
def test_with_the_policy_report_it_is_told_and_left_as_it_is(told, world, row):
    one = told[row.name]

    message = one.case.wait("Synced", "False", reason="DriftDetected")["message"]

    assert row.look(world, one.case.names) == one.after
    assert row.says in one.drift["detail"]
    assert row.says in message
    assert one.drift.get("corrected", 0) == one.corrected


@pytest.fixture(scope="module")
def to_be_corrected(told) -> dict[str, Damaged]:
    """The same, with the other policy now."""
    for one in told.values():
        one.case.edit(driftPolicy="Correct")
    return told


@each_row
def test_what_was_only_told_is_put_back_when_the_policy_becomes_correct(to_be_corrected, world, row):
    one = to_be_corrected[row.name]

    one.case.wait("Synced", seconds=HEAL_SECONDS)

    assert row.look(world, one.case.names) == one.before
