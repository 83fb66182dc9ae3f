"""Two replicas: one leads, the other follows within seconds, and who led before writes nothing any more."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import httpx
import pytest
from controlplane import audit
from faults import DELETE
from holdings import Holdings
from kube import Kube, eventually
from operator_process import OperatorProcess

from memory_contracts.naming import TenantNames

SYSTEM = "memory-system"
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/memory-operator"
FAILOVER_SECONDS = 20.0
# A candidate looks each 2 s; the rest is for a busy machine. A lease that nobody gives back lasts 15 s.
HANDOVER_SECONDS = 5.0


@dataclass(frozen=True)
class Replica:
    """An operator and the account that it writes with, which is its own, so that the audit log tells them apart."""

    account: str
    process: OperatorProcess

    @property
    def user(self) -> str:
        return f"system:serviceaccount:{SYSTEM}:{self.account}"

    @property
    def runs(self) -> bool:
        return self.process.started and self.process.ended is None

    @property
    def elected_at(self) -> str:
        found = self.process.events("leader.elected") if self.runs else []
        return str(found[-1]["time"]) if found else ""

    @property
    def leads(self) -> bool:
        try:
            return self.runs and self.process.get("/readyz").json()["detail"] == "leading"
        except httpx.TransportError:  # it is just ending
            return False


def second_account(kube: Kube) -> str:
    """The rights of the operator for another account."""
    name, roles = "memory-operator-second", "rbac.authorization.k8s.io"
    subjects = [{"kind": "ServiceAccount", "name": name, "namespace": SYSTEM}]
    kube.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": SYSTEM}})
    for kind, role, metadata in (
        ("ClusterRoleBinding", "ClusterRole", {"name": name}),
        ("RoleBinding", "Role", {"name": name, "namespace": SYSTEM}),
    ):
        reference = {"apiGroup": roles, "kind": role, "name": "memory-operator"}
        kube.apply(
            {
                "apiVersion": f"{roles}/v1",
                "kind": kind,
                "metadata": metadata,
                "roleRef": reference,
                "subjects": subjects,
            }
        )
    return name


@pytest.fixture(scope="module")
def replicas(kube, control_plane, memory_cluster, operator, tmp_path_factory) -> Iterator[list[Replica]]:
    """Take the place of the session's operator."""
    operator.stop()
    folder = tmp_path_factory.mktemp("replicas")
    accounts = ("memory-operator", second_account(kube))
    kubeconfigs = [control_plane.service_account(SYSTEM, account) for account in accounts]
    processes = [OperatorProcess(each, folder / f"{each.stem}.log") for each in kubeconfigs]
    found = [Replica(account, process) for account, process in zip(accounts, processes, strict=True)]
    try:
        yield found
    finally:
        for each in found:
            each.process.kill()
        kube.client.delete(LEASE)
        operator.start()


@pytest.fixture
def pair(replicas) -> tuple[Replica, Replica]:
    """Let both run; return the leader and the other."""
    for each in replicas:
        if not each.runs:
            each.process.start()
    leader = eventually(lambda: next((each for each in replicas if each.leads), None), 30)
    (other,) = (each for each in replicas if each is not leader)
    return leader, other


@pytest.fixture(scope="module")
def holdings(backends) -> Holdings:
    return Holdings(backends)


def remembered_epoch(kube: Kube, holdings: Holdings) -> int:
    """The newest term that Postgres knows of."""
    identity = kube.get("Namespace", "", "kube-system")["metadata"]["uid"]
    (found,) = holdings.sql(f"select epoch from memory_operator.fencing where identity = '{identity}'")
    return int(found["epoch"])


def lease(kube: Kube) -> dict[str, Any]:
    return dict(kube.client.get(LEASE).raise_for_status().json()["spec"])


def begin_creation(tenant) -> None:
    """Apply, and return when the operator is in the middle of it."""
    tenant.apply()
    eventually(lambda: tenant.child("Secret", "credentials"), 30, every=0.005)


def test_only_one_of_two_leads_and_both_are_ready(pair):
    leader, other = pair

    assert leader.process.get("/readyz").status_code == 200
    assert other.process.get("/readyz").json() == {"ok": True, "detail": "standing by: another replica leads"}
    assert other.elected_at == ""


def test_a_killed_leader_is_followed_by_the_other_which_finishes_its_work(pair, tenant, control_plane):
    leader, other = pair

    def listings() -> int:
        found = control_plane.audit_events(user=other.user, verbs=("list",))
        return sum(each.resource == "memorynamespaces" for each in found)

    eventually(lambda: listings() >= 2, 10, lambda: "it does not look while it stands by")  # one is the watch's
    begin_creation(tenant)
    known = listings()

    leader.process.kill()

    died = time.monotonic()
    eventually(lambda: other.elected_at or None, FAILOVER_SECONDS, every=0.1)
    print(f"followed after {time.monotonic() - died:.1f} s")
    tenant.wait()
    assert listings() == known, "it has to read everything first"


def test_a_leader_that_is_told_to_end_gives_the_lease_back(pair, tenant):
    leader, other = pair
    begin_creation(tenant)

    assert leader.process.stop() == 0

    (released,) = leader.process.events("leader.released")
    elected = eventually(lambda: other.elected_at or None, FAILOVER_SECONDS, every=0.1)
    waited = datetime.fromisoformat(elected) - datetime.fromisoformat(released["time"])
    assert waited.total_seconds() < HANDOVER_SECONDS
    tenant.wait()


def test_a_frozen_leader_writes_nothing_when_it_wakes_up_and_ends(pair, kube, control_plane, tenant, holdings):
    """It is frozen in the middle of its work, and wakes up in the middle of it."""
    leader, other = pair
    several = [replace(tenant, name=f"frozen{number}", spec={"deletion": DELETE}) for number in range(5)]
    for each in several:
        begin_creation(each)

    os.kill(leader.process.pid, signal.SIGSTOP)
    try:
        eventually(lambda: other.leads, FAILOVER_SECONDS + 10)
        for each in several:
            each.wait()
        several[0].delete()
        several[0].wait_gone()
        epoch = remembered_epoch(kube, holdings)
        assert epoch == lease(kube)["leaseTransitions"]
        position = control_plane.audit_position()
    finally:
        os.kill(leader.process.pid, signal.SIGCONT)

    eventually(lambda: leader.process.ended is not None, 30)
    assert leader.process.ended == 1
    assert leader.process.events("leader.lost")
    written = control_plane.audit_events(user=leader.user, verbs=audit.WRITES, since=position)
    assert [(each.verb, each.resource, each.name) for each in written] == []
    assert remembered_epoch(kube, holdings) == epoch
    assert holdings.of(TenantNames(tenant.namespace, "frozen0")) == set()
    for each in several[1:]:
        each.wait()


def test_a_lease_that_is_deleted_by_hand_is_made_again_and_one_of_them_leads(pair, kube, replicas, tenant, holdings):
    before = remembered_epoch(kube, holdings)

    kube.client.delete(LEASE).raise_for_status()

    eventually(lambda: kube.client.get(LEASE).status_code == 200, FAILOVER_SECONDS)
    tenant.apply()
    tenant.wait()
    eventually(lambda: [each.leads for each in replicas].count(True) == 1, FAILOVER_SECONDS)
    assert remembered_epoch(kube, holdings) >= before


def test_a_lease_that_began_anew_overtakes_the_epoch_that_the_ledger_remembers(pair, kube, replicas, tenant, holdings):
    """Nobody was there when it was deleted, so the first to come begins at 1."""
    for each in replicas:
        if each.runs:
            each.process.stop()
    before = remembered_epoch(kube, holdings)
    assert before > 1
    kube.client.delete(LEASE).raise_for_status()

    replicas[0].process.start()

    eventually(lambda: replicas[0].leads, FAILOVER_SECONDS)
    tenant.apply()
    tenant.wait()
    assert replicas[0].process.events("leader.elected")[-1]["epoch"] == 1
    assert remembered_epoch(kube, holdings) > before
    assert lease(kube)["leaseTransitions"] == remembered_epoch(kube, holdings)
    assert [each["reason"] for each in tenant.status["conditions"] if each["status"] != "True"] == []
