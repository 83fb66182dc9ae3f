"""What `api.podTemplate` says of the pods, as the API server takes it, and as it refuses it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from controlplane import audit
from faults import DELETE, HEAL_SECONDS, Case, apart, kubernetes_namespace, new_case, remove_clusters, twin
from kube import Kube, eventually

from memory_operator.shell.dry_run import plan_file

ACCOUNT = "system:serviceaccount:memory-system:memory-operator"
# A sweep, and time for what a child's event brings about.
QUIET_SECONDS = 8.0
RACK = {"maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "ScheduleAnyway"}
ZONE = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", "matchLabelKeys": []}
OVERRIDES: dict[str, Any] = {
    "tolerations": [
        {"key": "dedicated", "operator": "Equal", "value": "memory", "effect": "NoSchedule"},
        {"key": "spot", "operator": "Exists", "value": ""},
        {"key": "slow", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 0},
    ],
    "affinity": {
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {
                    "weight": 50,
                    "podAffinityTerm": {
                        "topologyKey": "rack",
                        "namespaceSelector": {},
                        "labelSelector": {"matchExpressions": [{"key": "noisy", "operator": "Exists"}]},
                    },
                }
            ]
        },
        "nodeAffinity": {},
    },
    "topologySpreadConstraints": [RACK, ZONE],
    "imagePullSecrets": [{"name": "registry"}, {"name": "another"}],
}
METADATA = {"labels": {"team": "blue", "empty": ""}, "annotations": {"example.com/note": "any text: ä", "none": ""}}


@dataclass(frozen=True)
class Refused:
    """A specification that the CRD lets through, and what the API server says of it."""

    name: str
    spec: dict[str, Any]
    says: str


REFUSED = [
    Refused("spread-incomplete", {"topologySpreadConstraints": [{"maxSkew": 1}]}, "topologyKey"),
    Refused("spread-twice", {"topologySpreadConstraints": [RACK, RACK]}, "duplicate"),
    Refused("toleration-unknown", {"tolerations": [{"key": "a", "operator": "Sometimes"}]}, "Sometimes"),
    Refused("toleration-with-more", {"tolerations": [{"key": "a", "colour": "red"}]}, "colour"),
    Refused(
        "toleration-of-another-type", {"tolerations": [{"key": "a", "tolerationSeconds": "soon"}]}, "expected numeric"
    ),
    Refused("affinity-of-another-type", {"affinity": {"nodeAffinity": "everywhere"}}, "everywhere"),
]


@pytest.fixture(scope="module")
def home(kube: Kube, backends, operator) -> Iterator[Case]:
    """A MemoryCluster of Postgres alone, for the `twin`s of these tests."""
    with kubernetes_namespace(kube, "pods") as place:
        case = new_case(kube, place, "pods", backends)
        case.provide(*case.secrets)
        case.apply_cluster()
        yield case
        for each in kube.list("MemoryNamespace", place):
            kube.delete("MemoryNamespace", place, each["metadata"]["name"])
        eventually(lambda: kube.list("MemoryNamespace", place) == [])
        remove_clusters(kube, [case])


def template(spec: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"podTemplate": {"spec": spec, **more}}


def pods(case: Case) -> dict[str, Any]:
    """The template of the Deployment's pods."""
    return dict(case.child("Deployment")["spec"]["template"])


def writes(plane: Any, case: Case, since: int) -> list[str]:
    """What the operator wrote into the case's Kubernetes namespace."""
    found = plane.audit_events(user=ACCOUNT, verbs=audit.WRITES, since=since)
    return [f"{each.verb} {each.resource}/{each.subresource} {each.name}" for each in found
            if each.namespace == case.namespace and each.resource != "events"]  # fmt: skip


def quiet(plane: Any, case: Case) -> list[str]:
    """Wait until it has come to rest; return what is written nevertheless."""
    case.wait("Synced")
    case.wait("Ready")
    time.sleep(2)
    position = plane.audit_position()
    time.sleep(QUIET_SECONDS)
    return writes(plane, case, position)


def steps_left(case: Case, file: Path) -> list[str]:
    """Return what an operator that remembers nothing would do."""
    found = case.get()
    metadata = {name: found["metadata"][name] for name in ("namespace", "name")}
    file.write_text(yaml.safe_dump({**found, "metadata": metadata, "status": None}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", str(case.kube.kubeconfig))
        (plan,) = apart(plan_file(file))
    return [*plan.steps, *plan.problems]


def test_what_is_said_of_the_pods_is_in_the_deployment_and_written_once(control_plane, home, tmp_path):
    case = twin(home, "overrides")
    case.apply_tenant(api=template(OVERRIDES, metadata=METADATA), deletion=DELETE)

    assert quiet(control_plane, case) == []
    assert steps_left(case, tmp_path / "tenant.yaml") == []

    found = pods(case)
    assert found["spec"]["tolerations"][0] == OVERRIDES["tolerations"][0]
    assert [each["key"] for each in found["spec"]["tolerations"]] == ["dedicated", "spot", "slow"]
    assert found["spec"]["affinity"] == OVERRIDES["affinity"]
    assert [each["topologyKey"] for each in found["spec"]["topologySpreadConstraints"]] == ["rack", "zone"]
    assert found["spec"]["imagePullSecrets"] == OVERRIDES["imagePullSecrets"]
    assert METADATA["labels"].items() <= found["metadata"]["labels"].items()
    assert METADATA["annotations"].items() <= found["metadata"]["annotations"].items()
    assert found["spec"]["securityContext"]["runAsNonRoot"] is True

    turned = {name: each[::-1] if isinstance(each, list) else each for name, each in OVERRIDES.items()}
    case.edit(api=template(turned))
    assert quiet(control_plane, case) == []
    assert {each["topologyKey"] for each in pods(case)["spec"]["topologySpreadConstraints"]} == {"rack", "zone"}
    assert [each["key"] for each in pods(case)["spec"]["tolerations"]] == ["slow", "spot", "dedicated"]

    case.edit(api={"podTemplate": None})
    assert quiet(control_plane, case) == []
    found = pods(case)
    assert not {"tolerations", "affinity", "imagePullSecrets"} & found["spec"].keys()
    assert {each["topologyKey"] for each in found["spec"]["topologySpreadConstraints"]} == {
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
    }
    assert "team" not in found["metadata"]["labels"]


@pytest.fixture(scope="module")
def refused(home) -> dict[str, Case]:
    """Each as a new tenant; all applied at once."""
    cases = {each.name: twin(home, each.name) for each in REFUSED}
    for each in REFUSED:
        cases[each.name].apply_tenant(api=template(each.spec), deletion=DELETE)
    return cases


each_refused = pytest.mark.parametrize("row", REFUSED, ids=lambda row: row.name)


@each_refused
def test_what_the_api_server_refuses_is_told_in_its_words(refused, row):
    case = refused[row.name]

    told = case.wait("APIAvailable", "False", reason="Rejected")

    assert row.says in told["message"]
    assert f"deployments/{row.name}-api" in told["message"]
    assert row.says in case.wait("Ready", "False", reason="Rejected")["message"]
    assert case.child("Deployment") is None
    assert case.child("Service")


@pytest.fixture(scope="module")
def corrected(refused) -> dict[str, Case]:
    for case in refused.values():
        case.edit(api=template({"topologySpreadConstraints": [RACK], "tolerations": None, "affinity": None}))
    return refused


@each_refused
def test_the_pods_are_made_when_the_specification_is_corrected(corrected, row):
    case = corrected[row.name]

    case.wait(seconds=HEAL_SECONDS)

    case.wait("Synced")
    (constraint,) = pods(case)["spec"]["topologySpreadConstraints"]
    assert constraint["topologyKey"] == "rack"


def test_an_edit_that_the_api_server_refuses_leaves_the_pods_as_they_are(corrected):
    case = corrected[REFUSED[0].name]
    case.wait("Synced", seconds=HEAL_SECONDS)
    before = pods(case)

    case.edit(api=template(REFUSED[0].spec))

    told = case.wait("APIAvailable", "False", reason="Rejected")
    assert REFUSED[0].says in told["message"]
    assert pods(case) == before
    case.edit(api=template({"topologySpreadConstraints": [ZONE]}))
    case.wait("Ready")
    case.wait("Synced")
    (constraint,) = pods(case)["spec"]["topologySpreadConstraints"]
    assert constraint["topologyKey"] == "zone"
