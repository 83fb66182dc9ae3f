"""Two objects that want one name on the same servers: they never share, and never drop each other's data."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import uuid4

import pytest
from faults import DELETE
from holdings import Holdings
from kube import Kube, eventually
from second_cluster import SecondCluster, second_cluster

from memory_contracts.naming import TenantNames

RACES = 16


@pytest.fixture(scope="module")
def holdings(kube, backends) -> Holdings:
    return Holdings(backends)


@pytest.fixture(scope="module")
def other(kube, memory_cluster, operator, tmp_path_factory) -> Iterator[SecondCluster]:
    with second_cluster(tmp_path_factory.mktemp("second"), kube) as second:
        yield second


@pytest.fixture
def rival(tenant, other):
    """The same name in the other Kubernetes cluster; not applied yet, and dropping all when it goes."""
    make_namespace(other.kube, tenant.namespace)
    return replace(tenant, kube=other.kube, spec={"deletion": DELETE})


def make_namespace(kube: Kube, name: str) -> None:
    kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})


def names_of(tenant) -> TenantNames:
    return TenantNames(tenant.namespace, tenant.name)


def uid_of(tenant) -> str:
    return str(tenant.get()["metadata"]["uid"])


def nudge(tenant) -> None:
    """Have it looked at now; it would be within a minute."""
    labels = {"looked-at": uuid4().hex[:8]}
    tenant.kube.edit("MemoryNamespace", tenant.namespace, tenant.name, {"metadata": {"labels": labels}})


def wait_refused(tenant, says: str):
    """Wait until the condition says this; returns the message."""

    def told() -> str | None:
        message = tenant.wait("Claimed", "False", reason="ClaimedByAnother")["message"]
        return message if says in message else None

    nudge(tenant)
    return eventually(told)


def test_the_younger_of_two_is_told_who_has_the_name_and_touches_nothing(ready, rival, kube, holdings):
    names = names_of(ready)
    holdings.fill(names)
    before, contents = holdings.of(names), holdings.contents(names)

    rival.apply()

    told = wait_refused(rival, "is held by")
    identity = kube.get("Namespace", "", "kube-system")["metadata"]["uid"]
    assert f"the object with uid {uid_of(ready)} of Kubernetes cluster {identity}" in told
    assert "rename this object" in told
    assert rival.wait("Ready", "False")["reason"] == "ClaimedByAnother"
    assert [rival.child(kind) for kind in ("Deployment", "Service", "ConfigMap")] == [None] * 3
    rival.delete()
    rival.wait_gone()
    assert (holdings.of(names), holdings.contents(names)) == (before, contents)
    nudge(ready)
    ready.wait()


def test_what_the_older_leaves_goes_to_the_younger_only_by_a_persons_hand(ready, rival, holdings):
    names = names_of(ready)
    holdings.fill(names)
    rival.apply()
    wait_refused(rival, "is held by")

    ready.delete()
    ready.wait_gone()

    told = wait_refused(rival, "which may come back for its data")
    assert holdings.contents(names) == {"row": 1, "point": 1, "record": 1, "key": 0}
    holdings.sql(told.partition("to hand the data over: ")[2])
    nudge(rival)
    for condition in ("Claimed", "SchemaReady", "CollectionReady", "TopicReady", "CacheReady"):
        rival.wait(condition)
    assert holdings.contents(names) == {"row": 1, "point": 1, "record": 1, "key": 0}
    rival.delete()
    rival.wait_gone()
    assert holdings.of(names) == set()


def test_what_the_older_drops_is_free_for_the_younger(tenant, rival, holdings):
    older = replace(tenant, spec={"deletion": DELETE})
    older.apply()
    older.wait()
    holdings.fill(names_of(older))
    rival.apply()
    wait_refused(rival, "is held by")

    older.delete()
    older.wait_gone()

    nudge(rival)
    for condition in ("Claimed", "SchemaReady", "CollectionReady", "TopicReady", "CacheReady"):
        rival.wait(condition)
    assert holdings.contents(names_of(rival)) == {"row": 0, "point": 0, "record": 0, "key": 0}
    rival.delete()
    rival.wait_gone()
    assert holdings.of(names_of(rival)) == set()


def test_of_two_that_come_at_the_same_instant_exactly_one_wins(tenant, rival, holdings):
    pairs = [
        [replace(each, name=f"race{number}", spec={"deletion": DELETE}) for each in (tenant, rival)]
        for number in range(RACES)
    ]
    everybody = [each for pair in pairs for each in pair]

    def decided(one) -> str:
        return eventually(lambda: one.kube.conditions("MemoryNamespace", one.namespace, one.name).get("Claimed"))[
            "status"
        ]

    with ThreadPoolExecutor(len(everybody)) as threads:
        list(threads.map(lambda one: one.apply(), everybody))
    outcomes = [sorted(decided(one) for one in pair) for pair in pairs]

    assert outcomes == [["False", "True"]] * RACES
    for pair in pairs:
        (winner,) = [one for one in pair if decided(one) == "True"]
        (held,) = holdings.sql(f"select uid from memory_operator.tenants where tenant = '{names_of(winner).qualified}'")
        assert held["uid"] == uid_of(winner)
    for one in everybody:
        one.delete()
    for one in everybody:
        one.wait_gone()
    for one, _ in pairs:
        assert holdings.of(names_of(one)) == set()


def test_an_object_made_again_after_its_predecessor_was_removed_by_force_goes_on_with_the_data(
    ready, holdings, operator
):
    """Nobody else in this Kubernetes cluster can have the name, so the one that never gave it up is gone."""
    names, before = names_of(ready), uid_of(ready)
    holdings.fill(names)
    operator.stop()
    ready.delete()
    ready.kube.edit("MemoryNamespace", ready.namespace, ready.name, {"metadata": {"finalizers": []}})
    ready.wait_gone()
    ready.apply(deletion=DELETE)
    assert uid_of(ready) != before

    operator.start()

    ready.wait()
    ready.wait("Synced")
    assert holdings.contents(names) == {"row": 1, "point": 1, "record": 1, "key": 1}
    ready.delete()
    ready.wait_gone()
    assert holdings.of(names) == set()
