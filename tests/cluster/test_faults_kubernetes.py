"""What stands in the way inside Kubernetes: consent, capacity, quotas, pods, finalizers, unreadable objects."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from controlplane.pod_status import Behaviour
from faults import DELETE, HEAL_SECONDS, SYSTEM, Case, kubernetes_namespace, new_case, remove_clusters, sql, stays, twin
from kube import Kube, Object, eventually

CRDS = Path(__file__).parents[2] / "crds"
HOLD = "example.com/hold"


@pytest.fixture(scope="module")
def place(kube: Kube, operator) -> Iterator[str]:
    with kubernetes_namespace(kube, "objects") as name:
        yield name


@pytest.fixture(scope="module")
def elsewhere(kube: Kube, operator) -> Iterator[str]:
    with kubernetes_namespace(kube, "elsewhere") as name:
        yield name


@pytest.fixture(scope="module")
def clusters(kube: Kube) -> Iterator[list[Case]]:
    """The cases whose MemoryCluster goes at the end."""
    cases: list[Case] = []
    yield cases
    remove_clusters(kube, cases)


@pytest.fixture(scope="module")
def home(kube: Kube, backends, place, clusters) -> Case:
    """A case that is Ready; `twin` makes others on the same MemoryCluster."""
    case = new_case(kube, place, "home", backends).apply()
    clusters.append(case)
    case.wait()
    return case


# --- who may use a MemoryCluster --------------------------------------------------------------------------------------


def test_who_is_not_let_in_is_told_until_the_owner_agrees(kube, backends, place, clusters):
    case = new_case(kube, place, "same-only", backends)
    case.cluster["allowedNamespaces"] = {"from": "Same"}
    clusters.append(case.apply())

    told = case.wait("ClusterAccepted", "False", reason="NamespaceNotAllowed")

    assert told["message"].startswith(f"MemoryCluster {SYSTEM}/same-only does not allow namespace {place}")
    assert case.child("Secret", "credentials") is None
    assert (
        sql(backends.postgres, backends.database, f"select from pg_namespace where nspname = '{case.names.schema}'")
        == []
    )
    case.edit_cluster(allowedNamespaces={"from": "All"})
    case.wait(seconds=HEAL_SECONDS)


def test_the_labels_of_a_kubernetes_namespace_let_it_in_and_shut_it_out(kube, backends, elsewhere, clusters):
    case = new_case(kube, elsewhere, "by-label", backends)
    case.cluster["allowedNamespaces"] = {"from": "Selector", "selector": {"matchLabels": {"memory": "yes"}}}
    clusters.append(case.apply())
    case.wait("ClusterAccepted", "False", reason="NamespaceNotAllowed")

    kube.edit("Namespace", "", elsewhere, {"metadata": {"labels": {"memory": "yes"}}}).raise_for_status()
    case.wait(seconds=HEAL_SECONDS)
    before = case.child("Deployment")
    kube.edit("Namespace", "", elsewhere, {"metadata": {"labels": {"memory": None}}}).raise_for_status()

    case.wait("ClusterAccepted", "False", reason="NamespaceNotAllowed", seconds=HEAL_SECONDS)
    after = case.child("Deployment")
    assert (after["metadata"]["uid"], after["spec"]) == (before["metadata"]["uid"], before["spec"])


def test_a_memory_cluster_may_come_later(kube, backends, place, clusters):
    case = new_case(kube, place, "later", backends)
    case.spec["clusterRef"] = {"name": "later", "namespace": SYSTEM}
    case.apply_tenant()
    told = case.wait("ClusterAccepted", "False", reason="ClusterNotFound")
    assert f"{SYSTEM}/later" in told["message"]

    clusters.append(case.apply())

    case.wait(seconds=HEAL_SECONDS)


@pytest.fixture(scope="module")
def crowded(kube: Kube, backends, place, elsewhere, clusters) -> tuple[Case, Case, Case]:
    """A MemoryCluster for two, and three who want in, the last by name before the first; an older one is not let in."""
    outsider = new_case(kube, elsewhere, "crowded", backends)
    outsider.cluster |= {
        "capacity": {"maxNamespaces": 2},
        "allowedNamespaces": {
            "from": "Selector",
            "selector": {"matchLabels": {"kubernetes.io/metadata.name": place}},
        },
    }
    clusters.append(outsider.apply())
    first, second, third = (twin(outsider, name) for name in ("crowded-z", "crowded-y", "crowded-a"))
    for case in (first, second, third):
        case.namespace = place
        time.sleep(1.1)  # the age of an object is counted in seconds
        case.apply_tenant()
    outsider.wait("ClusterAccepted", "False", reason="NamespaceNotAllowed")
    return first, second, third


def test_the_oldest_win_when_there_is_no_room_for_all(crowded, kube):
    first, second, third = crowded
    first.wait()
    second.wait()

    told = third.wait("ClusterAccepted", "False", reason="CapacityExceeded")

    assert "takes 2 namespaces" in told["message"]
    kube.wait("MemoryCluster", SYSTEM, "crowded", "CapacityAvailable", "False", reason="CapacityExceeded")
    assert third.child("Deployment") is None
    first.delete()  # who waits gets in: seen at the end of this file


# --- a pause ----------------------------------------------------------------------------------------------------------


def test_while_a_cluster_is_paused_nothing_changes_and_afterwards_all_of_it_is_done(kube, backends, place, clusters):
    case = new_case(kube, place, "paused", backends).apply()
    clusters.append(case)
    leaving = twin(case, "leaving")
    leaving.apply_tenant(deletion=DELETE)
    case.wait()
    leaving.wait()
    role = case.names.login_role("a")

    case.edit_cluster(paused=True)
    case.wait("Synced", "False", reason="Paused")
    case.edit(api={"replicas": 2})
    kube.delete("Service", place, "paused-api")
    sql(backends.postgres, backends.database, f"alter role {role} nologin")
    leaving.delete()

    leaving.wait("Synced", "False", reason="Paused")
    stays(lambda: _at_rest(case, leaving, backends), 7, lambda: "something was done")
    case.edit_cluster(paused=False)
    leaving.wait_gone()
    eventually(lambda: case.child("Service") is not None, HEAL_SECONDS)
    eventually(lambda: case.child("Deployment")["spec"]["replicas"] == 2, HEAL_SECONDS)
    eventually(lambda: _may_log_in(backends, role), HEAL_SECONDS)
    case.wait()
    case.wait("Synced")
    assert not _schema_exists(backends, leaving)


def _at_rest(case: Case, leaving: Case, backends) -> bool:
    return (
        case.child("Service") is None
        and case.child("Deployment")["spec"]["replicas"] == 1
        and not _may_log_in(backends, case.names.login_role("a"))
        and leaving.child("Deployment") is not None
        and _schema_exists(backends, leaving)
    )


def _may_log_in(backends, role: str) -> bool:
    (row,) = sql(backends.postgres, "postgres", f"select rolcanlogin from pg_roles where rolname = '{role}'")
    return bool(row["rolcanlogin"])


def _schema_exists(backends, case: Case) -> bool:
    query = f"select from pg_namespace where nspname = '{case.names.schema}'"
    return sql(backends.postgres, backends.database, query) != []


# --- children ---------------------------------------------------------------------------------------------------------

CHILDREN = (
    ("Deployment", "api"),
    ("Service", "api"),
    ("ConfigMap", "api"),
    ("ServiceAccount", "api"),
    ("PodDisruptionBudget", "api"),
    ("NetworkPolicy", "api"),
    ("Secret", "credentials"),
    ("Secret", "binding"),
)


@pytest.mark.parametrize("what", ["ownerReferences", "labels"])
def test_what_was_stripped_from_children_is_put_back(home, what):
    """Without labels the watch loses sight of them, and takes them for deleted."""
    home.wait("Synced")
    before = {child: home.child(*child)["metadata"] for child in CHILDREN}

    for kind, suffix in CHILDREN:
        home.edit_child(kind, {"metadata": {what: None}}, suffix)

    for child, metadata in before.items():
        eventually(
            lambda c=child, m=metadata: home.child(*c)["metadata"].get(what) == m[what], HEAL_SECONDS, lambda c=child: c
        )
        assert home.child(*child)["metadata"]["uid"] == metadata["uid"]
    key, value = next(iter(home.child("ConfigMap")["data"].items()))
    home.edit_child("ConfigMap", {"data": {key: "theirs"}})  # they are in sight again
    eventually(lambda: home.child("ConfigMap")["data"][key] == value, HEAL_SECONDS)
    home.wait()


def test_an_autoscaler_takes_over_the_replicas_there_are_and_gives_them_back(home):
    home.edit(api={"replicas": 3})
    home.wait("Synced")
    eventually(lambda: _replicas(home) == 3, HEAL_SECONDS)

    home.edit(api={"autoscaling": {"minReplicas": 2, "maxReplicas": 6}})
    eventually(lambda: home.child("HorizontalPodAutoscaler") is not None, HEAL_SECONDS)
    home.wait("Synced")
    assert _replicas(home) == 3
    home.edit_child("Deployment", {"spec": {"replicas": 4}})
    stays(lambda: _replicas(home) == 4, 6, lambda: str(_replicas(home)))

    home.edit(api={"autoscaling": None})
    eventually(lambda: home.child("HorizontalPodAutoscaler") is None, HEAL_SECONDS)
    eventually(lambda: _replicas(home) == 3, HEAL_SECONDS)
    home.wait("Synced")


def _replicas(case: Case) -> int:
    return int(case.child("Deployment")["spec"]["replicas"])


def test_a_network_policy_that_is_not_wanted_goes(home):
    home.edit(networkPolicy={"mode": "Disabled"})
    eventually(lambda: home.child("NetworkPolicy") is None, HEAL_SECONDS)
    home.edit(networkPolicy={"mode": "Strict"})
    eventually(lambda: home.child("NetworkPolicy") is not None, HEAL_SECONDS)
    home.wait()


def test_a_child_that_a_finalizer_holds_is_told_and_made_anew_when_it_is_gone(home):
    case = twin(home, "held")
    case.apply_tenant()
    case.wait()
    before = _hold(case)

    told = case.wait("Synced", "False", reason="Blocked")

    assert f"Deployment held-api is being deleted, but finalizer {HOLD} holds it" in told["message"]
    case.edit_child("Deployment", {"metadata": {"finalizers": None}})
    eventually(lambda: (found := case.child("Deployment")) and found["metadata"]["uid"] != before, HEAL_SECONDS)
    case.wait()
    case.wait("Synced")


def test_a_child_that_a_finalizer_holds_does_not_hold_its_owner(home, kube):
    case = twin(home, "held-too")
    case.apply_tenant()
    case.wait()
    case.edit_child("Deployment", {"metadata": {"finalizers": [HOLD]}})

    case.delete()

    case.wait_gone()
    eventually(lambda: "deletionTimestamp" in case.child("Deployment")["metadata"], HEAL_SECONDS)
    case.edit_child("Deployment", {"metadata": {"finalizers": None}})
    kube.wait_gone("Deployment", case.namespace, "held-too-api")


def _hold(case: Case) -> str:
    """Delete the Deployment such that it stays; return its uid."""
    case.edit_child("Deployment", {"metadata": {"finalizers": [HOLD]}})
    case.kube.delete("Deployment", case.namespace, f"{case.name}-api")
    return str(case.child("Deployment")["metadata"]["uid"])


# --- quotas -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rationed(kube: Kube, home) -> Iterator[dict[str, Case]]:
    """For pods and for Secrets a Kubernetes namespace that takes none of them, with a MemoryNamespace in it."""
    with kubernetes_namespace(kube, "no-pods") as no_pods, kubernetes_namespace(kube, "no-secrets") as no_secrets:
        cases = {}
        for resource, namespace in (("pods", no_pods), ("secrets", no_secrets)):
            _ration(kube, namespace, resource, 0)
            case = cases[resource] = twin(home, f"without-{resource}")
            case.namespace = namespace
            case.apply_tenant()
        yield cases


def _ration(kube: Kube, namespace: str, resource: str, most: int) -> None:
    """Set the quota, and wait until Kubernetes enforces it."""
    manifest: Object = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"namespace": namespace, "name": "few"},
    }
    kube.apply(manifest | {"spec": {"hard": {resource: str(most)}}})
    path = f"/api/v1/namespaces/{namespace}/resourcequotas/few"
    eventually(lambda: kube.client.get(path).json().get("status", {}).get("hard") == {resource: str(most)} or None)


@pytest.mark.parametrize(("resource", "stage"), [("pods", "APIAvailable"), ("secrets", "CredentialsReady")])
def test_an_exceeded_quota_is_told(rationed, kube, resource, stage):
    case = rationed[resource]

    told = case.wait(stage, "False", reason="QuotaExceeded")

    assert "exceeded quota: few" in told["message"]
    case.wait("Ready", "False", reason="QuotaExceeded")
    _ration(kube, case.namespace, resource, 20)  # seen at the end of this file


# --- pods -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("behaviour", [Behaviour.CRASH_LOOPING, Behaviour.IMAGE_MISSING], ids=lambda each: each.value)
def test_pods_that_do_not_become_ready_are_told(home, fake_kubelet, behaviour):
    case = twin(home, behaviour.value.lower())
    fake_kubelet.behave(behaviour, case.namespace, {"app.kubernetes.io/instance": case.name})
    case.apply_tenant(driftPolicy="Report")
    told = case.wait("APIAvailable", "False", reason="Progressing")
    assert "0 of 1 ready" in told["message"]

    # Kubernetes gives up after six minutes; here sooner. The policy Report lets it be.
    case.edit_child("Deployment", {"spec": {"progressDeadlineSeconds": 4}})

    told = case.wait("APIAvailable", "False", reason="Blocked", seconds=HEAL_SECONDS)
    assert "has timed out progressing" in told["message"]
    assert "logs of the pods" in told["message"]
    fake_kubelet.reset()
    case.wait("APIAvailable", seconds=HEAL_SECONDS)


def test_pods_that_are_ready_no_longer_are_told(home, fake_kubelet):
    home.wait()
    fake_kubelet.behave(Behaviour.UNREADY, home.namespace, {"app.kubernetes.io/instance": home.name})

    eventually(lambda: "0 of 3 ready" in home.wait("APIAvailable", "False", reason="Progressing")["message"])
    fake_kubelet.reset()
    home.wait()


def _available(case: Case) -> Object:
    return case.kube.conditions("MemoryNamespace", case.namespace, case.name)["APIAvailable"]


# --- objects that cannot be read --------------------------------------------------------------------------------------


@contextmanager
def looser_rules(kube: Kube) -> Iterator[None]:
    """Let the API server take what it would refuse, as an older or a newer version of the rules might."""
    documents = [yaml.safe_load(file.read_text("utf-8")) for file in sorted(CRDS.glob("*.yaml"))]
    try:
        for document in documents:
            loose = deepcopy(document)
            for version in loose["spec"]["versions"]:
                version["schema"]["openAPIV3Schema"]["properties"]["spec"] = {
                    "type": "object",
                    "x-kubernetes-preserve-unknown-fields": True,
                }
            kube.apply(loose, manager="installer")
        yield
    finally:
        kube.apply(documents, manager="installer")


def _eventually_taken(work: Any) -> None:
    """Do it as soon as the API server has the looser rules."""

    def attempt() -> bool:
        try:
            work()
        except Exception as error:
            if "422" in str(error):
                return False
            raise
        return True

    eventually(attempt, 20, lambda: "the rules are not loosened", every=0.2)


BAD_PEER = {"mode": "Strict", "allowFrom": [{}]}


def test_what_cannot_be_read_is_told_and_can_still_be_deleted(kube, backends, home, place, clusters):
    before, never = twin(home, "readable-once"), twin(home, "never-readable")
    before.apply_tenant(deletion=DELETE)
    before.wait()
    unreadable = new_case(kube, place, "unreadable", backends)
    unreadable.cluster["allowedNamespaces"] = {"from": "Selector"}

    with looser_rules(kube):
        _eventually_taken(lambda: before.edit(networkPolicy=BAD_PEER))
        never.apply_tenant(embedding={"provider": "builtin", "dimensions": 128})
        _eventually_taken(unreadable.apply)
    clusters.append(unreadable)

    assert "a peer names nobody" in before.wait("ClusterAccepted", "False", reason="Rejected")["message"]
    assert "embedding.dimensions goes with provider hash" in never.wait("Ready", "False", reason="Rejected")["message"]
    told = unreadable.wait_cluster("Ready", "False", reason="Rejected")
    assert "allowedNamespaces.selector goes with from: Selector" in told["message"]
    told = unreadable.wait("ClusterAccepted", "False", reason="Rejected")
    assert f"MemoryCluster {SYSTEM}/unreadable" in told["message"]
    assert before.child("Deployment")
    for case in (before, never, unreadable):
        case.delete()
        case.wait_gone()
    assert not _schema_exists(backends, before)


# --- what takes its time, begun above ---------------------------------------------------------------------------------


def test_who_waited_gets_the_room_that_has_become_free(crowded):
    first, _, third = crowded
    first.wait_gone()
    third.wait(seconds=HEAL_SECONDS)


@pytest.mark.parametrize("resource", ["pods", "secrets"])
def test_a_quota_that_was_raised_is_used(rationed, resource):
    rationed[resource].wait(seconds=HEAL_SECONDS)
