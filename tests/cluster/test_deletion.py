"""The end of a MemoryNamespace: what stays, what goes, and that it ends whatever does not answer."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime

import pytest
from faults import API_VERSION, DELETE, SYSTEM, kubernetes_namespace, new_case, remove_clusters, secret, stays, twin
from holdings import Holdings
from kube import eventually

from memory_contracts.naming import TenantNames
from memory_operator.kube.kinds import CHILD_KINDS
from memory_operator.kube.resources import FINALIZER

SHORT = "3s"
BLOCKS = {**DELETE, "timeout": SHORT}
ORPHANS = {**BLOCKS, "onTimeout": "Orphan"}
KEEPS = {"policy": "Retain", "timeout": SHORT}


@pytest.fixture(scope="module")
def holdings(kube, backends) -> Holdings:
    return Holdings(backends)


def names_of(tenant) -> TenantNames:
    return TenantNames(tenant.namespace, tenant.name)


def begin(*tenants) -> None:
    """Let all of them become Ready at once."""
    for each in tenants:
        each.apply()
    for each in tenants:
        each.wait()


def variants(tenant, **policies):
    """The same tenant several times, each with a deletion policy of its own."""
    return [replace(tenant, name=name, spec={"deletion": policy}) for name, policy in policies.items()]


def left_behind(kube, tenant) -> list[str]:
    """What Events say of data that was left behind."""
    found = kube.client.get(f"/apis/events.k8s.io/v1/namespaces/{tenant.namespace}/events").raise_for_status()
    return [each["note"] for each in found.json()["items"]
            if each["regarding"]["name"] == tenant.name and "left behind" in each["note"]]  # fmt: skip


# --- what stays and what goes -----------------------------------------------------------------------------------------


def test_retain_keeps_the_memories_for_a_successor_and_nobody_can_reach_them_meanwhile(ready, holdings):
    names = names_of(ready)
    holdings.fill(names)

    ready.delete()
    ready.wait_gone()

    kept = {"row": 1, "point": 1, "record": 1, "key": 0}
    assert holdings.contents(names) == kept
    assert holdings.may_log_in(names) == set()
    ready.apply(deletion=DELETE)
    ready.wait()
    assert holdings.contents(names) == kept
    assert holdings.may_log_in(names) == {names.login_role("a"), names.redis_user}
    ready.delete()
    ready.wait_gone()
    assert holdings.of(names) == set()


def test_a_successor_that_never_got_ready_drops_what_its_predecessor_left(ready, kube, holdings, operator):
    """The collection still bears the mark of the first object, and the operator has been restarted since."""
    names = names_of(ready)
    holdings.fill(names)
    ready.delete()
    ready.wait_gone()
    operator.stop()
    ready.apply(deletion=DELETE)
    # As if it had died right after its first write; written by an administrator, so the finalizer is not only ours.
    held = {"metadata": {"finalizers": [FINALIZER]}}
    kube.edit("MemoryNamespace", ready.namespace, ready.name, held).raise_for_status()
    ready.delete()

    operator.start()

    ready.wait_gone()
    assert holdings.of(names) == set()


def test_delete_drops_all_that_was_claimed_the_latest_first_and_nothing_of_others(tenant, holdings, operator):
    tenant = replace(tenant, spec={"deletion": DELETE})
    begin(tenant)
    names = names_of(tenant)
    holdings.fill(names)
    stem = f"mem-{tenant.namespace}-{tenant.name}-theirs"
    theirs = holdings.make_bystanders(stem)

    tenant.delete()
    tenant.wait_gone()

    assert holdings.of(names) == set()
    assert theirs <= holdings.everything()
    told = [each["message"] for each in operator.events() if each.get("tenant") == names.qualified]
    order = [
        *(f"delete user {names.redis_user}", f"delete topic {names.topic('events')}"),
        *(f"drop collection {names.collection}", f"drop schema {names.schema}", f"drop role {names.owner_role}"),
    ]
    found = [next(number for number, line in enumerate(told) if line.startswith(each)) for each in order]
    assert found == sorted(found)
    holdings.remove_bystanders(stem)


def test_the_loss_of_data_has_to_be_acknowledged(tenant):
    refused = tenant.kube.try_apply(
        tenant.manifest | {"spec": {**tenant.manifest["spec"], "deletion": {"policy": "Delete"}}}
    )

    assert refused.status_code == 422
    assert "deletion.acknowledgeDataLoss: true" in refused.extensions["sentence"]
    tenant.apply()
    assert tenant.edit(deletion={"policy": "Delete"}).status_code == 422


def test_fenced_data_outlives_its_grace_period_also_when_the_operator_restarts(tenant, holdings, operator):
    tenant = replace(tenant, spec={"deletion": {**DELETE, "gracePeriod": "12s"}})
    begin(tenant)
    names = names_of(tenant)
    holdings.fill(names)

    tenant.delete()

    eventually(lambda: holdings.may_log_in(names) == set(), 10)
    fenced = eventually(lambda: tenant.status.get("deletion", {}).get("fencedAt"), 10)
    assert tenant.child("Deployment") is None or "deletionTimestamp" in tenant.child("Deployment")["metadata"]
    assert holdings.contents(names) | {"key": 0} == {"row": 1, "point": 1, "record": 1, "key": 0}
    told = tenant.wait("Ready", "False", reason="Terminating")
    assert "it is dropped at" in told["message"]
    operator.stop()
    operator.start()
    assert tenant.status["deletion"]["fencedAt"] == fenced
    assert holdings.contents(names)["row"] == 1
    tenant.wait_gone()
    since = datetime.fromisoformat(fenced).timestamp()
    assert 12 <= time.time() - since < 30
    assert holdings.of(names) == set()


# --- what does not answer ---------------------------------------------------------------------------------------------


@contextmanager
def down(backends, server: str) -> Iterator[None]:
    """One of the session's servers is down; its data stays."""
    it = getattr(backends, server)
    it.stop()
    try:
        yield
    finally:
        it.start()


# Where retained data needs nothing, nothing is left behind.
@pytest.mark.parametrize(
    ("server", "retain_asks"), [("postgres", True), ("qdrant", False), ("kafka", False), ("redis", True)]
)
def test_a_backend_that_is_down_blocks_only_whoever_wants_to_be_blocked(
    tenant, kube, backends, holdings, server, retain_asks
):
    block, orphan, keep = variants(tenant, block=BLOCKS, orphan=ORPHANS, keep=KEEPS)
    begin(block, orphan, keep)

    with down(backends, server):
        for each in (block, orphan, keep):
            each.delete()
        told = block.wait("Ready", "False", reason="DeletionBlocked")
        orphan.wait_gone()
        keep.wait_gone()
        (note,) = eventually(lambda: left_behind(kube, orphan), 10)
        assert bool(left_behind(kube, keep)) == retain_asks
        assert block.get()
    assert "set spec.deletion.onTimeout: Orphan to leave the data behind" in told["message"]
    assert f"the data of {tenant.namespace}/orphan was left behind" in note
    block.wait_gone()
    assert holdings.of(names_of(block)) == set()
    # What was left behind is not lost: an object of that name finds it, and may drop it.
    assert holdings.of(names_of(orphan))
    again = [replace(each, spec={"deletion": DELETE}) for each in (orphan, keep)]
    begin(*again)
    for each in again:
        each.delete()
    for each in again:
        each.wait_gone()
        assert holdings.of(names_of(each)) == set()


@pytest.fixture
def own(kube, backends, operator, k8s_namespace):
    """A tenant with a MemoryCluster of its own, all four backends in it."""
    case = new_case(kube, k8s_namespace, f"own-{k8s_namespace[-6:]}", backends, "redis", "kafka", "qdrant")
    yield case
    remove_clusters(kube, [case])


def test_a_memory_cluster_that_went_first_is_still_remembered(own, kube, holdings):
    own.spec["deletion"] = DELETE
    own.apply()
    own.wait()
    holdings.fill(own.names)
    kube.delete("MemoryCluster", SYSTEM, own.name)
    own.wait("ClusterAccepted", "False", reason="ClusterNotFound")

    own.delete()

    own.wait_gone()
    assert holdings.of(own.names) == set()


def test_without_its_memory_cluster_a_deletion_has_an_end_for_each_policy(own, kube, holdings, operator):
    """The operator has been restarted since, so nobody knows any more where the data is."""
    own.apply(deletion=BLOCKS)
    orphan, keep = twin(own, "orphan"), twin(own, "keep")
    orphan.apply_tenant(deletion=ORPHANS)
    keep.apply_tenant(deletion={"policy": "Retain"})  # the timeout is ten minutes
    for each in (own, orphan, keep):
        each.wait()
    operator.stop()
    kube.delete("MemoryCluster", SYSTEM, own.name)
    operator.start()

    for each in (own, orphan, keep):
        each.delete()

    keep.wait_gone(seconds=10)
    orphan.wait_gone()
    assert eventually(lambda: left_behind(kube, orphan), 10)
    told = own.wait("Ready", "False", reason="DeletionBlocked")
    assert "create it again" in told["message"]
    assert "does not exist any more" in told["message"]
    own.apply_cluster()
    own.wait_gone()
    assert holdings.of(own.names) == set()
    assert holdings.of(orphan.names)
    assert holdings.of(keep.names)


def test_without_the_secret_of_its_memory_cluster_a_deletion_waits_for_it(own, kube, holdings, operator):
    own.apply(deletion=BLOCKS)
    own.wait()
    operator.stop()
    kube.delete("Secret", SYSTEM, f"{own.name}-postgres")
    operator.start()

    own.delete()

    told = own.wait("Ready", "False", reason="DeletionBlocked")
    assert f"Secret {own.name}-postgres is missing" in told["message"]
    own.provide("postgres")
    own.wait_gone()
    assert holdings.of(own.names) == set()


def test_a_paused_cluster_holds_a_deletion_up_until_it_goes_on(own, holdings):
    own.apply(deletion=DELETE)
    own.wait()
    own.edit_cluster(paused=True)
    own.wait("Synced", "False", reason="Paused")

    own.delete()

    stays(lambda: own.get()["metadata"].get("deletionTimestamp"), 3)
    assert holdings.may_log_in(own.names)
    own.edit_cluster(paused=False)
    own.wait_gone()
    assert holdings.of(own.names) == set()


# --- the whole Kubernetes namespace -----------------------------------------------------------------------------------


@pytest.fixture
def doomed(kube) -> Iterator[str]:
    """A Kubernetes namespace that the test deletes itself."""
    with kubernetes_namespace(kube, "doomed") as name:
        yield name


@pytest.mark.parametrize("policy", [{"policy": "Retain"}, DELETE], ids=["retain", "delete"])
def test_a_kubernetes_namespace_ends_with_the_tenants_in_it(tenant, doomed, kube, holdings, policy):
    tenant = replace(tenant, namespace=doomed, spec={"deletion": policy})
    begin(tenant)
    holdings.fill(names_of(tenant))

    kube.delete("Namespace", "", tenant.namespace)

    kube.wait_gone("Namespace", "", tenant.namespace)
    assert bool(holdings.of(names_of(tenant))) == (policy != DELETE)


@pytest.mark.parametrize("away", [False, True], ids=["operator-there", "operator-away"])
def test_a_kubernetes_namespace_ends_also_with_its_memory_cluster_and_secrets_inside(
    kube, backends, holdings, operator, doomed, away
):
    """What they lead to cannot be asked for any more by an operator that comes later; it must not wait for that."""
    case = new_case(kube, doomed, "inside", backends, "redis", "kafka", "qdrant")
    names = TenantNames(doomed, "inside")
    for each in case.secrets.values():
        kube.apply(secret(each["metadata"]["name"], doomed, **each["stringData"]))
    metadata = {"namespace": doomed, "name": "inside"}
    specs = {"MemoryCluster": case.cluster, "MemoryNamespace": {"clusterRef": {"name": "inside"}, "deletion": DELETE}}
    for kind, spec in specs.items():
        kube.apply({"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec})
    kube.wait("MemoryNamespace", doomed, "inside")
    if away:
        operator.stop()

    kube.delete("Namespace", "", doomed)

    if away:
        eventually(lambda: kube.get("MemoryCluster", doomed, "inside") is None or None, 60)
        eventually(lambda: kube.get("Secret", doomed, "inside-postgres") is None or None, 60)
        operator.start()
    kube.wait_gone("Namespace", "", doomed)
    assert bool(holdings.of(names)) == away


# --- in the middle of things ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "longest"), [(50, 0.0), (40, 2.5)], ids=["at-once", "after-a-while"])
def test_a_deletion_during_the_creation_leaves_nothing(tenant, holdings, count, longest):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    pauses = [chance.uniform(0, longest) for _ in range(count)]
    tenants = [replace(tenant, name=f"t{number}", spec={"deletion": DELETE}) for number in range(count)]

    def live(each, pause: float) -> None:
        each.apply()
        time.sleep(pause)
        each.delete()

    def left() -> set[str]:
        stem = f"mem-{tenant.namespace}"
        held = [each for one in tenants for each in holdings.claims(names_of(one))]
        return {*held, *(each for each in holdings.everything() if stem in each.replace("_", "-"))}

    with ThreadPoolExecutor(count) as threads:
        list(threads.map(live, tenants, pauses))

    for each in tenants:
        each.wait_gone(seconds=120)
    # The API server may remove an object although the finalizer was set a moment before; then the rest comes after.
    eventually(lambda: not left(), 30, lambda: str(left()))


def test_a_name_that_is_used_again_and_again_ends_clean(tenant, holdings):
    """Create and delete without waiting for the end: the API server lets the next one in when the last one is gone."""
    tenant = replace(tenant, spec={"deletion": DELETE})
    for _ in range(12):
        tenant.apply()
        time.sleep(random.uniform(0, 0.4))
        tenant.delete()
        tenant.wait_gone()
    begin(tenant)
    tenant.delete()
    tenant.wait_gone()

    assert holdings.of(names_of(tenant)) == set()
    eventually(lambda: not children_of(tenant), 60, lambda: str(children_of(tenant)))


def children_of(case) -> list[str]:
    """What Kubernetes has yet to collect."""
    found = [each for kind in CHILD_KINDS for each in case.kube.list(kind.kind, case.namespace)]
    return [each["metadata"]["name"] for each in found if each["metadata"]["name"].startswith(f"{case.name}-")]
