"""The operator's rights: all that it does is allowed, all that is allowed it does, and it writes as itself only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from controlplane import audit
from controlplane.audit import AuditEvent
from faults import DELETE, kubernetes_namespace, new_case, remove_clusters
from kube import Kube, eventually
from second_cluster import install

from memory_operator.kube.kinds import CHILD_KINDS, Kind
from memory_operator.specs.labels import MANAGED_BY, MANAGER
from memory_operator.specs.workload import KINDS

MANIFEST = Path(__file__).parents[2] / "manifests/rbac.yaml"
SYSTEM = "memory-system"
ACCOUNT = f"system:serviceaccount:{SYSTEM}:memory-operator"
TESTER = "admin"  # changes children to see them put back
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/memory-operator"
# An admission plugin asks for it, see the last test; it is no request of its own.
ASKED_FOR_ON_THE_WAY = ("memory.somafractal.io", "memorynamespaces/finalizers", "update")

PART = "app.kubernetes.io/part-of"

Right = tuple[str, str, str]  # API group, resource with its subresource, verb


def granted() -> set[Right]:
    return {
        (group, resource, verb)
        for document in yaml.safe_load_all(MANIFEST.read_text("utf-8"))
        for rule in document.get("rules", ())
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def rights_of(event: AuditEvent) -> set[Right]:
    """What a request needed: an apply that made its object needs to create, too."""
    resource = f"{event.resource}/{event.subresource}" if event.subresource else event.resource
    group = event.raw["objectRef"].get("apiGroup", "")
    verbs = {event.verb, "create"} if (event.verb, event.code) == ("patch", 201) else {event.verb}
    return {(group, resource, verb) for verb in verbs}


@pytest.fixture(scope="module")
def requests(kube, control_plane, backends, operator, k8s_place) -> list[AuditEvent]:
    """What the API server noted while the operator went through all its work, in its namespace and in ours."""
    operator.stop()
    kube.client.delete(LEASE)
    position = control_plane.audit_position()
    operator.start()
    case = new_case(kube, k8s_place, "rights", backends, "redis", "kafka", "qdrant")
    case.spec["deletion"] = DELETE
    case.apply(api={"autoscaling": {"maxReplicas": 2}})
    case.wait()
    let_drift(kube, k8s_place)
    case.apply_tenant(api={"replicas": 1}, networkPolicy={"mode": "Disabled"})
    eventually(lambda: case.child("HorizontalPodAutoscaler") is None and case.child("NetworkPolicy") is None, 30)
    # What is told twice is a series.
    for state in ("Active", "Fenced", "Active", "Fenced"):
        case.apply_tenant(state=state)
        case.wait("Ready", "True" if state == "Active" else "False")
    case.delete()
    case.wait_gone()
    remove_clusters(kube, [case])
    operator.stop()  # it posts its last Events
    found = control_plane.audit_events(verbs=audit.EVERYTHING, since=position)
    operator.start()
    return [each for each in found if each.namespace in {"", SYSTEM, "kube-system", k8s_place}]


def let_drift(kube: Kube, namespace: str) -> None:
    """Change every child, so that each is looked at and put back."""

    def children() -> list[tuple[Kind, dict[str, Any]]]:
        found = [(kind, each["metadata"]) for kind in CHILD_KINDS for each in kube.list(kind.kind, namespace)]
        return [(kind, each) for kind, each in found if each.get("labels", {}).get(MANAGED_BY) == MANAGER]

    before = children()
    assert {kind.kind for kind, _ in before} == {kind.kind for kind in CHILD_KINDS}
    for kind, metadata in before:
        patch = {"metadata": {"labels": {PART: "nobody"}}}
        kube.edit(kind.kind, namespace, metadata["name"], patch).raise_for_status()
    eventually(lambda: all(each["labels"][PART] != "nobody" for _, each in children()), 30)


@pytest.fixture(scope="module")
def k8s_place(kube) -> Iterator[str]:
    with kubernetes_namespace(kube, "rbac") as name:
        yield name


def test_everything_the_operator_does_is_allowed(requests):
    refused = [(each.verb, each.resource, each.name) for each in requests if each.user == ACCOUNT and each.code == 403]

    assert refused == []


def test_everything_that_is_allowed_is_needed(requests):
    used = {right for each in requests if each.user == ACCOUNT and each.code != 403 for right in rights_of(each)}

    assert granted() - used == {ASKED_FOR_ON_THE_WAY}
    assert used <= granted()


def test_every_kind_that_is_built_may_be_made_and_looked_at():
    plurals = {(kind.api_version, kind.kind): (kind.group, kind.plural) for kind in CHILD_KINDS}
    wanted = {(*plurals[kind], verb) for kind in KINDS for verb in ("get", "list", "watch", "create", "patch")}

    assert wanted <= granted()
    assert plurals.keys() == set(KINDS)


def test_whatever_the_operator_makes_is_written_by_its_own_account(requests, k8s_place):
    made = {kind.plural for kind in CHILD_KINDS}
    writers = {
        each.user
        for each in requests
        if each.verb in audit.WRITES and each.namespace == k8s_place
        and (each.resource in made or (each.resource, each.subresource) == ("memorynamespaces", "status"))
    }  # fmt: skip

    assert writers - {TESTER} == {ACCOUNT}


def test_the_owner_references_of_children_ask_for_the_right_to_set_finalizers(new_control_plane):
    """Where the plugin OwnerReferencesPermissionEnforcement is on, as on OpenShift."""
    plane = new_control_plane(
        bare=True, api_server_flags=["--enable-admission-plugins=NodeRestriction,OwnerReferencesPermissionEnforcement"]
    )
    with plane.client() as client, plane.client(_account(plane, client)) as operator:
        admin = Kube(client, plane.kubeconfig)
        owner = {
            "apiVersion": "memory.somafractal.io/v1alpha1",
            "kind": "MemoryNamespace",
            "metadata": {"namespace": "default", "name": "notes"},
            "spec": {},
        }
        admin.apply(owner)
        uid = admin.get("MemoryNamespace", "default", "notes")["metadata"]["uid"]

        allowed = operator.post("/api/v1/namespaces/default/configmaps", json=_child("with", uid))
        admin.client.patch(
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/memory-operator",
            headers={"Content-Type": "application/merge-patch+json"},
            json={"rules": [each for each in _rules() if "memorynamespaces/finalizers" not in each["resources"]]},
        ).raise_for_status()
        refused = eventually(lambda: _refusal(operator, uid), 10)

    assert allowed.status_code == 201, allowed.text
    assert "cannot set blockOwnerDeletion" in refused


def _account(plane, client) -> Path:
    install(Kube(client, plane.kubeconfig))
    return plane.service_account(SYSTEM, "memory-operator")


def _rules() -> list[dict[str, Any]]:
    documents = list(yaml.safe_load_all(MANIFEST.read_text("utf-8")))
    return next(each["rules"] for each in documents if each["kind"] == "ClusterRole")


def _child(name: str, uid: str) -> dict[str, Any]:
    reference = {
        "apiVersion": "memory.somafractal.io/v1alpha1",
        "kind": "MemoryNamespace",
        "name": "notes",
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return {"metadata": {"name": name, "namespace": "default", "ownerReferences": [reference]}}


def _refusal(operator, uid: str) -> str | None:
    """The server's sentence, once it has taken note of the change; before that there is one ConfigMap more."""
    answer = operator.post("/api/v1/namespaces/default/configmaps", json=_child(f"without-{uid[:4]}", uid))
    if answer.status_code == 403:
        return str(answer.json()["message"])
    assert answer.status_code in (201, 409), answer.text
    return None
